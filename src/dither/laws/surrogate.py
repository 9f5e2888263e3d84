"""The law of the whole curve of coordinate descent, from descents on surrogate columns.

Crosstalk between columns is quenched: the residue of a flip affects all later tests of the same
columns. Therefore no formula in the error alone describes its decrease. A surrogate has the same
statistics as the columns, and the same memory.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Num

from dither._errors import RequestError
from dither._threefry import random_key
from dither.laws.descent import descend

FITS = 3
"""Rounds of scaling and shifting, after which both agree to about a thousandth."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """The statistics of columns, target and initial weights before the first flip.

    Attributes: `error`, `squared` or `nmse`; `amplitudes`, a_i = |x_i|, of the centred columns for
    `nmse`; `weights`, w_i.
    """

    error: str
    amplitudes: Float[Array, " N"]
    weights: Float[Array, " N"]

    @abstractmethod
    def draw(self, key: Key[Array, ""]) -> tuple[Float[Array, "N T"], Float[Array, " T"]]:
        """Surrogate columns, and the target for them."""


@dataclass(frozen=True, eq=False)
class IndependentTraces(Statistics):
    """Traces of independent normal samples, and a target from a teacher.

    `t = X w* + e`, e orthogonal to all columns, in a separate sample.

    Attributes: `samples`, T > N; `optimum`, w*, the best real-valued weights; `residual`, |e|.
    """

    samples: int
    optimum: Float[Array, " N"]
    residual: float

    def draw(
        self, key: Key[Array, ""]
    ) -> tuple[Float[Array, "N samples"], Float[Array, " samples"]]:
        x = jax.random.normal(key, (self.amplitudes.size, self.samples))
        if self.error == "nmse":
            x = x - x.mean(axis=1, keepdims=True)
        x = _scaled(x, self.amplitudes)
        return jnp.pad(x, ((0, 0), (0, 1))), jnp.append(self.optimum @ x, self.residual)


@dataclass(frozen=True, eq=False)
class CorrelatedTraces(Statistics):
    """Normal traces with the mean over neurons and the covariance over time of the real ones.

    `x_i = m + Σ_k c_k g_ik`, g standard normal, then adjusted; t is the real target

    m is the mean over the neurons with the same initial weight. The surrogates are alternately
    scaled to the real amplitudes and shifted to the real m, so that the descent starts from the
    real output.

    Attributes: `means`, m for the neurons of weight 0 and for those of 1; `modes`, c_k, with Σ_k
    c_k c_kᵀ the covariance over time about m; `target`, t.
    """

    means: Float[Array, "2 T"]
    modes: Float[Array, "K T"]
    target: Float[Array, " T"]

    def draw(self, key: Key[Array, ""]) -> tuple[Float[Array, "N T"], Float[Array, " T"]]:
        g = jax.random.normal(key, (self.amplitudes.size, len(self.modes)))
        group = self.weights.astype(int)
        x = self.means[group] + g @ self.modes
        for _ in range(FITS):
            x = _scaled(x, self.amplitudes)
            x = x + (self.means - _means(x, self.weights))[group]
        return x, self.target


def _means(x: Float[Array, "N T"], weights: Float[Array, " N"]) -> Float[Array, "2 T"]:
    """The mean trace of the neurons of weight 0 and of those of weight 1 (0 if there are none)."""
    member = jnp.stack([1 - weights, weights])
    return jnp.asarray(member @ x / jnp.maximum(member.sum(axis=1, keepdims=True), 1.0))


def _scaled(x: Float[Array, "N T"], amplitudes: Float[Array, " N"]) -> Float[Array, "N T"]:
    return jnp.asarray(x * (amplitudes / jnp.linalg.norm(x, axis=1))[:, None])


def statistics_of(
    columns: Float[Array, "N T"] | Float[np.ndarray, "N T"],
    target: Float[Array, " T"] | Float[np.ndarray, " T"],
    weights: Num[Array, " N"] | Bool[Array, " N"] | Num[np.ndarray, " N"],
    *,
    traces: str,
    error: str = "squared",
) -> Statistics:
    """The statistics that `predicted_curve` needs.

    Arguments: x_i, t and w as for `descend`, before the first flip; `traces`, `independent`
    for columns of independent samples with T > N, or `correlated` for the states of a reservoir;
    the `error`.
    Errors: `RequestError` for independent traces with T ≤ N, whose optimum is not unique.
    Source: derived here, checked by the tests.
    """
    x, t = np.asarray(columns, np.float64), np.asarray(target, np.float64)
    if error == "nmse":
        x, t = x - x.mean(axis=1, keepdims=True), t - t.mean()
    neurons, samples = x.shape
    amplitudes = _single(np.linalg.norm(x, axis=1))
    if traces == "correlated":
        on = np.asarray(weights, float)
        groups = [x[on == one] for one in (0, 1)]
        means = np.stack([one.mean(axis=0) if len(one) else np.zeros(samples) for one in groups])
        _, length, directions = np.linalg.svd(x - means[on.astype(int)], full_matrices=False)
        modes = _single(length[:, None] * directions / np.sqrt(neurons))
        return CorrelatedTraces(error, amplitudes, _single(on), _single(means), modes, _single(t))
    if traces != "independent":
        raise RequestError(f"traces must be independent or correlated, not '{traces}'.")
    if samples <= neurons:
        raise RequestError(
            f"Independent traces need more samples than neurons, not {samples} for {neurons}; "
            "use correlated traces."
        )
    optimum = np.linalg.solve(x @ x.T, x @ t)
    residual = float(np.linalg.norm(t - optimum @ x))
    first = _single(weights)
    return IndependentTraces(error, amplitudes, first, samples, _single(optimum), residual)


def _single(values: object) -> Float[Array, "*shape"]:
    return jnp.asarray(values, jnp.float32)


class PredictedCurve(NamedTuple):
    """The curves of an ensemble of surrogates.

    Attributes: `tests`, k; `errors` after k tests, without noise, one row per draw;
    `last_accepted`, the last test with a kept flip, for each draw.
    """

    tests: Int[np.ndarray, " records"]
    errors: Float[np.ndarray, "draws records"]
    last_accepted: Int[np.ndarray, " draws"]


def predicted_curve(
    key: Key[Array, ""],
    statistics: Statistics,
    tests: int,
    *,
    draws: int = 8,
    order: str = "uniform",
    noise: float = 0.0,
    decision: str = "keep",
    record_every: int = 1,
) -> PredictedCurve:
    """The expected error of a descent against tests, from statistics taken beforehand.

    Every curve is a descent on newly drawn surrogate columns; the mean of the curves is the law,
    and their end is the floor.

    Arguments: a key; the statistics; the number of `tests`; the number of `draws`; others as for
    `descend`.
    Source: derived here, checked by the tests.
    """
    ran = []
    for one in jax.random.split(key, draws):
        for_columns, for_descent = jax.random.split(one)
        columns, target = statistics.draw(for_columns)
        ran.append(
            descend(
                for_descent, columns, target, statistics.weights, tests,
                order=order, error=statistics.error, noise=noise, decision=decision,
                record_every=record_every,
            )
        )  # fmt: skip
    return PredictedCurve(
        np.arange(0, tests + 1, record_every),
        np.array([run.errors for run in ran], np.float64),
        np.array([run.last_accepted for run in ran]),
    )


def predicted_curves(
    columns: Float[np.ndarray, "runs N T"],
    target: Float[np.ndarray, " T"],
    start: Float[np.ndarray, "runs N"],
    tests: int,
    record_every: int,
    **settings: Any,
) -> PredictedCurve:
    """The law for runs that differ in their columns and initial weights.

    One surrogate of correlated traces per run, with the run's number as the key and the NMSE as
    error.

    Arguments: the columns, target and initial weights; `tests` and `record_every`, and further
    `settings`, as for `predicted_curve`.
    """
    found = [
        predicted_curve(
            random_key(seed),
            statistics_of(own, target, first, traces="correlated", error="nmse"),
            tests, draws=1, record_every=record_every, **settings,
        )
        for seed, (own, first) in enumerate(zip(columns, start))
    ]  # fmt: skip
    return PredictedCurve(
        found[0].tests,
        np.concatenate([one.errors for one in found]),
        np.concatenate([one.last_accepted for one in found]),
    )
