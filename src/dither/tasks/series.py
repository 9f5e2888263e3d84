"""Time series: their parts and their scores."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import numpy as np
from jaxtyping import Float
from pydantic import Field

from dither._configuration import Configuration
from dither._errors import RequestError

SeriesScore: TypeAlias = Callable[[Float[np.ndarray, " T"], Float[np.ndarray, " T"]], float]

LONGEST = 10**7
"""The longest part of a series."""


@dataclass(frozen=True, eq=False)
class Series:
    """Inputs and targets over time: wash-out, training part, test part.

    Attributes: `inputs`, u, T values scaled so that the wash-out and training part span [0, 1];
    `targets`, t, in their own units; `washout`, `train`, `test`, the lengths of the three parts,
    which sum to T; `score`, from outputs and targets to an error (0 is perfect, smaller is better);
    `score_name`.
    """

    inputs: Float[np.ndarray, " T"]
    targets: Float[np.ndarray, " T"]
    washout: int
    train: int
    test: int
    score: SeriesScore
    score_name: str

    @property
    def train_part(self) -> slice:
        """The slice of the training part."""
        return slice(self.washout, self.washout + self.train)

    @property
    def test_part(self) -> slice:
        """The slice of the test part."""
        return slice(self.washout + self.train, self.washout + self.train + self.test)


class AbstractSeries(Configuration):
    """The settings of a series; `load` makes the series itself.

    Arguments: the lengths `washout`, dropped at the start, `train` and `test`.
    """

    kind: str
    washout: Annotated[int, Field(ge=0, le=LONGEST)] = 100
    train: Annotated[int, Field(ge=2, le=LONGEST)] = 500
    test: Annotated[int, Field(ge=2, le=LONGEST)] = 500

    @property
    def length(self) -> int:
        """T, the length of the whole series."""
        return self.washout + self.train + self.test

    @abstractmethod
    def load(self) -> Series:
        """The series, computed, drawn or read. Errors: `RequestError`."""


def make_series(
    inputs: Float[np.ndarray, " T"],
    targets: Float[np.ndarray, " T"],
    settings: AbstractSeries,
    score: SeriesScore,
    score_name: str,
) -> Series:
    """A checked series from arrays, with inputs scaled to [0, 1].

    The scale is that of the wash-out and the training part, so that no information leaks from the
    test part, which may slightly exceed [0, 1].

    Arguments: inputs and targets; the settings with the lengths of the parts; its error function,
    and the name of the error.
    Errors: `RequestError` if the arrays do not have the total length of the parts, hold NaN or
    infinity, or are constant in a part where they are needed.
    """
    for name, values in (("inputs", inputs), ("targets", targets)):
        if len(values) != settings.length:
            raise RequestError(
                f"The series has {len(values)} {name}, but wash-out, training and test part need "
                f"{settings.length}; give a longer series or shorter parts."
            )
        if not np.all(np.isfinite(values)):
            place = int(np.argmin(np.isfinite(values)))
            raise RequestError(f"The series' {name} hold NaN or infinity, first at step {place}.")
    parts = (settings.washout, settings.train, settings.test)
    series = Series(_scaled(inputs, settings), targets, *parts, score, score_name)
    for name, part in (("training", series.train_part), ("test", series.test_part)):
        if np.ptp(targets[part]) == 0:
            raise RequestError(
                f"The targets are constant over the {name} part, so their {score_name} is "
                "undefined; use a longer part or another series."
            )
    return series


def _scaled(inputs: Float[np.ndarray, " T"], settings: AbstractSeries) -> Float[np.ndarray, " T"]:
    seen = inputs[: settings.washout + settings.train]
    low, high = float(seen.min()), float(seen.max())
    if low == high:
        raise RequestError("The inputs of the series are constant; use another series.")
    return (inputs - low) / (high - low)
