"""The laws of rules: the mean and the covariance of their estimates."""

import math
from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from dither.algorithms import (
    SPSA,
    Backpropagation,
    FiniteDifferences,
    LayerwiseMGD,
    NodePerturbation,
    Optimizer,
    WeightMGD,
    nodes,
)
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.algorithms.gradient import AbstractGradientRule
from dither.algorithms.layers import layer_of, sizes
from dither.algorithms.updates import Descent
from dither.contract import AccessLevel, Layer, Problem
from dither.laws.estimate import growth
from dither.planning.here import Here

OPTIMIZERS = ("sgd", "adam", "uncorrected_adam")


class Estimate(NamedTuple):
    """The distribution of an update's averaged estimate.

    Attributes: `gradient`, its mean; `noise`, one draw of the deviation from it; `variance` per
    parameter, for optimisers that normalise by the magnitude.
    """

    gradient: Float[Array, " P"]
    noise: Float[Array, " P"]
    variance: Float[Array, "*P"]


class AbstractRule(eqx.Module):
    """An unbiased rule: its rate, its measurements, and the mean and covariance of its estimates.

    Attributes: `rate`, eta; `falls`, the exponents of the decay of eta and δ with the updates
    (SPSA); `delta`; `per_update`, M; `batches`, tau_x / tau_theta; `noise`, c: the variance of a
    difference of costs is `c sigma²`; `optimizer`; `bends`, whether a one-sided difference includes
    curvature; `sees`, whether a cost is that of a batch or of every sample.
    """

    rate: Float[Array, ""]
    delta: Float[Array, ""]
    per_update: Float[Array, ""]
    batches: Float[Array, ""]
    noise: Float[Array, ""]
    falls: Float[Array, "3"]
    optimizer: Optimizer = eqx.field(static=True)
    bends: bool = eqx.field(static=True, default=False)
    sees: AccessLevel = eqx.field(static=True, default=AccessLevel.COST)

    def rate_at(self, updates: Float[Array, ""]) -> Float[Array, ""]:
        """eta after a number of updates."""
        A, alpha, _ = self.falls
        rate: Float[Array, ""] = self.rate / (A + updates + 1.0) ** alpha
        return rate * self.optimizer.factor(updates.astype(jnp.int32))

    def delta_at(self, updates: Float[Array, ""]) -> Float[Array, ""]:
        """δ after a number of updates."""
        delta: Float[Array, ""] = self.delta / (updates + 1.0) ** self.falls[2]
        return delta

    @abstractmethod
    def estimate(
        self, here: Here, key: Key[Array, ""], delta: Float[Array, ""], excess: Float[Array, ""]
    ) -> Estimate:
        """The mean, noise and variance of an update's estimate.

        `excess`: the missing part of the batch noise, as a share of the variance over examples.
        """

    def smoothed(self, key: Key[Array, ""], theta: Float[Array, " P"], delta: Any) -> Array:
        """The point near θ whose gradient is the mean of a finite difference."""
        del key, delta
        return theta


class PerturbedWeights(AbstractRule):
    """Groups of parameters perturbed together by random signs; no group: the exact gradient.

    ```
    cov G_l = ((1 − 1/N_l) (|g_l|² + tr Σ_l / B) + c sigma² / δ² + q) I / T_l,   cov g_B = Σ / B
    ```

    from `E[GGᵀ] = |g|² I + 2 ggᵀ − 2 diag(g²)` for random signs, approximated by an isotropic
    matrix of the same trace; Σ is the covariance over examples, q that due to curvature in
    one-sided differences. Groups of one are finite differences.
    """

    group: Int[np.ndarray, " P"] | None = eqx.field(default=None)
    group_sizes: Int[np.ndarray, " L"] | None = eqx.field(default=None)
    ticks: Float[Array, ""] = eqx.field(default_factory=lambda: jnp.ones(()))
    normalise: bool = eqx.field(static=True, default=False)
    optimal: bool = eqx.field(static=True, default=False)
    common: bool = eqx.field(static=True, default=False)

    def estimate(
        self, here: Here, key: Key[Array, ""], delta: Float[Array, ""], excess: Float[Array, ""]
    ) -> Estimate:
        for_examples, for_signs, for_common = jax.random.split(key, 3)
        g, n = here.gradients(for_examples)
        batch = jnp.sqrt(excess) * n
        group = self.group
        if group is None or self.group_sizes is None:
            return Estimate(g, batch, n**2 * self.batches / here.batch)
        N = jnp.asarray(self.group_sizes, g.dtype)
        L = len(N)

        def total(x: Float[Array, " P"]) -> Float[Array, " L"]:
            if L == 1:
                return jnp.sum(x)[None]
            return jax.ops.segment_sum(x, group, L)

        squares = total(g**2) + total(n**2) / here.batch
        of_noise = self.noise * here.cost_variance / delta**2 + here.bend
        N_along = jnp.ones(()) if self.normalise else N  # amplitudes of δ/√N
        own_noise = of_noise / 2 if self.common else of_noise
        single = (1 - 1 / N) * squares + own_noise * N / N_along
        ticks = self.ticks * jnp.ones(L)
        if self.optimal:
            share = jnp.sqrt(jnp.maximum(N - 1, 0) * squares)
            ticks = self.ticks * L * (0.9 * share / jnp.sum(share) + 0.1 / L)
        of_group = single / ticks
        scale = jnp.ones(L)
        if self.normalise:
            scale = 1 / jnp.sqrt(1 + (N - 1) / ticks)
        variance = of_group[0] if L == 1 else of_group[group]
        noise = batch + jnp.sqrt(variance) * jax.random.normal(for_signs, g.shape)
        if self.common:  # the common baseline of all differences of a pass
            variance = variance + own_noise / self.ticks
            noise = noise - jnp.sqrt(own_noise / self.ticks) * jax.random.normal(for_common)
        each = scale[0] if L == 1 else scale[group]
        return Estimate(each * g, each * noise, each**2 * (variance + batch**2))

    def smoothed(self, key: Key[Array, ""], theta: Float[Array, " P"], delta: Any) -> Array:
        if self.group_sizes is None or len(self.group_sizes) == theta.size:
            return theta
        around: Array = theta + delta * jax.random.rademacher(key, theta.shape, theta.dtype)
        return around


class PerturbedNodes(AbstractRule):
    """Neurons perturbed by random signs s: `G = mean_b (∂z/∂θ)ᵀ u_b s`, `u_b = s · e_b`.

    One draw of the signs with the exact errors e_b; random weights of the examples represent the
    batches.
    """

    ticks: Float[Array, ""] = eqx.field(default_factory=lambda: jnp.ones(()))
    together: tuple[tuple[Layer, ...], ...] = eqx.field(static=True, default=())
    per_example: bool = eqx.field(static=True, default=False)
    growths: Float[Array, "*P"] = eqx.field(default_factory=lambda: jnp.ones(()))
    shrink: tuple[float, ...] = eqx.field(static=True, default=())

    def estimate(
        self, here: Here, key: Key[Array, ""], delta: Float[Array, ""], excess: Float[Array, ""]
    ) -> Estimate:
        errors, inputs = here.errors()
        layers = tuple(layer for group in self.together for layer in group)
        for_signs, for_examples, for_noise = jax.random.split(key, 3)
        M = here.samples
        s = nodes.signs(for_signs, layers, M if self.per_example else None)
        xi = jax.random.normal(for_examples, (M,))
        xi = xi - jnp.mean(xi)  # over a batch's examples
        part = self.per_example or here.batch < here.task.inputs.shape[0]
        spread = math.sqrt(M / here.batch) if part else 0.0
        added = jax.random.normal(for_noise, (len(self.together), M))
        parts: dict[str, Array] = {}
        for number, group in enumerate(self.together):
            u = jnp.zeros(M)
            for one in group:
                e = errors[one.name].reshape(M, -1)
                if self.per_example:
                    u += jnp.sum(e * s[one.name].reshape(M, -1), axis=1)
                else:  # as a product: XLA miscompiles the sum over e s under vmap
                    u += e @ s[one.name].ravel()
            sigma = jnp.sqrt(self.noise * here.cost_variance * M / here.batch)
            u_noise = sigma * added[number] / (delta * self.shrink[number])
            for one in group:
                e = errors[one.name]
                us = nodes.per_node(u, one) * s[one.name]
                own = nodes.per_node(u_noise, one) * s[one.name]
                w = nodes.per_node(xi, one)
                scatter = (spread if self.per_example else 1 + spread * w) * (us - e) + own
                batch = jnp.sqrt(M * excess) * w * e
                parts[one.name] = scatter / jnp.sqrt(self.ticks) + batch
        g = nodes.pull_back(layers, here.space, here.theta, inputs, errors) * self.growths
        noise = nodes.pull_back(layers, here.space, here.theta, inputs, parts) * self.growths
        return Estimate(g, noise, noise**2)


def rule_of(
    algorithm: AbstractAlgorithm, problem: Problem, layers: tuple[Layer, ...]
) -> AbstractRule | str:
    """The law of an algorithm, or the reason why there is none."""
    if not isinstance(algorithm, AbstractGradientRule):
        return f"the algorithm {algorithm.kind} has no law yet"
    if isinstance(algorithm.rate, str):
        return "the learning rate is not a number"
    if algorithm.update != Descent() or algorithm.outliers is not None:
        return "updates other than descent and clipped outliers have no law yet"
    if algorithm.optimizer.name not in OPTIMIZERS:
        return f"the optimizer {algorithm.optimizer.name} has no law yet"
    if isinstance(algorithm, Backpropagation):
        return PerturbedWeights(delta=jnp.ones(()), **_shared(algorithm, algorithm.rate, problem))
    if isinstance(algorithm, WeightMGD | SPSA | LayerwiseMGD | FiniteDifferences):
        return _of_weights(algorithm, problem)
    if type(algorithm) is NodePerturbation and algorithm.sketch is None:
        return _of_nodes(algorithm, problem, layers)
    return f"the algorithm {algorithm.kind} has no law yet"


def _shared(algorithm: AbstractGradientRule, rate: Any, problem: Problem) -> dict[str, Any]:
    """The common part of all laws."""
    tau_x, tau_theta = algorithm.periods(problem)
    return {
        "rate": jnp.asarray(rate, float),
        "per_update": jnp.asarray(algorithm.times(problem).until_update(), float),
        "batches": jnp.asarray(tau_x / tau_theta, float),
        "noise": jnp.asarray(0.5 if algorithm.central else 2.0),
        "falls": jnp.zeros(3),
        "optimizer": algorithm.optimizer,
        "sees": algorithm.access_level,
    }


def _of_weights(
    algorithm: WeightMGD | SPSA | LayerwiseMGD | FiniteDifferences, problem: Problem
) -> PerturbedWeights:
    space, P = problem.space, problem.space.size
    _, tau_theta = algorithm.periods(problem)
    as_many = float(tau_theta)
    bends = not algorithm.central
    if isinstance(algorithm, SPSA):
        falls = jnp.asarray([algorithm.A, algorithm.alpha, algorithm.gamma])
        shared = _shared(algorithm, algorithm.a, problem) | {"falls": falls}
        delta, held = algorithm.c, 1
    else:
        shared, delta = _shared(algorithm, algorithm.rate, problem), algorithm.delta
        held = algorithm.tau_p if isinstance(algorithm, WeightMGD) else 1
    shared["delta"] = jnp.max(space.amplitude(delta))
    if isinstance(algorithm, LayerwiseMGD):
        shared |= {"normalise": algorithm.normalise, "optimal": algorithm.split == "optimal"}
        group, N = layer_of(space), sizes(space)
    elif isinstance(algorithm, FiniteDifferences):
        shared |= {"common": bends}
        group, N = np.arange(P), np.ones(P, int)
    else:
        code = algorithm.code
        cycle = code.cycle(P)
        whole = cycle is not None and tau_theta % (cycle * held) == 0
        kappa = 0.0 if whole else code.kappa(P)
        # a code with less scatter than random signs is equivalent to more of them
        as_many *= 1 / held * max(P - 1, 1) / max(kappa, 1e-9)
        shared |= {"bends": bends}
        group, N = np.zeros(P, np.int32), np.array([P])
    ticks = jnp.asarray(as_many / len(N), float)
    return PerturbedWeights(group=group, group_sizes=N, ticks=ticks, **shared)


def _of_nodes(
    algorithm: NodePerturbation, problem: Problem, layers: tuple[Layer, ...]
) -> PerturbedNodes:
    space, tau_theta = problem.space, float(algorithm.tau_theta)
    together = (layers,) if algorithm.layers == "all" else tuple((one,) for one in layers)
    counts = [nodes.count(group) for group in together]
    normal = algorithm.normalise
    of = {
        one.name: growth(N - 1.0, tau_theta) if normal else 1.0
        for group, N in zip(together, counts)
        for one in group
    }
    grown = {p.name: jnp.full(p.shape, of[p.name.rpartition("/")[0]]) for p in space.parameters}
    return PerturbedNodes(
        delta=jnp.asarray(algorithm.delta, float),
        ticks=jnp.asarray(tau_theta),
        together=together,
        per_example=algorithm.per_example,
        growths=1 / space.ravel(grown),
        shrink=tuple(N**-0.5 if normal else 1.0 for N in counts),
        **_shared(algorithm, algorithm.rate, problem),
    )
