"""Quantities of training curves: crossings, named criteria, exponents, constants."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Num

from dither._errors import RequestError

Curve: TypeAlias = Num[np.ndarray, " records"]


class Interval(NamedTuple):
    """An estimate and its 95 % interval by bootstrap."""

    value: float
    low: float
    high: float


def bootstrapped_median(
    values: Num[np.ndarray, " runs"], draws: int = 2000, seed: int = 0
) -> Interval:
    """The median over runs with its 95 % interval by bootstrap; infinite runs are allowed."""
    again = np.random.default_rng(seed).choice(values, (draws, len(values)))
    middles = np.quantile(again, 0.5, axis=1, method="higher")
    low, high = np.quantile(middles, [0.025, 0.975], method="nearest")
    middle = np.quantile(values, 0.5, method="higher")
    return Interval(float(middle), float(low), float(high))


def bootstrapped_mean(
    values: Num[np.ndarray, " runs"], draws: int = 2000, seed: int = 0
) -> Interval:
    """The mean over runs with its 95 % interval by bootstrap."""
    again = np.random.default_rng(seed).choice(values, (draws, len(values))).mean(axis=1)
    low, high = np.quantile(again, [0.025, 0.975], method="nearest")  # some are infinite
    return Interval(float(np.mean(values)), float(low), float(high))


class DescentRun(NamedTuple):
    """One training: tests k from 0, the errors after them, the last accepted test."""

    tests: Curve
    errors: Curve
    last_accepted: int


Criterion: TypeAlias = Callable[[DescentRun], float]


def crossing(tests: Curve, errors: Curve, level: float) -> float:
    """The tests after which the error is first at or below a level; infinite if never.

    Arguments: k, ascending; the error after k tests; the level.
    """
    below = np.asarray(errors) <= level
    return float(np.asarray(tests)[np.argmax(below)]) if below.any() else float("inf")


def removed(share: float) -> Criterion:
    """The tests until a share of the excess over the run's final error is removed."""

    def tests_of(run: DescentRun) -> float:
        first, final = float(run.errors[0]), float(run.errors[-1])
        return crossing(run.tests, run.errors, final + (1 - share) * (first - final))

    return tests_of


def within(factor: float) -> Criterion:
    """The tests until the error is at most a multiple of the run's final error."""
    return lambda run: crossing(run.tests, run.errors, factor * float(run.errors[-1]))


def below(error: float) -> Criterion:
    """The tests until the error is at most a fixed value."""
    return lambda run: crossing(run.tests, run.errors, error)


CRITERIA: dict[str, Criterion] = {
    "63 % of the excess removed": removed(1 - math.exp(-1)),
    "99 % of the excess removed": removed(0.99),
    "within 2x of final": within(2.0),
    "within 1.1x of final": within(1.1),
    "fixed NMSE of 0.05": below(0.05),
    "last accepted flip": lambda run: float(run.last_accepted),
}
"""Criteria for the end of a training, in tests; infinite if never met."""


def power_law_fit(
    sizes: Sequence[float | int] | Num[np.ndarray, " sizes"],
    values: Sequence[Num[np.ndarray, " _"]],
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """The exponent α of `value ∝ size^α`.

    Least squares of the logarithm of the mean at each size; the interval is from a bootstrap of the
    runs within each size.

    Arguments: sizes; for each, the values of its runs, all > 0 and finite; `draws` and `seed` of
    the bootstrap.
    Errors: `RequestError` for fewer than two sizes, and for values without a logarithm.
    """
    runs = [np.asarray(one, float) for one in values]
    if len(set(sizes)) < 2 or len(sizes) != len(runs):
        raise RequestError("A power law needs values at two or more different sizes.")
    if not all(one.size and np.all((one > 0) & np.isfinite(one)) for one in runs):
        raise RequestError("A power law needs values that are finite and above 0 at every size.")
    rng = np.random.default_rng(seed)

    def exponent(means: Float[np.ndarray, "sizes *many"]) -> Float[np.ndarray, "*many"]:
        return np.asarray(np.polyfit(np.log(sizes), np.log(means), 1)[0])

    again = np.stack([rng.choice(one, (draws, one.size)).mean(axis=1) for one in runs])
    value = exponent(np.array([one.mean() for one in runs]))
    return Interval(float(value), *map(float, np.quantile(exponent(again), [0.025, 0.975])))


def exponential_constant(
    tests: Curve,
    excess: Num[np.ndarray, "runs records"],
    down_to: float = 0.01,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """The convergence constant K of an exponential fit `exp(−k / K)` to the mean excess.

    Least squares of the logarithm of the mean over the runs, relative to its start and through that
    start; the interval is from a bootstrap of the runs.

    Arguments: k, beginning with 0; the excess error of each run after k tests; `down_to`, the share
    of the initial excess down to which the curve is used; `draws` and `seed` of the bootstrap.
    Errors: `RequestError` if no later point of the mean curve is above that share.
    """
    k, runs = np.asarray(tests, float), np.asarray(excess, float)

    def constant(curve: Float[np.ndarray, " records"]) -> float:
        share = curve / curve[0]
        end = len(share) if np.all(share > down_to) else int(np.argmax(share <= down_to))
        if end < 2:
            raise RequestError(
                "The excess falls below `down_to` before its second point; record more often."
            )
        rate = k[:end] @ -np.log(share[:end]) / (k[:end] @ k[:end])
        return float("inf") if rate <= 0 else 1 / float(rate)

    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(runs), size=(draws, len(runs)))
    again = [constant(runs[one].mean(axis=0)) for one in chosen]
    return Interval(constant(runs.mean(axis=0)), *map(float, np.quantile(again, [0.025, 0.975])))
