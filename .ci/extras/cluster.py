import tempfile
from pathlib import Path

from dither.instruments.extras import must_have
from dither.studies import read_study, run_study

must_have("cluster", "distributed", "dask_jobqueue")

if __name__ == "__main__":
    from distributed import LocalCluster

    workers = LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    )
    with tempfile.TemporaryDirectory() as folder, workers:
        study = read_study(Path(__file__).with_suffix(".toml"))
        run_study(study, Path(folder, "study"), cluster=workers.scheduler_address)
