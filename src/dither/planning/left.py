"""When a run will come to its score, from its own past and the curves of a run like it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.ndimage import uniform_filter1d

from dither._errors import RequestError
from dither.training.folder import HISTORY
from dither.training.history import read_history
from dither.training.run import Progress

if TYPE_CHECKING:
    import pandas as pd

LEAST = 3
"""Evaluations of the run before which nothing is said."""

SMOOTHED = 30
"""A curve is averaged over a thirtieth of its evaluations, and over three at the least."""

STRETCHES = np.geomspace(0.01, 100.0, 231)
"""How many times as fast the run may be as the other."""


class Curve(NamedTuple):
    """The scores of a training against its measurements, up to the first that is at the target."""

    measurements: Float[np.ndarray, " N"]
    score: Float[np.ndarray, " N"]


@dataclass(frozen=True)
class Expected:
    """Measurements at which a run is expected at its target: `low` and `high` by single curves."""

    measurements: float
    low: float
    high: float


def curves_of(history: "pd.DataFrame", target: float) -> tuple[Curve, ...]:
    """The replicas of a history that have come to a score."""
    found = []
    for _, replica in history.groupby("replica"):
        scores = replica["score"].to_numpy(float)
        there = np.flatnonzero(scores >= target)
        if len(there) and there[0] + 1 >= LEAST:
            n = there[0] + 1
            found.append(Curve(replica["measurements"].to_numpy(float)[:n], scores[:n]))
    return tuple(found)


def expected(past: Curve, like: Sequence[Curve]) -> Expected | None:
    """When a run will be at its target: curves of a run like it, stretched onto its past.

    ```
    c = argmin_c Σ_k m_k² (s(m_k) − S(c m_k))²      end = M / c
    ```

    S is the smoothed curve, which comes to the target after M measurements; s, the run's own score
    after m_k. The median over the curves is told. The later the evaluation, the more it counts.

    Arguments: the run's evaluations so far, below the target; `like`, the curves, one or more.
    Returns: None before the third evaluation. Source: derived here; measured in docs/plan.md.
    """
    m, s = past
    if len(m) < LEAST:
        return None
    ends = []
    for M, S in like:
        smooth = uniform_filter1d(S, max(3, len(S) // SMOOTHED), mode="nearest")
        places = STRETCHES[:, None] * m
        misses = np.sum(m**2 * (np.interp(places, M, smooth) - s) ** 2, axis=1)
        misses[places[:, -1] >= M[-1]] = math.inf  # the run is not there yet
        ends.append(M[-1] / STRETCHES[int(np.argmin(misses))])
    found = np.maximum(ends, m[-1])
    middle = float(np.exp(np.median(np.log(found))))
    return Expected(middle, float(np.min(found)), float(np.max(found)))


def expected_of(history: "pd.DataFrame", like: Sequence[Curve], target: float) -> Expected | None:
    """The same for a run under way: the median over its replicas that are not at the target."""
    told = []
    for _, replica in history.groupby("replica"):
        past = Curve(replica["measurements"].to_numpy(float), replica["score"].to_numpy(float))
        if len(past.score) and past.score.max() < target:
            told.append(expected(past, like))
    known = [one for one in told if one is not None]
    if not known:
        return None
    middle, low, high = np.median([[e.measurements, e.low, e.high] for e in known], axis=0)
    return Expected(float(middle), float(low), float(high))


def foreseer(folder: Path, target: float | None) -> Callable[["pd.DataFrame"], Expected | None]:
    """`expected_of`, by the curves of a finished run in a folder.

    Errors: `RequestError` where there is no target or no run, or too few evaluations up to it.
    """
    if target is None:
        raise RequestError("--like tells when a score is reached; set until.score.")
    curves = curves_of(read_history(folder / HISTORY), target)
    if not curves:
        raise RequestError(
            f"The run in {folder} was not seen to come to {target:g} in {LEAST} evaluations or "
            "more; train it to that score, with a smaller score_every."
        )
    return lambda history: expected_of(history, curves, target)


class End:
    """After how many measurements a run under way is expected at its target.

    Told anew after each evaluation; None where it is not known. Arguments: as of `foreseer`.
    """

    def __init__(self, folder: Path, target: float | None) -> None:
        self.foresee, self.rows = foreseer(folder, target), 0
        self.expected: Expected | None = None

    def __call__(self, now: Progress) -> float | None:
        if len(now.history.rows) != self.rows:
            self.rows = len(now.history.rows)
            self.expected = self.foresee(now.history.frame(now.history.rows))
        return None if self.expected is None else self.expected.measurements
