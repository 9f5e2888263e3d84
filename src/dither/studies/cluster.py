"""Running a study on a Dask cluster, which may run under Slurm, PBS or Kubernetes."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dither._errors import RequestError, RunError
from dither.studies import store
from dither.studies.job import do_job
from dither.studies.local import Counter, StudyObserver, finished, lease_file
from dither.studies.plan import Job, plan
from dither.studies.study import Study
from dither.studies.together import Interrupted
from dither.training.lease import Lease

RETRIES = 10
"""The number of retries of a job on other workers."""

AHEAD = 2
"""Jobs queued per worker, so that none is idle."""

LOOK_EVERY = 0.3


def work_on_cluster(
    folder: Path,
    study: Study,
    address: str,
    observers: Sequence[StudyObserver] = (),
    interrupted: Callable[[], bool] = lambda: False,
) -> None:
    """Run the missing runs of a study on the workers of a Dask scheduler.

    The workers need dither but not the folder: they return finished rows, and this process writes
    them. A job whose worker dies is moved to another one.

    Arguments: the study's folder, opened; the study; the scheduler's address; observers; a function
    that says whether to stop.
    Errors: `Interrupted`; `RequestError` if no scheduler answers or a run is invalid; `RunError` if
    the workers of a job die repeatedly.
    """
    from distributed import Client, wait

    jobs = plan(study)
    count = Counter(folder, jobs, observers)
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise RequestError(
            f"No Dask scheduler answers at {address} ({error}); check the address."
        ) from None
    left = [job for job in jobs if not finished(folder, job)]
    doing: dict[Any, Lease] = {}
    try:
        while left or doing:
            workers = max(len(client.scheduler_info(n_workers=-1)["workers"]), 1)
            for job in left[:]:
                if len(doing) >= AHEAD * workers:
                    break
                lease = Lease.take(lease_file(folder, job))
                if lease is not None:
                    left.remove(job)
                    if finished(folder, job):
                        lease.give_up()
                        continue
                    task = client.submit(rows_of, job, key=f"dither-{job.name}", retries=RETRIES)
                    doing[task] = lease
            left = [job for job in left if not finished(folder, job)]
            with contextlib.suppress(TimeoutError):
                wait(list(doing), timeout=LOOK_EVERY, return_when="FIRST_COMPLETED")
            for task in [task for task in doing if task.done()]:
                _keep(folder, task)
                doing.pop(task).give_up()
            count(f"{workers} workers of {address}")
            if interrupted() or store.gone(folder):
                raise store.save_beside(folder, study) if store.gone(folder) else Interrupted
    finally:
        client.cancel(list(doing))
        for lease in doing.values():
            lease.give_up()
        client.close()


def rows_of(job: Job) -> dict[str, bytes]:
    """Run a job on a worker: the content of each run's file, by its name."""
    rows: dict[str, bytes] = {}

    def keep(name: str, row: dict[str, Any]) -> None:
        rows[name] = store.row_bytes(row)

    do_job(job, keep)
    return rows


def _keep(folder: Path, task: Any) -> None:
    from distributed.scheduler import KilledWorker

    try:
        rows = task.result()
    except KilledWorker as error:
        raise RunError(f"All workers of a job died: {error}.") from None
    for name, content in rows.items():
        store.write_run(folder, name, content)
