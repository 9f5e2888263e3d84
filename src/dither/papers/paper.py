"""A paper whose figures are run again: what was measured, beside what to expect."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Num

from dither._errors import RequestError, nearest
from dither.laws import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

S = TypeVar("S")

Observe: TypeAlias = Callable[[str, float], None]
"""Called with what is being run and the share of it that is done."""


def part_of(observe: Observe, what: str, begun: float, share: float) -> Callable[[float], None]:
    """What to call with how much of one leg is done, that is a share of the whole."""
    return lambda done: observe(what, begun + share * done)


@dataclass(frozen=True)
class Row:
    """One point of a figure, measured beside what is known of it; None where there is nothing.

    Attributes: `point`, where on the figure's axes, such as `{"neurons": 100}`; `published`, by the
    paper itself, with its standard deviation; `expected`, from an earlier simulation of our own;
    `law`, predicted; `measured` with its 95 % interval over `runs`; `criterion`, when a training
    counted as done.
    """

    figure: str
    method: str
    point: Mapping[str, float | int]
    quantity: str
    unit: str
    measured: float | None
    measured_low: float | None = None
    measured_high: float | None = None
    runs: int | None = None
    law: float | None = None
    expected: float | None = None
    published: float | None = None
    published_sd: float | None = None
    criterion: str | None = None

    def as_json(self) -> dict[str, Any]:
        """One flat table entry; what is not finite is null."""
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
    """A figure run again: its rows and its picture."""

    rows: list[Row]
    picture: "Figure"


@dataclass(frozen=True)
class Paper(Generic[S]):
    """A paper: a name, what it is about, and what makes each of its figures.

    Attributes: `figures`, from a figure's name to a function of a scale and an observer; `full` and
    `quick`, the scales (sizes, seeds, lengths) that it is run at; `keep`, the same scale with
    trainings kept in a folder, which they go on from, where the paper has long ones.
    """

    name: str
    about: str
    figures: Mapping[str, Callable[[S, Observe], Made]]
    full: S
    quick: S
    keep: Callable[[S, Path], S] | None = None

    def figure(self, name: str) -> Callable[[S, Observe], Made]:
        """What makes a figure.

        Errors: `RequestError` for an unknown name.
        """
        if name not in self.figures:
            raise RequestError(
                f"The paper {self.name} has no figure '{name}'; {nearest(name, self.figures)}"
            )
        return self.figures[name]

    def scale(self, quick: bool, folder: Path, resume: bool) -> S:
        """How large the figures are run, with what is kept in the run's folder.

        Errors: `RequestError` for resuming a paper that keeps nothing.
        """
        scale = self.quick if quick else self.full
        if self.keep is not None:
            return self.keep(scale, folder)
        if resume:
            raise RequestError(
                f"The paper {self.name} keeps no trainings to go on with; run it without --resume."
            )
        return scale


def median(values: Num[np.ndarray, " runs"], draws: int = 2000, seed: int = 0) -> Interval:
    """The median over runs with its 95 % interval by bootstrap; infinite runs are allowed."""
    again = np.random.default_rng(seed).choice(values, (draws, len(values)))
    middles = np.quantile(again, 0.5, axis=1, method="higher")
    low, high = np.quantile(middles, [0.025, 0.975], method="nearest")
    middle = np.quantile(values, 0.5, method="higher")
    return Interval(float(middle), float(low), float(high))


def mean(values: Num[np.ndarray, " runs"], draws: int = 2000, seed: int = 0) -> Interval:
    """The mean over runs with its 95 % interval by bootstrap."""
    again = np.random.default_rng(seed).choice(values, (draws, len(values))).mean(axis=1)
    low, high = np.quantile(again, [0.025, 0.975], method="nearest")  # of which some are infinite
    return Interval(float(np.mean(values)), float(low), float(high))
