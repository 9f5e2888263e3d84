"""The content of a study's page, from its folder."""

import socket
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from dither._words import Plain, count, duration, text_of
from dither.studies import store
from dither.studies.axes import axis_words
from dither.studies.plan import Job, Planned, plan
from dither.studies.study import Study, read_study
from dither.tasks.scores import display_of
from dither.training.folder import PROGRESS
from dither.training.lease import EXPIRES_AFTER, abandoned, holder
from dither.training.live import read_progress
from dither.training.stop import FAILED
from dither.watch.view import Head, TextTable, Tile, modified

READING_SHARE = 0.05
"""The largest share of time that is spent on reading finished runs."""

MOST_LINES = 7
MOST_JOBS = 20


@dataclass(frozen=True)
class Done:
    """The finished runs of each cell of the first two axes.

    Attributes: `x`, `y`, the names of the axes, None if there are fewer; their labels; `done` and
    `planned` runs, one row for each label of `y`.
    """

    x: str
    y: str
    x_labels: tuple[str, ...]
    y_labels: tuple[str, ...]
    done: Int[np.ndarray, "Y X"]
    planned: Int[np.ndarray, "Y X"]


@dataclass(frozen=True)
class Medians:
    """The results of the finished runs against the first axis, one line per label of the second.

    Attributes: `quantity`; `log`, whether its axis is logarithmic; `x`, the axis; `labels` of the
    lines; `places` on the axis, numbers or text; `of`, the medians, NaN if there is none yet.
    """

    quantity: str
    log: bool
    x: str
    by: str
    labels: tuple[str, ...]
    places: tuple[Plain, ...]
    of: Float[np.ndarray, "L X"]


@dataclass(frozen=True)
class StudyView:
    """A study's page."""

    head: Head
    done: Done
    medians: Medians | None
    tables: tuple[TextTable, ...]


class StudyWatch:
    """Watches a study's folder, and reads finished runs again only when there are more."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.study = folder, read_study(folder)
        self.jobs = plan(self.study)
        self.runs = [run for job in self.jobs for run in job.runs]
        self.table: pd.DataFrame | None = None
        self.names: frozenset[str] = frozenset()
        self.next_read = 0.0

    def look(self, now: float) -> StudyView:
        """The present page. Arguments: seconds since the epoch."""
        there = frozenset(store.done(self.folder))
        self._read(there)
        doing = [look for job in self.jobs if (look := _doing(self.folder, job, now)) is not None]
        return study_view(self.folder, self.study, self.runs, there, self.table, doing)

    def _read(self, there: frozenset[str]) -> None:
        began = time.monotonic()
        if there == self.names or began < self.next_read:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", store.DamagedFileWarning)
            self.table = store.load_study(self.folder)
        self.names = there
        took = time.monotonic() - began
        self.next_read = began + took / READING_SHARE


@dataclass(frozen=True)
class Doing:
    """A running job: its process, its start, its progress and its number of runs."""

    what: str
    host: str
    pid: int
    seconds: float
    runs: int
    progress: Mapping[str, Any] | None

    @property
    def share(self) -> float:
        """The finished share of its measurements."""
        if self.progress is None or not self.progress.get("most"):
            return 0.0
        return float(min(1.0, self.progress["measurements"] / self.progress["most"]))


def _doing(folder: Path, job: Job, now: float) -> Doing | None:
    file = folder / store.LEASES / f"{job.name}.json"
    about = holder(file)
    try:
        if not about or now - file.stat().st_mtime > EXPIRES_AFTER:
            return None
    except OSError:
        return None
    if about["host"] == socket.gethostname() and abandoned(file):
        return None
    parts = sorted((folder / store.WORK / job.name).glob(f"*/*/{PROGRESS}"), key=modified)
    progress = read_progress(parts[-1]) if parts else None
    what = job.runs[0].cell.where
    return Doing(what, about["host"], about["pid"], now - about["since"], len(job.runs), progress)


def study_view(
    folder: Path,
    study: Study,
    runs: Sequence[Planned],
    there: frozenset[str],
    table: pd.DataFrame | None,
    doing: Sequence[Doing],
) -> StudyView:
    """The page of a study.

    Arguments: its folder; the study; its planned runs; the names of the finished ones; the table of
    those that were read; the running jobs.
    """
    finished = sum(run.name in there for run in runs)
    left = len(runs) - finished
    grid = None if table is None or not len(table) else table[table["role"] == "run"]
    if grid is not None and not len(grid):
        grid = None
    if not left:
        state, mood = "complete", "ended"
    elif doing:
        state, mood = f"{len(doing)} job{'s' if len(doing) > 1 else ''} running", "going"
    else:
        state, mood = "no process is working on it", "quiet"
    head = Head(
        name=study.name,
        folder=str(folder),
        state=state,
        mood=mood,  # type: ignore[arg-type]  # one of the three above
        tiles=tuple(_tiles(runs, finished, grid, doing)),
        share=finished / max(len(runs), 1),
    )
    return StudyView(
        head, _done(study, runs, there), _medians(study, grid), tuple(_tables(study, grid, doing))
    )


def _tiles(
    runs: Sequence[Planned],
    finished: int,
    grid: pd.DataFrame | None,
    doing: Sequence[Doing],
) -> list[Tile]:
    tiles = [Tile("finished runs", f"{count(finished)} of {count(len(runs))}")]
    if doing:
        tiles.append(Tile("running", count(sum(job.runs for job in doing))))
    if grid is None:
        return tiles
    left = len(runs) - finished - sum(job.runs * job.share for job in doing)
    if doing and left > 0:
        seconds = left * float(grid["job_seconds"].mean()) / len(doing)
        tiles.append(Tile("time left", duration(seconds), "at the present speed"))
    if grid["target"].notna().any():
        reached = int(grid["reached"].sum())
        tiles.append(Tile("reached the target", f"{count(reached)} of {count(len(grid))}"))
    failed = int(grid["stop_reason"].isin(FAILED).sum())
    tiles.append(Tile("failed runs", count(failed), "diverged, or the device failed"))
    tiles.append(Tile("measurements so far", count(float(grid["measurements"].sum()))))
    return tiles


def _done(study: Study, runs: Sequence[Planned], there: frozenset[str]) -> Done:
    x, y = [*list(study.axes)[:2], "", ""][:2]
    x_labels, y_labels = _labels(study, x), _labels(study, y)
    column = {label: k for k, label in enumerate(x_labels)}
    row = {label: k for k, label in enumerate(y_labels)}
    done, planned = np.zeros((2, len(y_labels), len(x_labels)), int)
    for run in runs:
        labels = run.cell.labels
        place = row[text_of(labels.get(y, ""))], column[text_of(labels.get(x, ""))]
        planned[place] += 1
        done[place] += run.name in there
    words = axis_words(study) | {"": ""}
    return Done(words[x], words[y], x_labels, y_labels, done, planned)


def _labels(study: Study, axis: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text_of(v) for v in study.labels(axis))) if axis else ("",)


def _medians(study: Study, grid: pd.DataFrame | None) -> Medians | None:
    """Medians over all other axes; a run that missed its target counts as slower than any."""
    if grid is None or not study.axes:
        return None
    x, by = [*study.axes, ""][:2]
    words = axis_words(study)
    if aimed := bool(grid["target"].notna().all()):
        worth = grid["measurements"].astype(float).where(grid["reached"], np.inf)
        quantity = "measurements to the target"
    else:
        display = display_of(grid["score_name"].iloc[0] if grid["score"].notna().any() else None)
        worth, quantity = display.of(grid[display.column]), display.quantity
    places = list(dict.fromkeys(study.labels(x)))
    lines = list(dict.fromkeys(study.labels(by)))[:MOST_LINES] if by else [""]
    line_of = grid[by] if by else pd.Series("", grid.index)
    medians = pd.crosstab(line_of, grid[x], values=worth, aggfunc="median")
    values = medians.reindex(index=lines, columns=places).replace(np.inf, np.nan)
    if not values.notna().any(axis=None):
        return None
    return Medians(
        quantity=quantity,
        log=aimed,
        x=words[x],
        by=words[by] if by else "",
        labels=tuple(text_of(line) for line in lines),
        places=tuple(places),
        of=values.to_numpy(float),
    )


def _tables(study: Study, grid: pd.DataFrame | None, doing: Sequence[Doing]) -> list[TextTable]:
    rows = []
    for job in doing[:MOST_JOBS]:
        made = "–" if job.progress is None else count(job.progress["measurements"])
        cost = None if job.progress is None else job.progress.get("cost")
        shown = "–" if cost is None else f"{cost:.3g}"
        rows.append(
            (job.what, str(job.runs), made, f"{job.share:.0%}", shown, duration(job.seconds),
             f"{job.host}, {job.pid}")
        )  # fmt: skip
    words = axis_words(study)
    headings = (
        "first run",
        "runs",
        "measurements",
        "progress",
        "cost",
        "running for",
        "machine, process",
    )
    tables = [TextTable("Being done", headings, tuple(rows))]
    failed = [] if grid is None else [
        (", ".join(f"{words.get(name, name)} {text_of(row[name])}"
                   for name in (*study.axes, "seed")),
         row["stop_reason"])
        for _, row in grid[grid["stop_reason"].isin(FAILED)].head(MOST_JOBS).iterrows()
    ]  # fmt: skip
    if failed:
        tables.append(TextTable("Failed", ("run", "why"), tuple(failed)))
    return tables
