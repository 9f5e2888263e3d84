"""Doing a study in this process; several such processes on one folder share the work."""

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
"""Seconds between looks at what others are doing, where nothing else is left."""


@dataclass(frozen=True)
class StudyProgress:
    """Where a study is.

    Attributes: `done`, runs finished, by whomever, of all `runs`; `own`, those of them that were
    computed here; `doing`, what is being done.
    """

    done: int
    runs: int
    own: int
    doing: str = ""


class Counter:
    """Counts a study's finished runs, whoever did them, and tells observers."""

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
"""Called with a `StudyProgress` several times a second."""


def work(
    folder: Path,
    study: Study,
    observers: Sequence[StudyObserver] = (),
    interrupted: Callable[[], bool] = lambda: False,
) -> None:
    """Do what is missing of a study, until nothing is, or all that is left is being done by others.

    Arguments: the study's folder, opened; the study; observers; whether to stop.
    Errors: `Interrupted`; `RequestError` where task, device and algorithm do not fit together.
    """
    jobs = plan(study)
    count = Counter(folder, jobs, observers)

    def stop() -> bool:
        return interrupted() or store.gone(folder)

    # processes begin at different places, so that they seldom want the same job
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
            count("what is left is being done by others")
            time.sleep(LOOK_AGAIN_AFTER)
            if interrupted():
                raise Interrupted


def lease_file(folder: Path, job: Job) -> Path:
    """Where a job's lease is."""
    return folder / store.LEASES / f"{job.name}.json"


def finished(folder: Path, job: Job) -> bool:
    """Whether all runs of a job are finished."""
    return all((folder / store.RUNS / f"{run.name}.parquet").exists() for run in job.runs)


def _attempt(
    folder: Path, study: Study, job: Job, count: Counter, interrupted: Callable[[], bool]
) -> None:
    """Do a job. Errors: `Interrupted`; `RunError` where the study's folder was deleted."""
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
        doing = f"{len(job.runs)} together, {grouped(now.measurements)} measurements"
        count(", ".join(filter(None, (job.runs[0].cell.where, doing))))

    do_job(job, keep, here, lambda name: store.read_run(folder, name), [observe], interrupted)
    shutil.rmtree(here, ignore_errors=True)
    count()
