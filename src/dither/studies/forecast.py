"""What a study will take, told before it is begun."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dither._words import count, duration
from dither.studies import store
from dither.studies.plan import Job, plan
from dither.studies.study import Study
from dither.studies.together import on_simulated_device, programs

PROBED = 3
"""Jobs whose speed is tried, evenly chosen; the others are taken to be like those nearest them."""

SECONDS_OF_A_PROBE = 0.5


@dataclass(frozen=True)
class Forecast:
    """What a study has, and what is left of it to do.

    Attributes: `runs`, of which `done` are finished; `programs`, into which they are compiled;
    `trials`, runs of the search; `measurements`, the most that are left to do, those of the search
    included (runs that reach their target end before); `seconds`, what those take in one process
    of this machine, None where they are made on a real device.
    """

    runs: int
    done: int
    programs: int
    trials: int
    measurements: int | None
    seconds: float | None

    def facts(self) -> dict[str, Any]:
        """The forecast as plain numbers."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The forecast for people."""
        left = f"{self.runs} runs" + (f", {self.done} of them done" if self.done else "")
        said = [f"{left}, in {self.programs} programs"]
        if self.trials:
            said.append(f"before them a search of {self.trials} runs")
        if self.measurements is not None:
            most = count(self.measurements)
            said.append(f"at most {most} measurements; runs that reach their target end before")
        if self.seconds is not None:
            said.append(f"at most about {duration(self.seconds)} in one process of this machine")
        return said


def forecast(study: Study, folder: Path) -> Forecast:
    """What is left to do of a study, and how long that may take, from a few short trials of it.

    Arguments: the study; the folder that it has or would have.
    Errors: `RequestError` where some run cannot be.
    """
    jobs = plan(study)
    done = store.done(folder)
    left = [job for job in jobs if any(run.name not in done for run in job.runs)]
    most = [_most(job) for job in left]
    known = all(n is not None for n in most)
    simulated = all(on_simulated_device(job.runs) for job in left)
    return Forecast(
        runs=study.runs,
        done=sum(run.name in done for job in jobs for run in job.runs),
        programs=len(jobs),
        trials=sum(job.search.trials * job.search.seeds for job in jobs if job.search),
        measurements=sum(n or 0 for n in most) if known else None,
        seconds=_seconds(left, [n or 0 for n in most]) if known and simulated else None,
    )


def _seconds(jobs: Sequence[Job], measurements: Sequence[int]) -> float:
    """What jobs take that make so many measurements each."""
    if not jobs:
        return 0.0
    chosen = sorted({round(k * (len(jobs) - 1) / (PROBED - 1)) for k in range(PROBED)})
    speeds = {place: _speed(jobs[place]) for place in chosen}
    total = 0.0
    for place, n in enumerate(measurements):
        compiling, each = speeds[min(chosen, key=lambda one: abs(one - place))]
        total += compiling + each * n
    return total


def _most(job: Job) -> int | None:
    """The most measurements of a job, of all its runs."""
    each = job.runs[0].cell.specification.until.measurements
    if each is None:
        return None
    searched = 0
    if job.search is not None:
        of_a_trial = job.search.measurements or each
        searched = job.search.trials * job.search.seeds * of_a_trial
    return len(job.runs) * each + searched


def _speed(job: Job) -> tuple[float, float]:
    """Seconds to compile a job, and for each measurement of each of its runs."""
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
