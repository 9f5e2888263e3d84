"""The results of a study's runs, by cell."""

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from dither._words import Plain
from dither.laws import Interval
from dither.studies.fits import median_with_interval
from dither.studies.study import Study
from dither.training.stop import FAILED, StopReason


class Outcome(NamedTuple):
    """An outcome of runs: a column, its name, and whether it counts up to the target."""

    column: str
    name: str
    counts: bool

    def of(
        self, runs: pd.DataFrame
    ) -> tuple[Float[np.ndarray, " runs"], Bool[np.ndarray, " runs"]]:
        """The values of runs with this outcome, and which of them were stopped before the target.

        A diverged run would not reach the target with more measurements and counts as stopped at
        the end of its budget.
        """
        values = runs[self.column].to_numpy(float)
        if not self.counts:
            known = np.isfinite(values)
            return values[known], np.zeros(known.sum(), bool)
        measured, budget = (runs[name].to_numpy(float) for name in ("measurements", "budget"))
        diverged = (runs["stop_reason"] == StopReason.DIVERGED).to_numpy(bool)
        longer = np.where(diverged, np.fmax(measured, budget), measured) / np.fmax(measured, 1)
        return values * longer, ~runs["reached"].to_numpy(bool)


def outcome_of(runs: pd.DataFrame, column: str | None = None) -> Outcome:
    """The outcome of a study's runs.

    Arguments: the runs; the column, or None for the measurements to the target if there is one,
    else the score, else the test cost.
    """
    targets = runs["target"].dropna().unique()
    score = str(runs["score_name"].iloc[0])
    if column is None:
        seen = "score" if runs["score"].notna().any() else "test_cost"
        column = "measurements" if len(targets) else seen
    if column == "score":
        return Outcome(column, score, counts=False)
    if column == "test_cost":
        return Outcome(column, "test cost", counts=False)
    target = f"{score} {targets[0]:g}" if len(targets) == 1 else "the target"
    return Outcome(column, f"{column.replace('_', ' ')} to {target}", counts=True)


SPENT = {"writes": "writes", "device_seconds": "device seconds", "joules": "joules"}
"""Columns of further costs of runs, and their names."""


def spent_in(runs: pd.DataFrame) -> list[str]:
    """The columns with known values: all runs have values above 0."""
    return [name for name in SPENT if name in runs and (runs[name] > 0).any()]


class Summary(NamedTuple):
    """A cell of a study: its place on the axes, its finished runs, and their results.

    Attributes: `median`, with its 95 % interval, None without data; `chosen`, the value found by
    the search, and the measurements of the search.
    """

    labels: dict[str, Plain]
    runs: pd.DataFrame
    median: Interval | None
    chosen: float | None = None
    searched: int = 0

    @property
    def reached(self) -> int:
        """The number of runs that reached the target."""
        return int(self.runs["reached"].sum())

    def score_of(self, missed: bool) -> float:
        """The median final score of all runs or of those that missed the target; NaN if none."""
        runs = self.runs[~self.runs["reached"].astype(bool)] if missed else self.runs
        return float(runs["score"].astype(float).median()) if len(runs) else math.nan

    @property
    def failed(self) -> dict[str, int]:
        """The number of failed runs, by stop reason."""
        counts = self.runs["stop_reason"].value_counts()
        return {reason: int(counts[reason]) for reason in FAILED if reason in counts}

    def at(self, axes: tuple[str, ...]) -> tuple[Plain, ...]:
        """The cell's place on some axes."""
        return tuple(self.labels[axis] for axis in axes)


def summaries(study: Study, runs: pd.DataFrame, outcome: Outcome) -> list[Summary]:
    """Every cell of the grid in order, including those without finished runs."""
    return list(_summaries(study, runs, outcome))


def _summaries(study: Study, runs: pd.DataFrame, outcome: Outcome) -> Iterator[Summary]:
    axes = list(study.axes)
    by = axes if len(axes) > 1 else axes[0] if axes else np.zeros(len(runs), int)
    places: dict[Any, Any] = runs.groupby(by, sort=False).indices
    for place in itertools.product(*(study.labels(axis) for axis in axes)):
        key = place if len(axes) > 1 else place[0] if axes else 0
        mine = runs.iloc[places.get(key, [])]
        chosen, searched = None, 0
        if study.search is not None and len(mine):
            chosen, searched = float(mine[study.search.key].iloc[0]), int(mine["searched"].iloc[0])
        labels = dict(zip(axes, place))
        yield Summary(labels, mine, median_of(mine, outcome), chosen, searched)


def median_of(runs: pd.DataFrame, outcome: Outcome) -> Interval | None:
    """The Kaplan–Meier median of runs with its 95 % interval; None without values."""
    values, stopped = outcome.of(runs)
    return median_with_interval(values, stopped) if values.size else None


def finite(value: float | None) -> float:
    """A number to draw; NaN if unknown or not finite."""
    return value if value is not None and math.isfinite(value) else math.nan
