"""Estimates of a run's time to its target, from its history and the curves of a similar run."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.ndimage import uniform_filter1d

from dither._errors import RequestError
from dither.training.folder import HISTORY, PLAN
from dither.training.history import read_history
from dither.training.run import Progress

if TYPE_CHECKING:
    import pandas as pd

LEAST = 3
"""The minimum number of evaluations for an estimate."""

SMOOTHED = 30
"""A curve is averaged over a thirtieth of its evaluations, and over at least three."""

STRETCHES = np.geomspace(0.01, 100.0, 231)
"""The possible ratios of the speeds of the two runs."""


class Curve(NamedTuple):
    """The scores of a training against its measurements, up to the first at the target."""

    measurements: Float[np.ndarray, " N"]
    score: Float[np.ndarray, " N"]


@dataclass(frozen=True)
class Expected:
    """The measurements expected until the target; `low` and `high` are from single curves."""

    measurements: float
    low: float
    high: float


def curves_of(history: "pd.DataFrame", target: float) -> tuple[Curve, ...]:
    """The replicas of a history that have reached a score."""
    found = []
    for _, replica in history.groupby("replica"):
        scores = replica["score"].to_numpy(float)
        there = np.flatnonzero(scores >= target)
        if len(there) and there[0] + 1 >= LEAST:
            n = there[0] + 1
            found.append(Curve(replica["measurements"].to_numpy(float)[:n], scores[:n]))
    return tuple(found)


def expected(past: Curve, like: Sequence[Curve]) -> Expected | None:
    """The expected time to the target, from a similar run's curves scaled to the run's history.

    ```
    c = argmin_c Σ_k m_k² (s(m_k) − S(c m_k))²      end = M / c
    ```

    S is the smoothed curve, which reaches the target after M measurements; s is the run's own score
    after m_k. The result is the median over the curves. Later evaluations have more weight.

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
        misses[places[:, -1] >= M[-1]] = math.inf  # the run is not yet at the target
        ends.append(M[-1] / STRETCHES[int(np.argmin(misses))])
    found = np.maximum(ends, m[-1])
    middle = float(np.exp(np.median(np.log(found))))
    return Expected(middle, float(np.min(found)), float(np.max(found)))


def expected_of(history: "pd.DataFrame", like: Sequence[Curve], target: float) -> Expected | None:
    """The same for a running run: the median over the replicas not yet at the target."""
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


def predicted_curves(file: Path, target: float) -> tuple[Curve, ...]:
    """The predicted curve of a plan's recommended run. Errors: `RequestError` without one."""
    try:
        plan = json.loads(file.read_text("utf-8"))
    except ValueError:
        raise RequestError(f"The plan {file} is damaged; plan again.") from None
    if plan.get("best") is None or plan.get("target") != target:
        raise RequestError(
            f"The plan {file} has no method that reaches {target:g}; plan for this score."
        )
    row = plan["rows"][plan["best"]]
    m, s = np.array(row["curve"], float).reshape(-1, 2).T
    early = (m < row["measurements"]) & (np.maximum.accumulate(s) < target)
    return (Curve(np.append(m[early], row["measurements"]), np.append(s[early], target)),)


def foreseer(folder: Path, target: float | None) -> Callable[["pd.DataFrame"], Expected | None]:
    """`expected_of`, with the curves of a finished run in a folder, or with that of a plan.

    Errors: `RequestError` if there is no target, neither run nor plan, or too few evaluations
    before the target.
    """
    if target is None:
        raise RequestError("--like estimates the time to a score; set until.score.")
    if (folder / PLAN).is_file():
        curves = predicted_curves(folder / PLAN, target)
    else:
        curves = curves_of(read_history(folder / HISTORY), target)
    if not curves:
        raise RequestError(
            f"The run in {folder} did not reach {target:g} after at least {LEAST} "
            "evaluations; "
            "train it to that score, with a smaller score_every."
        )
    return lambda history: expected_of(history, curves, target)


class End:
    """The expected measurements of a running run at its target.

    Updated after each evaluation; None if unknown. Arguments: those of `foreseer`.
    """

    def __init__(self, folder: Path, target: float | None) -> None:
        self.foresee, self.rows = foreseer(folder, target), 0
        self.expected: Expected | None = None

    def __call__(self, now: Progress) -> float | None:
        if len(now.history.rows) != self.rows:
            self.rows = len(now.history.rows)
            self.expected = self.foresee(now.history.frame(now.history.rows))
        return None if self.expected is None else self.expected.measurements
