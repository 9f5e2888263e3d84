"""Running a job of a study: an optional search, then its runs, with a row for each."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np

from dither.studies.plan import Job, Planned, asked_of, trials
from dither.studies.store import CURVES
from dither.studies.study import plain
from dither.studies.together import train_together
from dither.training.folder import made
from dither.training.result import Replica, Result
from dither.training.run import Observer
from dither.training.stop import StopReason

Row: TypeAlias = dict[str, Any]
"""A finished run as a line of the study's table."""


def do_job(
    job: Job,
    keep: Callable[[str, Row], None],
    work: Path | None = None,
    kept: Callable[[str], Row | None] = lambda _: None,
    observers: Sequence[Observer] = (),
    interrupted: Callable[[], bool] = lambda: False,
) -> None:
    """Run all runs of a job.

    Arguments:
        job: the job.
        keep: a function called with the name and row of each finished run.
        work: a folder for checkpoints; without it, an interrupted job starts again.
        kept: a function from a run's name to its row if it was finished before, else None.
        observers: see `dither.train`.
        interrupted: a function called several times per second to ask whether to stop.
    Errors: `Interrupted`; `RequestError` if task, device and algorithm do not fit.
    """

    def together(
        runs: Sequence[Planned],
        part: str,
        searched: int = 0,
        enough: Callable[[Any], bool] = lambda _: False,
    ) -> list[Row]:
        out = None if work is None else work / part
        began = time.perf_counter()
        ends = train_together(runs, job.varied, out, observers, interrupted, enough)
        seconds = (time.perf_counter() - began) / len(runs)
        rows = [
            row_of(run, *end) | {"job_seconds": seconds, "searched": searched}
            for run, end in zip(runs, ends)
        ]
        for run, row in zip(runs, rows):
            keep(run.name, row)
        return rows

    runs, searched = job.runs, 0
    if job.search is not None:
        best, searched = _search(job, together, kept)
        runs = tuple(run.at(job.search.key, best) for run in runs)
    together(runs, "runs", searched)
    jax.clear_caches()


def _search(
    job: Job,
    together: Callable[..., list[Row]],
    kept: Callable[[str], Row | None],
) -> tuple[float, int]:
    """The best value, and the measurements of the search."""
    search, cell = job.search, job.runs[0].cell
    assert search is not None
    if search.measurements is not None:
        cell = cell.at("until.measurements", search.measurements)
    until = cell.specification.until
    tried: list[float] = []
    worth: list[float] = []
    spent = 0
    while values := search.propose(tried, worth):
        runs = trials(cell, search, values)
        rows = [row for run in runs if (row := kept(run.name)) is not None]
        if len(rows) < len(runs):
            rows = together(runs, f"trials-{len(tried)}", enough=search.decided)
        spent += sum(int(row["measurements"]) for row in rows)
        for k in range(len(values)):
            mine = rows[k * search.seeds : (k + 1) * search.seeds]
            worth.append(search.worth([replica_of(row) for row in mine], until))
        tried += values
    return tried[int(np.argmin(worth))], spent


def replica_of(row: Row) -> Replica:
    """The result of a run in the table."""
    counts: dict[str, int | float] = {"measurements": int(row["measurements"])}
    return Replica(
        row["seed"], StopReason(row["stop_reason"]), row["score"], row["test_cost"], counts
    )


def row_of(run: Planned, result: Result, place: int) -> Row:
    """A finished run as a line of the table, with its curve as lists."""
    end = result.replicas[place]
    history = result.history[result.history["replica"] == place]
    until = run.cell.specification.until
    settings = {k: plain(v) for k, v in run.cell.settings.items() if k not in run.cell.labels}
    return {
        "run": run.name,
        "role": run.role,
        **run.cell.labels,
        **settings,
        "seed": run.seed,
        "score": end.score,
        "score_name": result.score_name,
        "test_cost": end.test_cost,
        "stop_reason": str(end.stop_reason),
        "reached": end.reached,
        "target": until.score,
        "budget": until.measurements,
        "parameters": result.space.size,
        **end.ledger,
        "wall_seconds": float(history["wall_seconds"].max()) if len(history) else 0.0,
        **{f"curve_{name}": history[name].tolist() for name in CURVES},
        "specification": json.dumps(asked_of(run.cell), sort_keys=True),
        **{name: made()[name] for name in ("dither", "jax", "machine")},
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
