"""Forecasts of the cost of a study."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dither._words import Plain, count, duration, number, rounded
from dither.planning.run import predict_run
from dither.studies import store
from dither.studies.plan import Job, plan
from dither.studies.study import Cell, Study
from dither.studies.together import on_simulated_device, programs
from dither.training.specification import Specification

PROBED = 3
"""The number of jobs whose speed is measured; the others are assumed to be like the nearest."""

SECONDS_OF_A_PROBE = 0.5

SHARE, MOST_SECONDS = 0.1, 60.0
"""The limits of prediction time: as a share of the study's budget, and in seconds."""

LEAST_SECONDS = 3.0
"""The minimum time of a prediction, including compilation, s."""

MOST_ROWS = 24
"""The number of cells that are listed, at most."""


@dataclass(frozen=True)
class Row:
    """The forecast of a cell.

    Attributes: `point`, its place on the axes; `where`, in words; `runs` that remain; the
    `measurements` of each, None if unlimited; `low`, `high`, a 90 % interval; `by`, whether they
    come from a `prediction` (`dither.planning.predict_run`) or from the `budget`, an upper limit;
    `reason`, why there is no prediction, or why the target is not reached.
    """

    point: dict[str, Plain]
    where: str
    runs: int
    measurements: int | None
    low: float | None
    high: float | None
    by: Literal["prediction", "budget"]
    reason: str

    def line(self) -> str:
        """The row as text."""
        how = "of at most" if self.by == "budget" or self.low is None else "of about"
        made = "an unknown number of" if self.measurements is None else count(self.measurements)
        said = f"{self.where}: {self.runs} runs {how} {made} measurements ({self.by}"
        if self.low is not None:
            high = "∞" if self.high is None else number(rounded(self.high, 3))
            return f"{said}; 90 %: {number(rounded(self.low, 3))} to {high})"
        return said + (f": {self.reason})" if self.reason else ")")


@dataclass(frozen=True)
class Forecast:
    """The size of a study, and its remaining work.

    Attributes: `runs`, of which `done` are finished; `programs`, into which they are compiled;
    `trials`, runs of the search; `measurements` that remain, including those of the search: an
    upper limit, except for the predicted cells of `rows`; `seconds`, their time in one process of
    this machine, None for a real device.
    """

    runs: int
    done: int
    programs: int
    trials: int
    measurements: int | None
    seconds: float | None
    rows: tuple[Row, ...]

    def facts(self) -> dict[str, Any]:
        """The forecast as plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The forecast as text."""
        left = f"{self.runs} runs" + (f", {self.done} of them finished" if self.done else "")
        said = [f"{left}, in {self.programs} programs"]
        if self.trials:
            said.append(f"preceded by a search of {self.trials} runs")
        predicted = sum(row.by == "prediction" for row in self.rows)
        if predicted:
            said += [row.line() for row in self.rows[:MOST_ROWS]]
        about = "about" if predicted == len(self.rows) else "at most about"
        if self.measurements is not None:
            line = f"{about if predicted else 'at most'} {count(self.measurements)} measurements"
            said.append(line + ("" if predicted else "; runs that reach their target end earlier"))
        if self.seconds is not None:
            said.append(f"{about} {duration(self.seconds)} in one process of this machine")
        return said


def forecast(study: Study, folder: Path) -> Forecast:
    """Forecast the remaining work of a study and its time.

    The measurements of a run are predicted if its device has a model and its rule a law; otherwise
    they are its budget. The time of a measurement is taken from a few short runs. Predictions stop
    after a tenth of the study's time at full budget, or after a minute; the first takes a few
    seconds, so that a study shorter than half a minute has none.

    Arguments: the study; its present or future folder.
    Errors: `RequestError` for an invalid run.
    """
    jobs = plan(study)
    done = store.done(folder)
    left = [job for job in jobs if any(run.name not in done for run in job.runs)]
    simulated = all(on_simulated_device(job.runs) for job in left)
    speeds = _speeds(left) if simulated else []
    most = _seconds(left, speeds, _budgets(left)) if simulated else None
    allowed = MOST_SECONDS if most is None else min(MOST_SECONDS, SHARE * most)
    allowed = allowed if allowed >= LEAST_SECONDS else 0.0
    rows = tuple(_rows(left, done, allowed))
    each = {row.where: row.measurements for row in rows}
    return Forecast(
        runs=study.runs,
        done=sum(run.name in done for job in jobs for run in job.runs),
        programs=len(jobs),
        trials=sum(job.search.trials * job.search.seeds for job in jobs if job.search),
        measurements=_sum(_measurements(job, each) for job in left),
        seconds=_seconds(left, speeds, each) if simulated else None,
        rows=rows,
    )


def _budgets(jobs: Sequence[Job]) -> dict[str, int | None]:
    """The measurement budget of a run, by cell."""
    cells = {run.cell.where: run.cell.specification.until for job in jobs for run in job.runs}
    return {where: until.measurements for where, until in cells.items()}


def _rows(jobs: Sequence[Job], done: Iterable[str], allowed: float) -> Iterator[Row]:
    """The cells, predicted within the time limit."""
    finished, began = set(done), time.monotonic()
    cells: dict[str, Cell] = {}
    runs: dict[str, int] = {}
    searched = {run.cell.where for job in jobs if job.search is not None for run in job.runs}
    for job in jobs:
        for run in job.runs:
            cells.setdefault(run.cell.where, run.cell)
            runs[run.cell.where] = runs.get(run.cell.where, 0) + (run.name not in finished)
    for where, cell in cells.items():
        if where in searched:
            found = _by_budget(cell.specification, "its setting is searched")
        elif (left := began + allowed - time.monotonic()) <= 0:
            found = _by_budget(cell.specification, "")
        else:
            found = _predicted(cell.specification, left)
        yield Row(cell.labels, where, runs[where], *found)


_Found = tuple[int | None, float | None, float | None, Literal["prediction", "budget"], str]


def _by_budget(run: Specification, why: str) -> _Found:
    return run.until.measurements, None, None, "budget", why


def _predicted(run: Specification, seconds: float) -> _Found:
    told = predict_run(run, trajectories=1, seconds=seconds)
    if math.isnan(told.measurements):
        return _by_budget(run, told.reason)
    if math.isinf(told.measurements):
        return run.until.measurements, None, None, "prediction", told.reason
    high = told.high if math.isfinite(told.high) else None
    return math.ceil(told.measurements), told.low, high, "prediction", ""


def _sum(counts: Iterable[int | None]) -> int | None:
    known = list(counts)
    return None if None in known else sum(n or 0 for n in known)


def _measurements(job: Job, each: dict[str, int | None]) -> int | None:
    """The measurements of a job: of all its runs and of its search."""
    searched: int | None = 0
    if job.search is not None:
        of_a_trial = job.search.measurements or job.runs[0].cell.specification.until.measurements
        trials = job.search.trials * job.search.seeds
        searched = None if of_a_trial is None else trials * of_a_trial
    return _sum([searched, *(each[run.cell.where] for run in job.runs)])


def _speeds(jobs: Sequence[Job]) -> list[tuple[float, float]]:
    """The speed of each job: that of the nearest measured one."""
    if not jobs:
        return []
    chosen = sorted({round(k * (len(jobs) - 1) / (PROBED - 1)) for k in range(PROBED)})
    tried = {place: _speed(jobs[place]) for place in chosen}
    return [tried[min(chosen, key=lambda one: abs(one - k))] for k in range(len(jobs))]


def _seconds(
    jobs: Sequence[Job], speeds: Sequence[tuple[float, float]], each: dict[str, int | None]
) -> float | None:
    """The time of jobs, including compilation; None if some are unlimited."""
    made = [_measurements(job, each) for job in jobs]
    if None in made:
        return None
    return sum(compiling + one * (n or 0) for (compiling, one), n in zip(speeds, made))


def _speed(job: Job) -> tuple[float, float]:
    """The compile time of a job, and the time per measurement of each of its runs, s."""
    runs = job.runs
    if job.search is not None:
        runs = tuple(run.at(job.search.key, job.search.ends[0]) for run in runs)
    began = time.perf_counter()
    program = next(programs(runs, job.varied))
    program.loop.advance(1)
    program.loop.evaluate()
    compiling = time.perf_counter() - began
    n, took = 16, 0.0
    while took < SECONDS_OF_A_PROBE / 2:
        n *= 4
        began = time.perf_counter()
        program.loop.advance(n)
        took = time.perf_counter() - began
    return compiling, took / n / len(program.runs)
