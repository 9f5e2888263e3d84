"""Three forms of curves, and the likelihood of runs with censoring."""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float

Curves: TypeAlias = Float[np.ndarray, "#draws runs"]
Shape: TypeAlias = Float[np.ndarray, "#draws 1"]
Sizes: TypeAlias = Float[np.ndarray, " runs"]
Parameters: TypeAlias = Float[np.ndarray, "#draws 4"]
"""The columns: s and p of the curve, the logarithm of the scatter, its exponent τ."""


class Form(NamedTuple):
    """A curve `ln y = s + g(x; p)`: its equation, parameters, g, and the slope of g in p."""

    equation: str
    parameters: tuple[str, str]
    headline: tuple[str, ...]
    shape: Callable[[Sizes, Shape], Curves]
    slope: Callable[[Sizes, Shape], Curves]


FORMS: dict[str, Form] = {
    "power law": Form(
        "y = coefficient · x^exponent",
        ("coefficient", "exponent"),
        ("exponent",),
        lambda x, p: p * np.log(x),
        lambda x, p: np.log(x) + 0 * p,
    ),
    "exponential": Form(
        "y = coefficient · exp(rate · x)",
        ("coefficient", "rate"),
        ("rate",),
        lambda x, p: p * x,
        lambda x, p: x + 0 * p,
    ),
    "saturating": Form(
        "y = ceiling · x / (x + half_size)",
        ("ceiling", "half_size"),
        ("ceiling", "half_size"),
        lambda x, p: -np.log1p(np.exp(p) / x),
        lambda x, p: -np.exp(p) / (x + np.exp(p)),
    ),
}
"""The forms that can be fitted; p is the exponent, the rate, the logarithm of the half size."""

REACH = 1e3
"""The search range of a half size, as a factor below the smallest and above the largest size."""

NO_SCATTER = 1e-6
"""The scatter of ln y below which the runs of one size count as equal."""

STEEPEST = 2.0
"""The largest exponent of the scatter of ln y against size."""


class Sample(NamedTuple):
    """Runs: sizes, log end points, and whether they were stopped (censored)."""

    x: Sizes
    log_y: Sizes
    censored: Bool[np.ndarray, " runs"]


def spread(x: Sizes) -> Sizes:
    """The logarithm of a size relative to the middle one, on which the scatter may depend."""
    return np.asarray(np.log(x) - np.log(x).mean())


def half_size_limits(x: Sizes) -> tuple[float, float]:
    """The search range of the logarithm of a half size."""
    return math.log(x.min() / REACH), math.log(x.max() * REACH)


def log_likelihood(
    form: Form, sample: Sample, parameters: Parameters
) -> Float[np.ndarray, " draws"]:
    """`Σ ln φ(z) − ln σ` over the runs that ended, `+ Σ ln P(ε > z)` over those stopped.

    `z = (ln y − s − g(x; p)) / σ`; Tobin (1958).
    """
    from scipy.stats import norm

    s, p, log_sigma, tau = np.split(parameters, 4, axis=1)
    log_scatter = log_sigma + tau * spread(sample.x)
    z = (sample.log_y - s - form.shape(sample.x, p)) / np.exp(log_scatter)
    each = np.where(sample.censored, norm.logsf(z), norm.logpdf(z) - log_scatter)
    return np.asarray(each.sum(axis=1))


def _mean(values: Curves, weight: Curves) -> Shape:
    total = weight.sum(axis=1, keepdims=True)
    return np.asarray(np.vecdot(weight, values)[:, None] / total)


def _slope(values: Curves, along: Curves, weight: Curves) -> Shape:
    centred = along - _mean(along, weight)
    itself = np.maximum(_mean(centred**2, weight), np.finfo(float).tiny)
    return np.asarray(_mean(values * centred, weight) / itself)


def most_likely(
    form: Form,
    sample: Sample,
    weights: Curves,
    start: Parameters,
    scatter_changes: bool,
    tolerance: float = 1e-7,
    steps: int = 1000,
) -> Parameters:
    """The maximum-likelihood parameters for each row of weights, by expectation–maximisation.

    Expectation: a stopped run is expected to end `σ h(z)` above the curve, with variance
    `σ² (1 − h (h − z))`, where `h(z) = φ(z) / P(ε > z)`. Maximisation: least squares of s and p for
    these expected ends, weighted by `1 / σ²`; `σ²`, the mean square about them; and, if the scatter
    depends on the size as `σ ∝ x^τ`, a step of Fisher scoring for τ.

    Arguments: the form; the runs; a weight for each run and draw; the start; the tolerance for the
    change of the curve, in σ; the maximum number of steps.
    Source: Dempster, Laird and Rubin (1977); Harvey (1976) for τ; checked by the tests.
    """
    from scipy.special import erfcx

    x, stopped, u = sample.x, sample.censored, spread(sample.x)[None]
    saturates = form is FORMS["saturating"]

    s, p, log_sigma, tau = np.split(np.repeat(start, len(weights) // len(start), axis=0), 4, axis=1)
    curve = s + form.shape(x, p)
    for _ in range(steps):
        sigma = np.exp(log_sigma + tau * u)
        above = sample.log_y - curve
        z = (above / sigma)[:, stopped]
        h = math.sqrt(2 / math.pi) / erfcx(z / math.sqrt(2))
        above[:, stopped] = sigma[:, stopped] * h
        expected = curve + above

        precision = weights / sigma**2
        step = _slope(above, form.slope(x, p), precision)
        p = np.clip(p + np.clip(step, -1, 1), *half_size_limits(x)) if saturates else p + step
        shape = form.shape(x, p)
        s = _mean(expected - shape, precision)
        moved, curve = s + shape - curve, s + shape

        square = (expected - curve) ** 2
        square[:, stopped] += sigma[:, stopped] ** 2 * np.clip(1 - h * (h - z), 0, 1)
        scatter_step = np.zeros_like(tau)
        if scatter_changes:
            scatter_step = np.clip(_slope(square / sigma**2 / 2, u, weights), -1, 1)
            tau = np.clip(tau + scatter_step, -STEEPEST, STEEPEST)
        mean_square = np.maximum(_mean(square * np.exp(-2 * tau * u), weights), NO_SCATTER**2)
        grown, log_sigma = np.log(mean_square) / 2 - log_sigma, np.log(mean_square) / 2
        if max(np.abs(one).max() for one in (moved / sigma, grown, scatter_step)) < tolerance:
            break
    return np.concatenate([s, p, log_sigma, tau], axis=1)
