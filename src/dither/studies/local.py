"""Running a study in this process; several processes on one folder share the work."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from dither._words import count as grouped
from dither.studies import store
from dither.studies.job import do_job
from dither.studies.plan import Job, plan
from dither.studies.study import Study
from dither.studies.together import Interrupted
from dither.training.lease import Lease
from dither.training.run import Progress

LOOK_AGAIN_AFTER = 1.0
"""The time between checks of other processes' jobs when no other work remains, s."""


@dataclass(frozen=True)
class StudyProgress:
    """The progress of a study.

    Attributes: `done`, the finished runs of all processes, out of `runs`; `own`, those computed
    here; `doing`, the present work.
    """

    done: int
    runs: int
    own: int
    doing: str = ""


class Counter:
    """Counts the finished runs of all processes, and informs observers."""

    def __init__(
        self, folder: Path, jobs: Sequence[Job], observers: Sequence["StudyObserver"]
    ) -> None:
        self.folder, self.observers = folder, observers
        self.names = {run.name for job in jobs for run in job.runs}
        self.own = 0

    def __call__(self, doing: str = "") -> StudyProgress:
        done = len(self.names & store.done(self.folder))
        now = StudyProgress(done, len(self.names), self.own, doing)
        for observe in self.observers:
            observe(now)
        return now


StudyObserver: TypeAlias = Callable[[StudyProgress], None]
"""A function called with a `StudyProgress` several times per second."""


def work(
    folder: Path,
    study: Study,
    observers: Sequence[StudyObserver] = (),
    interrupted: Callable[[], bool] = lambda: False,
) -> None:
    """Run the missing runs of a study until none is left, or other processes run all the rest.

    Arguments: the study's folder, opened; the study; observers; a function that says whether to
    stop. Errors: `Interrupted`; `RequestError` if task, device and algorithm do not fit.
    """
    jobs = plan(study)
    count = Counter(folder, jobs, observers)

    def stop() -> bool:
        return interrupted() or store.gone(folder)

    # processes begin at different jobs, so that they rarely compete
    first = os.getpid() * 7919 % max(len(jobs), 1)
    left = [*jobs[first:], *jobs[:first]]
    while left:
        taken = False
        for job in list(left):
            if finished(folder, job):
                left.remove(job)
                continue
            lease = Lease.take(lease_file(folder, job))
            if lease is None:
                continue
            with lease:
                taken = True
                if not finished(folder, job):
                    _attempt(folder, study, job, count, stop)
            left.remove(job)
        if left and not taken:
            count("other processes are running the rest")
            time.sleep(LOOK_AGAIN_AFTER)
            if interrupted():
                raise Interrupted


def lease_file(folder: Path, job: Job) -> Path:
    """The path of a job's lease."""
    return folder / store.LEASES / f"{job.name}.json"


def finished(folder: Path, job: Job) -> bool:
    """Whether all runs of a job are finished."""
    return all((folder / store.RUNS / f"{run.name}.parquet").exists() for run in job.runs)


def _attempt(
    folder: Path, study: Study, job: Job, count: Counter, interrupted: Callable[[], bool]
) -> None:
    """Run a job. Errors: `Interrupted`; `RunError` if the study's folder was deleted."""
    try:
        _do(folder, job, count, interrupted)
    except Interrupted:
        if not store.gone(folder):
            raise
    if store.gone(folder):
        raise store.save_beside(folder, study)


def _do(
    folder: Path,
    job: Job,
    count: Counter,
    interrupted: Callable[[], bool],
) -> None:
    def keep(name: str, row: dict[str, Any]) -> None:
        store.write_run(folder, name, store.row_bytes(row))
        count.own += name in count.names

    here = folder / store.WORK / job.name

    def observe(now: Progress) -> None:
        doing = f"{len(job.runs)} runs in parallel, {grouped(now.measurements)} measurements"
        count(", ".join(filter(None, (job.runs[0].cell.where, doing))))

    do_job(job, keep, here, lambda name: store.read_run(folder, name), [observe], interrupted)
    shutil.rmtree(here, ignore_errors=True)
    count()
