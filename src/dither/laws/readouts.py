"""Readouts computed from recorded states, as references for trained ones.

Derived here, checked by the tests.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from dither._errors import RequestError

PENALTIES = np.logspace(-14, 0, 29)
"""The penalties tried, relative to the states' largest squared singular value."""

SCALES = np.geomspace(0.02, 1, 60)
"""The ranges tried for quantised weights, relative to the full range."""

MOST_BITS = 16


def noisy_nmse(errors: Float[np.ndarray, " runs"], noise: float) -> Float[np.ndarray, " runs"]:
    """The mean measured NMSE of readouts with a known noiseless NMSE.

    `NMSE = 2 (1 − c)`, and noise of standard deviation `noise` · std(y) changes the correlation c
    to `c / √(1 + noise²)`.
    """
    return np.asarray(2 - (2 - errors) / np.sqrt(1 + noise**2))


class Readout(NamedTuple):
    """A linear readout, `y(n) = Σ_i x_i(n) w_i + w_0`.

    Attributes: `weights`, w; `intercept`, w_0; `penalty`, the lambda used for them.
    """

    weights: Float[np.ndarray, " N"]
    intercept: float
    penalty: float

    def outputs(self, states: Float[np.ndarray, "T N"]) -> Float[np.ndarray, " T"]:
        """The outputs y for states x, one row per time step."""
        return np.asarray(states @ self.weights + self.intercept)


def ridge_readout(
    states: Float[np.ndarray, "T N"],
    targets: Float[np.ndarray, " rows"],
    penalty: float | None = None,
) -> Readout:
    """The best real-valued readout; with lambda = 0 no readout has a smaller training error.

    `w = argmin Σ_n (t(n) − y(n))² + lambda |w|²`, without a penalty on w_0

    Arguments: states and targets of the training part, T ≥ 2; `penalty`, lambda ≥ 0 in units of
    states squared, or None for the one of `PENALTIES` with the smallest error on the last quarter
    of the rows after training on the others (T ≥ 8).
    Errors: `RequestError` for states and targets of different lengths, too few rows, or a negative
    penalty.
    """
    return _fitted(_ridges, states, targets, penalty)


def quantised_readout(
    states: Float[np.ndarray, "T N"],
    targets: Float[np.ndarray, " rows"],
    bits: int,
    penalty: float | None = None,
) -> Readout:
    """The ridge readout with its weights rounded to 2^bits equally spaced levels.

    `w_i = g · step · clip(round(w*_i / step), −z, 2^bits − 1 − z)`, w* the ridge weights

    The levels span the range of w* and 0 is one of them; 1 bit is a Boolean readout, w_i/g in {0,
    step}: on if w*_i > step/2. The step is the best in training among `SCALES` of the range, since
    clipping a few large weights costs less than rounding all small ones to zero. The gain g and the
    intercept are fitted.

    Arguments: as for `ridge_readout`; `bits`, 1 … 16. Without a `penalty`, it is
    chosen by validation of the rounded weights, which favours a larger one.
    Errors: `RequestError`, as for `ridge_readout` and for other `bits`.
    """
    if not 1 <= bits <= MOST_BITS:
        raise RequestError(f"A readout can have 1 to {MOST_BITS} bits, not {bits}.")

    def rounded(states: Float[np.ndarray, "T N"], targets: Float[np.ndarray, " T"]) -> Path:
        ridge = _ridges(states, targets)
        return lambda penalty: _rounded(ridge(penalty), states, targets, bits)

    return _fitted(rounded, states, targets, penalty)


Path = Callable[[float], Float[np.ndarray, " N"]]
"""From a penalty to weights."""


def _ridges(states: Float[np.ndarray, "T N"], targets: Float[np.ndarray, " T"]) -> Path:
    left, s, right = np.linalg.svd(states - states.mean(0), full_matrices=False)
    known = s > s[0] * max(states.shape) * np.finfo(s.dtype).eps
    part = left.T @ (targets - targets.mean())

    def ridge(penalty: float) -> Float[np.ndarray, " N"]:
        return np.asarray(
            (part * np.where(known, s, 0) / np.where(known, s**2 + penalty, 1)) @ right
        )

    return ridge


def _rounded(
    weights: Float[np.ndarray, " N"],
    states: Float[np.ndarray, "T N"],
    targets: Float[np.ndarray, " T"],
    bits: int,
) -> Float[np.ndarray, " N"]:
    last = 2**bits - 1
    low, high = min(weights.min(), 0.0), max(weights.max(), 0.0)
    if low == high:
        return weights
    below = 0 if bits == 1 else round(last * -low / (high - low))
    steps = SCALES[:, None] * (high - low) / last
    levels = np.clip(np.round(weights / steps), -below, last - below)
    y = levels @ (states - states.mean(0)).T
    along = y @ (targets - targets.mean())
    squared = np.maximum(np.sum(y**2, axis=1), np.finfo(float).tiny)
    best = np.argmax(np.sign(along) * along**2 / squared)
    return np.asarray(levels[best] * along[best] / squared[best])


def _fitted(
    fit: Callable[[Float[np.ndarray, "T N"], Float[np.ndarray, " T"]], Path],
    states: Float[np.ndarray, "T N"],
    targets: Float[np.ndarray, " rows"],
    penalty: float | None,
) -> Readout:
    if len(states) != len(targets) or len(states) < 2:
        raise RequestError(
            f"A readout needs at least two rows of states and a target for each, not {len(states)} "
            f"rows and {len(targets)} targets."
        )
    if penalty is None:
        penalty = _validated(fit, states, targets)
    elif not penalty >= 0:
        raise RequestError(f"The penalty of a readout must be 0 or more, not {penalty:g}.")
    weights = fit(states, targets)(penalty)
    return Readout(weights, float(np.mean(targets - states @ weights)), penalty)


def _validated(
    fit: Callable[[Float[np.ndarray, "T N"], Float[np.ndarray, " T"]], Path],
    states: Float[np.ndarray, "T N"],
    targets: Float[np.ndarray, " T"],
) -> float:
    """The penalty with the smallest error on the last quarter, after a fit to the other rows."""
    if len(states) < 8:
        raise RequestError(
            f"{len(states)} rows are too few to choose a penalty by validation; give the penalty."
        )
    cut = len(states) - len(states) // 4
    unit = np.linalg.norm(states[:cut] - states[:cut].mean(0), 2) ** 2
    path = fit(states[:cut], targets[:cut])

    def error(penalty: float) -> float:
        weights = path(penalty)
        offset = np.mean(targets[:cut] - states[:cut] @ weights)
        return float(np.mean((states[cut:] @ weights + offset - targets[cut:]) ** 2))

    return min((float(unit * share) for share in PENALTIES), key=error)
