"""A study on a Slurm cluster: each Slurm job is a worker; those that die are replaced.

Run it on the login node: `python examples/slurm_study.py STUDY.toml FOLDER`. It needs
`pip install 'dither[cluster]'`, and the same environment on the nodes.
"""

import sys

from dask_jobqueue import SLURMCluster

import dither

study, folder, *jobs = sys.argv[1:]

with SLURMCluster(
    cores=1,  # a worker does one program at a time, on one core
    processes=1,
    memory="4GB",
    walltime="04:00:00",
    # queue="short", account="physics",      what your cluster asks for
) as cluster:
    cluster.adapt(minimum_jobs=1, maximum_jobs=int(jobs[0]) if jobs else 20)
    table = dither.run_study(study, folder, cluster=cluster.scheduler_address)

print(f"{len(table)} runs in {folder}; {int(table['reached'].sum())} reached their target")
