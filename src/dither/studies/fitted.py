"""The fits that a study asks for, made, or the sentence that says why not."""

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
"""Bootstrapped runs in all of a study's fits; where there are many runs there are fewer draws."""

DRAWS = (200, 1000)
"""The fewest and the most draws of a bootstrap."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fit, or one of those that it makes for each value of an axis.

    Attributes: what was asked; what y is; `value`, that of the axis `by`; the `runs` that it is
    made through; `words`, what the axes are called; the `fit`, or None and `why_not`.
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
        """The axis `by`, in words; empty where there is none."""
        return "" if self.asked.by is None else self.words.get(self.asked.by, self.asked.by)

    @property
    def where(self) -> str:
        """The value of the axis `by`, in words."""
        return "" if self.value is None else f"{self.by} = {text_of(self.value)}"

    def __str__(self) -> str:
        """The fit in a sentence."""
        said = str(self.fit) if self.fit is not None else f"no {self.asked.form}: {self.why_not}"
        said = f"At {self.where}: {said}" if self.where else said[0].upper() + said[1:]
        return said if said.endswith(".") else f"{said}."


def fits_of(study: Study, runs: pd.DataFrame) -> list[list[Fitted]]:
    """The study's fits to its finished runs; for each its curves, one for each value of `by`."""
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
        why = f"the values of the axis {x_name} are no numbers."
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
