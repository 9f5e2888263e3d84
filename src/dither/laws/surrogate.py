"""The law of the whole curve of coordinate descent: surrogate columns, run cheaply.

Crosstalk between columns is quenched: what one flip leaves behind meets every later test of the
same columns, so that no formula in the error alone can say how it falls. A surrogate has the
statistics of the columns, and a memory.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Num

from dither._errors import RequestError
from dither.laws.descent import Decision, Error, Order, descend

Traces: TypeAlias = Literal["independent", "correlated"]


@dataclass(frozen=True, eq=False)
class Statistics:
    """What the law is told of columns, target and first weights, before the first flip.

    Attributes: `error`, `squared` or `nmse`; `amplitudes`, a_i = |x_i|, of the centred columns for
    `nmse`; `weights`, w_i.
    """

    error: Error
    amplitudes: Float[Array, " N"]
    weights: Float[Array, " N"]

    @abstractmethod
    def draw(self, key: Key[Array, ""]) -> tuple[Float[Array, "N T"], Float[Array, " T"]]:
        """Surrogate columns, and the target for them."""


@dataclass(frozen=True, eq=False)
class IndependentTraces(Statistics):
    """Traces of independent normal samples, and a target made by a teacher.

    `t = X w* + e`, e orthogonal to all columns: it stands in a sample of its own.

    Attributes: `samples`, T > N; `optimum`, w*, the best real-valued weights; `residual`, |e|.
    """

    samples: int
    optimum: Float[Array, " N"]
    residual: float

    def draw(self, key: Key[Array, ""]) -> tuple[Float[Array, "N T+1"], Float[Array, " T+1"]]:
        x = jax.random.normal(key, (self.amplitudes.size, self.samples))
        if self.error == "nmse":
            x = x - x.mean(axis=1, keepdims=True)
        x = _scaled(x, self.amplitudes)
        return jnp.pad(x, ((0, 0), (0, 1))), jnp.append(self.optimum @ x, self.residual)


@dataclass(frozen=True, eq=False)
class CorrelatedTraces(Statistics):
    """Normal traces with the mean over the neurons and the covariance in time of the real ones.

    `x_i = a_i z_i / |z_i|`, `z_i = m + Σ_k c_k g_ik`, g standard normal, and the target itself

    Attributes: `mean_trace`, m; `modes`, c_k: the covariance in time is Σ_k c_k c_kᵀ; `target`, t.
    """

    mean_trace: Float[Array, " T"]
    modes: Float[Array, "K T"]
    target: Float[Array, " T"]

    def draw(self, key: Key[Array, ""]) -> tuple[Float[Array, "N T"], Float[Array, " T"]]:
        g = jax.random.normal(key, (self.amplitudes.size, len(self.modes)))
        return _scaled(self.mean_trace + g @ self.modes, self.amplitudes), self.target


def _scaled(x: Float[Array, "N T"], amplitudes: Float[Array, " N"]) -> Float[Array, "N T"]:
    return jnp.asarray(x * (amplitudes / jnp.linalg.norm(x, axis=1))[:, None])


def statistics_of(
    columns: Float[Array, "N T"] | Float[np.ndarray, "N T"],
    target: Float[Array, " T"] | Float[np.ndarray, " T"],
    weights: Num[Array, " N"] | Bool[Array, " N"] | Num[np.ndarray, " N"],
    *,
    traces: Traces,
    error: Error = "squared",
) -> Statistics:
    """The statistics that `predicted_curve` needs.

    Arguments: x_i, t and w as for `descend`, which the statistics are to go without flipping;
    `traces`, `independent` for columns of independent samples with T > N, or `correlated` for the
    states of a reservoir; the `error`.
    Errors: `RequestError` for independent traces with T ≤ N, whose optimum is not unique.
    Source: derived here, checked by the tests.
    """
    x, t = np.asarray(columns, np.float64), np.asarray(target, np.float64)
    if error == "nmse":
        x, t = x - x.mean(axis=1, keepdims=True), t - t.mean()
    neurons, samples = x.shape
    amplitudes = _single(np.linalg.norm(x, axis=1))
    if traces == "correlated":
        m = x.mean(axis=0)
        _, length, directions = np.linalg.svd(x - m, full_matrices=False)
        modes = _single(length[:, None] * directions / np.sqrt(neurons))
        first = _single(weights)
        return CorrelatedTraces(error, amplitudes, first, _single(m), modes, _single(t))
    if samples <= neurons:
        raise RequestError(
            f"Independent traces need more samples than neurons, not {samples} for {neurons}; "
            "ask for correlated traces."
        )
    optimum = np.linalg.solve(x @ x.T, x @ t)
    residual = float(np.linalg.norm(t - optimum @ x))
    first = _single(weights)
    return IndependentTraces(error, amplitudes, first, samples, _single(optimum), residual)


def _single(values: object) -> Float[Array, "*shape"]:
    return jnp.asarray(values, jnp.float32)


class PredictedCurve(NamedTuple):
    """The curves of an ensemble of surrogates.

    Attributes: `tests`, k; `errors` after k tests, without noise, a row for each draw;
    `last_accepted`, the last test whose flip was kept, for each draw.
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
    order: Order = "uniform",
    noise: float = 0.0,
    decision: Decision = "keep",
    record_every: int = 1,
) -> PredictedCurve:
    """What to expect of a descent: its error against tests, from statistics taken beforehand.

    Surrogate columns with those statistics are drawn anew for every curve and descended; the mean
    of the curves is the law, where they end is the floor.

    Arguments: a key; the statistics; the number of `tests`; the number of `draws`; the rest as for
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
