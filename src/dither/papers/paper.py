"""Papers with reproduced figures: measured and expected values."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dither._errors import RequestError, nearest
from dither.laws import Interval
from dither.laws import bootstrapped_mean as mean
from dither.laws import bootstrapped_median as median
from dither.papers.scale import Scale, read

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Made", "Observe", "Paper", "Row", "known", "mean", "median", "part_of", "table"]

Observe: TypeAlias = Callable[[str, float], None]
"""A function called with the current run and the finished share."""


def part_of(observe: Observe, what: str, begun: float, share: float) -> Callable[[float], None]:
    """An observer for one stage that is a share of the whole."""
    return lambda done: observe(what, begun + share * done)


@dataclass(frozen=True)
class Row:
    """One point of a figure: measured, published, expected and predicted values, None if missing.

    Attributes: `point`, the place on the figure's axes, such as `{"neurons": 100}`; `published`, by
    the paper, with its standard deviation; `expected`, from an earlier simulation of our own;
    `law`, the prediction; `measured` with its 95 % interval over `runs`; `criterion`, the end of a
    training.
    """

    figure: str
    method: str
    point: Mapping[str, float | int]
    quantity: str
    unit: str
    measured: float | None = None
    measured_low: float | None = None
    measured_high: float | None = None
    runs: int | None = None
    law: float | None = None
    expected: float | None = None
    published: float | None = None
    published_sd: float | None = None
    criterion: str | None = None

    def with_measured(self, found: Interval | None, runs: int | None, factor: float = 1.0) -> "Row":
        """This row with a measured interval over runs, times a factor; unchanged without one."""
        if found is None:
            return self
        low, high = factor * found.low, factor * found.high
        return replace(self, measured=factor * found.value, measured_low=low, measured_high=high,
                       runs=runs)  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """One flat table entry, with null for values that are not finite."""
        entry: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "point":
                entry.update(value)
            elif isinstance(value, float) and not math.isfinite(value):
                entry[field.name] = None
            else:
                entry[field.name] = value
        return entry


@dataclass(frozen=True)
class Made:
    """A reproduced figure: its rows and its picture."""

    rows: list[Row]
    picture: "Figure"


@dataclass(frozen=True)
class Paper:
    """A paper: a name, a description, and the functions that make its figures.

    Attributes: `figures`, from a figure's name to a function of a scale and an observer; `keeps`,
    whether its trainings are saved in the run's folder, from which they can be resumed.
    """

    name: str
    about: str
    figures: Mapping[str, Callable[[Scale, Observe], Made]]
    keeps: bool = True

    def figure(self, name: str) -> Callable[[Scale, Observe], Made]:
        """The function that makes a figure.

        Errors: `RequestError` for an unknown name.
        """
        if name not in self.figures:
            raise RequestError(
                f"The paper {self.name} has no figure '{name}'; {nearest(name, self.figures)}"
            )
        return self.figures[name]

    def scale(self, quick: bool, folder: Path, resume: bool) -> Scale:
        """The scale of the figures, with the trainings in the run's folder.

        Errors: `RequestError` for resuming a paper that saves nothing.
        """
        scale = Scale.of(self.name, quick)
        if self.keeps:
            return replace(scale, folder=folder)
        if resume:
            raise RequestError(
                f"The paper {self.name} saves no trainings to resume; run it without --resume."
            )
        return scale


@cache
def table(paper: str, name: str = "published.csv") -> "pd.DataFrame":
    """A table in a paper's folder, with all known published numbers."""
    import pandas as pd

    return pd.read_csv(StringIO(read(paper, name)), dtype={"figure": str})


def known(paper: str, what: str, **where: Any) -> float | None:
    """A number of a paper's table at a place, such as a published one; None if missing.

    Errors: `ValueError` if the table has several at that place.
    """
    found = table(paper)
    for column, value in where.items():
        found = found[found[column].isna() if value is None else found[column] == value]
    values = found[what].dropna()
    return float(values.item()) if len(values) else None
