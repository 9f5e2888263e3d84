"""Fits to the runs of a study, including runs stopped before the target."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Num

from dither._errors import RequestError, nearest
from dither._words import estimate
from dither.laws import Interval
from dither.studies.curves import (
    FORMS,
    NO_SCATTER,
    Parameters,
    Sample,
    half_size_limits,
    log_likelihood,
    most_likely,
)

Runs: TypeAlias = Num[np.ndarray, " runs"]
Stopped: TypeAlias = Bool[np.ndarray, " runs"]


class Band(NamedTuple):
    """A curve at some sizes, with its 95 % bootstrap interval at each."""

    value: Float[np.ndarray, " sizes"]
    low: Float[np.ndarray, " sizes"]
    high: Float[np.ndarray, " sizes"]


@dataclass(frozen=True, eq=False)
class Fit:
    """A curve through the medians of runs at many sizes.

    Fields: the form; the names of y and x; the parameters of the form's equation, the `scatter` of
    ln y at the middle size and, if significant, its `scatter_exponent`; the numbers of runs and of
    censored runs; the estimate of (s, p), its bootstrap draws, and the share of draws excluded at
    either end of an interval.
    """

    form: str
    criterion: str
    against: str
    parameters: dict[str, Interval]
    runs: int
    censored: int
    estimate: Float[np.ndarray, "1 2"]
    bootstrap: Float[np.ndarray, "draws 2"]
    tail: float

    def curve(self, x: Num[np.ndarray, " sizes"]) -> Band:
        """The fitted median at sizes x > 0, with its band."""

        def at(parameters: Float[np.ndarray, "draws 2"]) -> Float[np.ndarray, "draws sizes"]:
            s, p = np.split(parameters, 2, axis=1)
            return np.asarray(np.exp(s + FORMS[self.form].shape(np.asarray(x, float), p)))

        low, high = np.quantile(at(self.bootstrap), [self.tail, 1 - self.tail], axis=0)
        return Band(at(self.estimate)[0], low, high)

    def __str__(self) -> str:
        """The fit in one line, with each number named after its criterion."""
        what = "; ".join(
            f"{name.replace('_', ' ')} of {self.criterion} against {self.against}: "
            f"{estimate(*self.parameters[name])}"
            for name in FORMS[self.form].headline
        )
        return f"{what}, {self.runs} runs, {self.censored} of them unfinished"


def fit(
    x: Runs,
    y: Runs,
    censored: Stopped,
    form: str,
    criterion: str,
    against: str = "size",
    draws: int = 1000,
    seed: int = 0,
) -> Fit:
    """Fit a curve to runs at many sizes; runs stopped before the target are censored.

    `ln y = s + g(x; p) + σ ε`, ε normal; a run stopped at y would have ended above. Parameters have
    maximum likelihood (`most_likely`), with σ common to the sizes, or `∝ x^τ` if that is
    significantly more likely (likelihood ratio, 1 %). Intervals are from a bootstrap over the runs
    with independent exponential weights, so that the few finished runs of a size never all drop
    out; the tails are `P(ε > t √(n / (n − q)))`, for n finished runs, q parameters and Student's t
    of n − q.

    Arguments: for each run its size x > 0, the y > 0 at which it reached the target or was stopped,
    and whether it was stopped; the form, one of `FORMS`; the names of y ("measurements to accuracy
    0.95") and x ("hidden"); `draws` and `seed` of the bootstrap.
    Errors: `RequestError` for an unknown form, columns of different lengths, values without a
    logarithm, fewer than two sizes, and fewer than two sizes with finished runs.
    Source: the weights are Rubin's (1981), the tails Hesterberg's (2015); their combination is our
    own, and the tests check its coverage of a known exponent.
    """
    from scipy import stats

    if form not in FORMS:
        raise RequestError(f"The form {form!r} of a fit is unknown; {nearest(form, FORMS)}")
    sample = _sample(np.asarray(x), np.asarray(y), np.asarray(censored, bool), criterion)
    best, changes = _best(form, sample)
    weights = np.random.default_rng(seed).exponential(size=(draws, sample.x.size))
    again = most_likely(FORMS[form], sample, weights, best, changes, tolerance=1e-4)
    finished = int(np.sum(~sample.censored))
    free = max(finished - (4 if changes else 3), 1)
    tail = float(stats.norm.sf(stats.t.isf(0.025, free) * math.sqrt(finished / free)))
    ends = np.quantile(again, [tail, 1 - tail], axis=0)
    columns = _named(form, sample, np.concatenate([best, ends])).T
    names = (*FORMS[form].parameters, "scatter", *(["scatter_exponent"] if changes else []))
    return Fit(
        form=form,
        criterion=criterion,
        against=against,
        parameters={name: Interval(*map(float, each)) for name, each in zip(names, columns)},
        runs=sample.x.size,
        censored=sample.x.size - finished,
        estimate=best[:, :2],
        bootstrap=again[:, :2],
        tail=tail,
    )


def _best(form: str, sample: Sample) -> tuple[Parameters, bool]:
    """The maximum-likelihood parameters, and whether the scatter depends on the size."""
    from scipy.stats import chi2

    shape, one = FORMS[form], np.ones((1, sample.x.size))
    start_p = math.log(np.median(sample.x)) if form == "saturating" else 0.0
    start = np.array([[sample.log_y.mean(), start_p, math.log(sample.log_y.std() + 1e-3), 0.0]])
    best = most_likely(shape, sample, one, start, scatter_changes=False)
    changing = most_likely(shape, sample, one, best, scatter_changes=True)
    gain = log_likelihood(shape, sample, changing) - log_likelihood(shape, sample, best)
    scattered = best[0, 2] > math.log(10 * NO_SCATTER)
    changes = bool(scattered and 2 * gain[0] > chi2.isf(0.01, 1))
    return (changing if changes else best), changes


def _named(form: str, sample: Sample, parameters: Parameters) -> Parameters:
    """The named parameters; those of a curve that does not saturate are infinite."""
    first, second, scatter, exponent = parameters.T
    first, scatter = np.exp(first), np.exp(scatter)
    if form == "saturating":
        lowest, highest = half_size_limits(sample.x)
        first = np.where(second >= highest, np.inf, first)
        second = np.select([second <= lowest, second >= highest], [0.0, np.inf], np.exp(second))
    return np.stack([first, second, scatter, exponent], axis=1)


def _sample(
    x: Num[np.ndarray, "..."],
    y: Num[np.ndarray, "..."],
    censored: Bool[np.ndarray, "..."],
    criterion: str,
) -> Sample:
    """The validated runs."""
    if not (x.ndim == 1 and x.shape == y.shape == censored.shape):
        raise RequestError(
            f"A fit of {criterion} needs a size, a value and a censoring mark for every run, "
            "in columns of "
            f"equal length, not {x.shape}, {y.shape} and {censored.shape}."
        )
    if not all(np.all((column > 0) & np.isfinite(column)) for column in (x, y)):
        raise RequestError(
            f"A fit of {criterion} needs sizes and values that are finite and above 0; for a run "
            "that did not finish, give the value at which it was stopped, and mark it as censored."
        )
    if np.unique(x).size < 2:
        raise RequestError(f"A fit of {criterion} needs runs of two or more different sizes.")
    if np.unique(x[~censored]).size < 2:
        raise RequestError(
            f"A fit of {criterion} needs finished runs at two or more sizes, but here they "
            f"finished at {np.unique(x[~censored]).size}; increase the budget of the runs."
        )
    return Sample(x.astype(float), np.log(y.astype(float)), censored)


def median_with_interval(y: Runs, censored: Stopped) -> Interval:
    """The Kaplan–Meier median of runs, some of them stopped, and its 95 % interval.

    The median is where the estimate S of the share of unfinished runs crosses ½, or the middle of
    the range where S equals ½, so that it is the ordinary median if every run finished. The
    interval contains the y at which the 95 % interval of S (log-log) contains ½. Values that are
    not reached are infinite; if no run finished, the low end is the first stop.

    Arguments: for each run the y at which it finished or was stopped; whether it was stopped.
    Errors: `RequestError` for no runs and for values that are not finite.
    Source: Brookmeyer and Crowley (1982) for the interval; if none of n runs is left, S is at most
    `1 − 0.025^(1/n)` (Clopper and Pearson, 1934).
    """
    y, censored = np.asarray(y, float), np.asarray(censored, bool)
    if not y.size or y.shape != censored.shape or not np.all(np.isfinite(y)):
        raise RequestError(
            "A median needs one or more runs, each with a finite value and a censoring mark."
        )
    if censored.all():
        return Interval(math.inf, float(y.min()), math.inf)
    times, share, at_least, at_most = _going(y, censored)
    ended = share < 1

    def first(reached: Stopped) -> float:
        return float(times[np.argmax(reached)]) if reached.any() else math.inf

    half = 1e-9
    value = (first(share <= 0.5 + half) + first(share < 0.5 - half)) / 2
    low = first(ended & (np.nan_to_num(at_least) <= 0.5))
    at_most = np.where(share > 0, at_most, 1 - 0.025 ** (1 / y.size))
    return Interval(value, low, first(ended & (at_most <= 0.5)))


def _going(y: Runs, censored: Stopped) -> tuple[Float[np.ndarray, " T"], ...]:
    """The ends and stops in order, S after each of them, and the two ends of its interval.

    `S = Π (1 − d/n)`, `S^exp(±z σ)` with `σ = √(Σ d / (n (n − d))) / |log S|`, where n runs were
    still going and d of them finished; not a number if S is 0 or 1. This equals `scipy.stats.ecdf`,
    whose import takes longer than the rest of a report.
    """
    times, place = np.unique(y, return_inverse=True)
    d, gone = np.bincount(place, ~censored), np.bincount(place)
    n = y.size - np.cumsum(gone) + gone
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.cumprod(1 - d / n)
        sigma = np.sqrt(np.cumsum(d / (n * (n - d)))) / np.abs(np.log(share))
        z = NormalDist().inv_cdf(0.975)
        return times, share, share ** np.exp(z * sigma), share ** np.exp(-z * sigma)
