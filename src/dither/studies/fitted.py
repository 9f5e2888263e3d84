"""The fits of a study, or the reasons why a fit failed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dither._errors import RequestError
from dither._words import Plain, text_of
from dither.studies.axes import axis_words
from dither.studies.fits import Fit, fit
from dither.studies.outcome import Outcome, outcome_of
from dither.studies.study import FitOf, Study

MOST_DRAWN = 5_000_000
"""The bootstrapped runs in all fits of a study; many runs get fewer draws."""

DRAWS = (200, 1000)
"""The smallest and the largest number of bootstrap draws."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fit, or one of several fits for the values of an axis.

    Attributes: the request; the outcome y; `value`, of the axis `by`; the fitted `runs`; `words`,
    the names of the axes; the `fit`, or None and `why_not`.
    """

    asked: FitOf
    outcome: Outcome
    value: Plain | None
    runs: pd.DataFrame
    words: Mapping[str, str]
    fit: Fit | None
    why_not: str = ""

    @property
    def x(self) -> str:
        """The axis x, in words."""
        return self.words.get(self.asked.x, self.asked.x)

    @property
    def by(self) -> str:
        """The axis `by`, in words; empty if there is none."""
        return "" if self.asked.by is None else self.words.get(self.asked.by, self.asked.by)

    @property
    def where(self) -> str:
        """The value of the axis `by`, in words."""
        return "" if self.value is None else f"{self.by} = {text_of(self.value)}"

    def __str__(self) -> str:
        """The fit in one sentence."""
        said = str(self.fit) if self.fit is not None else f"no {self.asked.form}: {self.why_not}"
        said = f"At {self.where}: {said}" if self.where else said[0].upper() + said[1:]
        return said if said.endswith(".") else f"{said}."


def fits_of(study: Study, runs: pd.DataFrame) -> list[list[Fitted]]:
    """The fits to the finished runs of a study, each with one curve per value of `by`."""
    words = axis_words(study)
    draws = int(np.clip(MOST_DRAWN // max(len(runs) * len(study.fits), 1), *DRAWS))
    return [
        [_fitted(asked, value, mine, draws, words) for value, mine in _parts(study, asked, runs)]
        for asked in study.fits
    ]


def _parts(
    study: Study, asked: FitOf, runs: pd.DataFrame
) -> list[tuple[Plain | None, pd.DataFrame]]:
    if asked.by is None:
        return [(None, runs)]
    return [(value, runs[runs[asked.by] == value]) for value in study.labels(asked.by)]


def _fitted(
    asked: FitOf, value: Plain | None, runs: pd.DataFrame, draws: int, words: Mapping[str, str]
) -> Fitted:
    x_name = words.get(asked.x, asked.x)
    if not len(runs):
        outcome = Outcome(asked.y, asked.y, counts=True)
        return Fitted(asked, outcome, value, runs, words, None, "no run is finished yet.")
    outcome = outcome_of(runs, asked.y)
    if not pd.api.types.is_numeric_dtype(runs[asked.x]):
        why = f"the values of the axis {x_name} are not numbers."
        return Fitted(asked, outcome, value, runs, words, None, why)
    y, stopped = outcome.of(runs)
    x = runs[asked.x].to_numpy(float)
    if not outcome.counts:
        x = x[np.isfinite(runs[outcome.column].to_numpy(float))]
    try:
        made = fit(x, y, stopped, asked.form, outcome.name, x_name, draws=draws)
    except RequestError as error:
        return Fitted(asked, outcome, value, runs, words, None, str(error))
    return Fitted(asked, outcome, value, runs, words, made)
