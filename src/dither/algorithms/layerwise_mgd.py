"""Multiplexed gradient descent by weight perturbation, layer by layer."""

import math
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from pydantic import Field

from dither.algorithms import traps
from dither.algorithms.descent_rule import AbstractDescentRule
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.algorithms.layers import layer_names, layer_of, sizes
from dither.contract import Problem
from dither.laws.estimate import growth

EVEN = 0.1
"""The share of the measurements that the optimal split distributes evenly."""

MEMORY = 0.99
"""The decay factor of a layer's mean squared slope at each new value."""


class Split(eqx.Module):
    """The split of the perturbations over the layers.

    Attributes: `share`, q_l; `slopes` and `weights`, the exponentially weighted sums of (ΔC/δ_l)²
    and of 1 over each layer's perturbations.
    """

    share: Float[Array, " L"]
    slopes: Float[Array, " L"]
    weights: Float[Array, " L"]


class LayerwiseMGD(AbstractDescentRule):
    """Perturb the parameters of one layer at a time, measure the cost, correlate, update.

    ```
    θ_l ← θ_l + δ_l s,  s = ±1:   ΔC = C(θ + δ_l s) − C(θ)   or   (C(θ + δ_l s) − C(θ − δ_l s)) / 2
    G_l ← G_l + ΔC s / (δ_l T_l),   T_l = q_l L tau_theta
    every L tau_theta perturbations:  θ ← θ − eta G (or an Optax update),  G ← 0
    ```

    G is the unbiased gradient estimate. With the `equal` split q_l = 1/L every layer is perturbed
    tau_theta times; with the `optimal` one it is perturbed `q_l ∝ |g_l| √(N_l − 1)` of the time,
    which minimises the variance of the estimate. |g_l|² is estimated during training as the mean of
    (ΔC/δ_l)²; a tenth of the perturbations remains evenly split. The baseline C(θ) is measured
    again, and counted, when the batch or the parameters have changed; the paper measures it for
    every layer.

    Arguments:
        delta: amplitude δ_l = δ > 0 of a parameter's perturbation.
        split: how perturbations are split over the layers, `equal` or `optimal`.
        pairs: `baseline` (one-sided) or `central`.
        tau_x, tau_theta: passes through all L layers between new batches, updates; ≥ 1.
        normalise: whether, as in the paper, δ_l = δ/√N_l for a layer with N_l parameters, and its
            estimate is divided by the expected growth √(1 + (N_l − 1)/T_l).
    The others as for `AbstractDescentRule`. A layer is all parameters with the same name before the
    last slash: `dense0/weight`, `dense0/bias`.

    Source: Oripov2025; the optimal split derived here, checked by the tests.
    """

    kind: Literal["layerwise-mgd"] = "layerwise-mgd"
    delta: Annotated[float, Field(gt=0, examples=[1e-2])] = 1e-3
    split: Literal["equal", "optimal"] = "equal"
    pairs: Literal["baseline", "central"] = "baseline"
    normalise: bool = False

    @property
    def central(self) -> bool:
        return self.pairs == "central"

    def periods(self, problem: Problem) -> tuple[int, int]:
        L = len(sizes(problem.space))
        return L * self.tau_x, L * self.tau_theta

    def reach(self, problem: Problem) -> Float[Array, " P"]:
        """δ_l for every parameter, as the DAC can write it."""
        N = sizes(problem.space)
        deltas = self.delta / np.sqrt(N) if self.normalise else np.full(len(N), self.delta)
        of_each = jnp.asarray(deltas, jnp.result_type(float))[layer_of(problem.space)]
        return problem.space.amplitude(of_each)

    def remember(self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem) -> Split:
        del key
        L = len(sizes(problem.space))
        none = jnp.zeros(L, theta.dtype)
        return Split(jnp.full(L, 1 / L, theta.dtype), none, none)

    def _layer(self, state: GradientState) -> Int[Array, ""]:
        """The perturbed layer: in turn, or evenly spaced along the shares."""
        tick, share = state.clock.tick, state.memory.share
        L = len(share)
        if self.split == "equal":
            return tick % L
        period = L * self.tau_theta
        offset = jax.random.uniform(jax.random.fold_in(state.key, -1 - tick // period))
        place = (tick % period + offset) / period
        found = jnp.searchsorted(jnp.cumsum(share), place, side="right")
        return jnp.minimum(found, L - 1)

    def layer(self, state: GradientState) -> tuple[Int[Array, ""], tuple[str, ...]] | None:
        # with the optimal split, replicas may perturb different layers
        names = tuple(layer_names(state.problem.space))
        return (self._layer(state), names) if self.split == "equal" else None

    def perturb(self, state: GradientState, at: At) -> tuple[Float[Array, " P"], None]:
        space = state.problem.space
        key = jax.random.fold_in(state.key, state.clock.tick)
        s = jax.random.rademacher(key, at.theta.shape, at.theta.dtype)
        mine = layer_of(space) == self._layer(state)
        p = jnp.where(mine, self.reach(state.problem) * s, 0)
        return space.snap(at.theta + at.side * p), None

    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        share: Float[Array, ""] = state.memory.share[self._layer(state)]
        p = told.probe.theta - told.theta
        return told.change * p / (self.reach(state.problem) ** 2 * share)

    def learn(self, state: GradientState, told: Told) -> Split:
        now, layer = state.memory, self._layer(state)
        space = state.problem.space
        firsts = np.concatenate([[0], np.cumsum(sizes(space))[:-1]])
        amplitude = jnp.broadcast_to(self.reach(state.problem), (space.size,))[firsts][layer]
        slope = jnp.where(told.refers, 0.0, jnp.square(told.change / amplitude))
        fade = jnp.where(told.refers, 1.0, MEMORY)
        slopes = now.slopes.at[layer].set(fade * now.slopes[layer] + slope)
        weights = now.weights.at[layer].set(fade * now.weights[layer] + ~told.refers)
        return Split(now.share, slopes, weights)

    def precondition(
        self, state: GradientState, estimate: Float[Array, " P"]
    ) -> Float[Array, " P"]:
        if not self.normalise:
            return estimate
        N, of = sizes(state.problem.space), layer_of(state.problem.space)
        visits = state.memory.share * len(N) * self.tau_theta
        return estimate / jnp.sqrt(1 + (N - 1) / visits)[of]

    def renewed(self, state: GradientState, updated: Bool[Array, ""]) -> Split:
        now: Split = state.memory
        if self.split == "equal":
            return now
        best = _best_share(now, sizes(state.problem.space))
        return Split(jnp.where(updated, best, now.share), now.slopes, now.weights)

    def spread(self, problem: Problem) -> float:
        N = 1 if self.normalise else max(sizes(problem.space))
        return growth(N - 1.0, float(self.tau_theta))

    def warnings(self, problem: Problem, measurements: int | None) -> list[str]:
        least = self.delta / math.sqrt(max(sizes(problem.space))) if self.normalise else self.delta
        return [
            *traps.of_weights(problem.space, least, self.delta),
            *super().warnings(problem, measurements),
        ]


def _best_share(now: Split, N: Int[np.ndarray, " L"]) -> Float[Array, " L"]:
    """`q_l ∝ |g_l| √(N_l − 1)`, after every layer was perturbed; a tenth is even."""
    L = len(N)
    spread = jnp.sqrt(now.slopes / jnp.maximum(now.weights, 1e-9) * jnp.maximum(N - 1, 0))
    total = jnp.sum(spread)
    known = jnp.all(now.weights > 0) & (total > 0)
    best = spread / jnp.where(known, total, 1.0)
    return jnp.where(known, (1 - EVEN) * best + EVEN / L, 1 / L)
