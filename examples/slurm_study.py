"""Run a study on a Slurm cluster: each Slurm job is a worker, and terminated workers are replaced.

Run the script on the login node: `python examples/slurm_study.py STUDY.toml FOLDER`. It needs
`pip install 'dither[cluster]'`, with the same environment on all nodes.
"""

import sys

from dask_jobqueue import SLURMCluster

import dither

study, folder, *jobs = sys.argv[1:]

with SLURMCluster(
    cores=1,  # each worker runs one program at a time, on one core
    processes=1,
    memory="4GB",
    walltime="04:00:00",
    # queue="short", account="physics",      the options that your cluster requires
) as cluster:
    cluster.adapt(minimum_jobs=1, maximum_jobs=int(jobs[0]) if jobs else 20)
    table = dither.run_study(study, folder, cluster=cluster.scheduler_address)

print(f"{len(table)} runs in {folder}; {int(table['reached'].sum())} reached their target")
