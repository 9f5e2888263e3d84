"""Multiplexed gradient descent by weight perturbation, layer by layer."""

import math
from typing import Annotated, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key
from pydantic import Field

from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.algorithms.optimizer import AnyOptimizer, Optimizer
from dither.algorithms.weight_mgd import (
    warn_of_bounds,
    warn_of_dac_step,
    warn_of_float,
    warn_of_periods,
)
from dither.contract import Clock, Measurement, Probe, Space

EVEN = 0.1
"""The part of the measurements that the optimal split still deals out evenly."""

MEMORY = 0.99
"""What remains of a layer's mean squared slope at each new one."""


class LayerwiseState(eqx.Module):
    """Where it stands: parameters theta, summed estimates G, reference cost C0.

    Attributes: `share`, q_l, of the layers in the perturbations; `slopes` and `weights`, the faded
    sums of (ΔC/δ_l)² and of 1 over each layer's perturbations.
    """

    clock: Clock
    key: Key[Array, ""]
    theta: Float[Array, " P"]
    gradient: Float[Array, " P"]
    reference: Float[Array, ""]
    share: Float[Array, " L"]
    slopes: Float[Array, " L"]
    weights: Float[Array, " L"]
    optimizer: Any
    space: Space = eqx.field(static=True)


class LayerwiseMGD(AbstractAlgorithm):
    """Perturb the parameters of one layer at a time, measure the cost, correlate, update.

    ```
    θ_l ← θ_l + δ_l s,  s = ±1:   ΔC = C(θ + δ_l s) − C(θ)   or   (C(θ + δ_l s) − C(θ − δ_l s)) / 2
    G_l ← G_l + ΔC s / (δ_l T_l),   T_l = q_l L tau_theta
    every L tau_theta perturbations:  θ ← θ − eta G (or an Optax update),  G ← 0
    ```

    G is the unbiased gradient estimate. With the `equal` split q_l = 1/L every layer is perturbed
    tau_theta times; with the `optimal` one it is perturbed `q_l ∝ |g_l| √(N_l − 1)` of the time,
    which gives the estimate the least variance. |g_l|² is learned on the way, as the mean of
    (ΔC/δ_l)²; a tenth of the perturbations stays evenly split. The baseline C(θ) is measured again,
    and counted, when the batch or the parameters have changed; the paper measures it for every
    layer.

    Arguments:
        learning_rate: eta ≥ 0.
        delta: amplitude δ_l = δ > 0 of a parameter's perturbation.
        split: of the perturbations over the layers, `equal` or `optimal`.
        pairs: `baseline` (one-sided) or `central`.
        tau_x, tau_theta: passes through all L layers between new batches, updates; ≥ 1.
        normalise: as in the paper, δ_l = δ/√N_l with N_l the layer's parameters, and its estimate
            divided by the expected growth √(1 + (N_l − 1)/T_l).
        optimizer: any Optax optimiser.
    A layer is all parameters with one name before the last stroke: `dense0/weight`, `dense0/bias`.

    Source: Oripov2025; the optimal split derived here, checked by the tests.
    """

    kind: Literal["layerwise-mgd"] = "layerwise-mgd"
    learning_rate: Annotated[float, Field(ge=0)]
    delta: Annotated[float, Field(gt=0)] = 1e-3
    split: Literal["equal", "optimal"] = "equal"
    pairs: Literal["baseline", "central"] = "baseline"
    tau_x: Annotated[int, Field(ge=1)] = 1
    tau_theta: Annotated[int, Field(ge=1)] = 1
    normalise: bool = False
    optimizer: AnyOptimizer = Optimizer()

    def init(
        self, key: Key[Array, ""], parameters: Float[Array, " P"], space: Space
    ) -> LayerwiseState:
        theta = space.confine(parameters, self._amplitude(space))
        layers = len(sizes(space))
        return LayerwiseState(
            clock=Clock(tick=jnp.int32(0), part=jnp.int32(0)),
            key=key,
            theta=theta,
            gradient=jnp.zeros_like(theta),
            reference=jnp.zeros((), theta.dtype),
            share=jnp.full(layers, 1 / layers, theta.dtype),
            slopes=jnp.zeros(layers, theta.dtype),
            weights=jnp.zeros(layers, theta.dtype),
            optimizer=self._optax().init(theta),
            space=space,
        )

    def _optax(self) -> optax.GradientTransformation:
        return self.optimizer.build(self.learning_rate)

    def _amplitude(self, space: Space) -> Float[Array, " P"]:
        """δ_l for every parameter, as the DAC can write it."""
        N = sizes(space)
        deltas = self.delta / np.sqrt(N) if self.normalise else np.full(len(N), self.delta)
        return space.amplitude(jnp.asarray(deltas, jnp.result_type(float))[layer_of(space)])

    def _layer(self, state: LayerwiseState, tick: Int[Array, ""]) -> Int[Array, ""]:
        """The layer that is perturbed: taken in turn, or evenly spaced along the shares."""
        L = len(state.share)
        if self.split == "equal":
            return tick % L
        period = L * self.tau_theta
        offset = jax.random.uniform(jax.random.fold_in(state.key, -1 - tick // period))
        place = (tick % period + offset) / period
        found = jnp.searchsorted(jnp.cumsum(state.share), place, side="right")
        return jnp.minimum(found, L - 1)

    def ask(self, state: LayerwiseState) -> tuple[Probe, LayerwiseState]:
        (tick, part), space = (state.clock.tick, state.clock.part), state.space
        L = len(state.share)
        s = jax.random.rademacher(
            jax.random.fold_in(state.key, tick), (space.size,), state.theta.dtype
        )
        mine = layer_of(space) == self._layer(state, tick)
        side = 1 - 2 * part if self.pairs == "central" else part
        p = jnp.where(mine, self._amplitude(space) * s, 0)
        probe = Probe(
            clock=state.clock,
            parameters=space.snap(space.snap(state.theta) + side * p),
            updated=(tick % (L * self.tau_theta) == 0) & (tick > 0) & (part == 0),
            batch_index=tick // (L * self.tau_x),
        )
        last = part == 1
        after = tick + last.astype(jnp.int32)
        first = jnp.int32(0)
        if self.pairs == "baseline":
            stale = (after % (L * self.tau_x) == 0) | (after % (L * self.tau_theta) == 0)
            first = jnp.where(stale, 0, 1).astype(jnp.int32)
        clock = Clock(tick=after, part=jnp.where(last, first, 1).astype(jnp.int32))
        return probe, eqx.tree_at(lambda state: state.clock, state, clock)

    def tell(
        self, state: LayerwiseState, probe: Probe, measurement: Measurement
    ) -> tuple[LayerwiseState, Info]:
        cost, tick, space = measurement.cost, probe.clock.tick, state.space
        first = probe.clock.part == 0
        layer, period = self._layer(state, tick), len(state.share) * self.tau_theta
        reference = jnp.where(first, cost, state.reference)
        theta, amplitude = space.snap(state.theta), self._amplitude(space)
        if self.pairs == "central":
            change, p = (reference - cost) / 2, theta - probe.theta
        else:
            change, p = cost - reference, probe.theta - theta
        change = jnp.where(first, 0.0, change)
        estimate = state.gradient + change * p / (amplitude**2 * period * state.share[layer])

        slope = jnp.square(change / self._layer_amplitudes(space)[layer])
        fade = jnp.where(first, 1.0, MEMORY)
        slopes = state.slopes.at[layer].set(fade * state.slopes[layer] + slope)
        weights = state.weights.at[layer].set(fade * state.weights[layer] + ~first)
        state = eqx.tree_at(lambda s: (s.slopes, s.weights), state, (slopes, weights))

        due = ~first & ((tick + 1) % period == 0)
        theta, gradient, optimizer, share = jax.lax.cond(
            due,
            lambda: self._update(state, estimate),
            lambda: (state.theta, estimate, state.optimizer, state.share),
        )
        after = LayerwiseState(
            clock=state.clock,
            key=state.key,
            theta=theta,
            gradient=gradient,
            reference=reference,
            share=share,
            slopes=slopes,
            weights=weights,
            optimizer=optimizer,
            space=space,
        )
        return after, Info(updated=due, estimate=estimate)

    def _layer_amplitudes(self, space: Space) -> Float[Array, " L"]:
        firsts = np.concatenate([[0], np.cumsum(sizes(space))[:-1]])
        return jnp.broadcast_to(self._amplitude(space), (space.size,))[firsts]

    def _update(self, state: LayerwiseState, estimate: Float[Array, " P"]) -> tuple[Any, ...]:
        N, of = sizes(state.space), layer_of(state.space)
        if self.normalise:
            visits = state.share * len(N) * self.tau_theta
            estimate = estimate / jnp.sqrt(1 + (N - 1) / visits)[of]
        updates, optimizer = self._optax().update(estimate, state.optimizer, state.theta)
        theta = optax.apply_updates(state.theta, updates)
        theta = state.space.confine(theta, self._amplitude(state.space))
        share = state.share if self.split == "equal" else self._best_share(state)
        return theta, jnp.zeros_like(estimate), optimizer, share

    def _best_share(self, state: LayerwiseState) -> Float[Array, " L"]:
        """`q_l ∝ |g_l| √(N_l − 1)`, once every layer has been perturbed; a tenth of it even."""
        L = len(state.share)
        spread = jnp.sqrt(
            state.slopes / jnp.maximum(state.weights, 1e-9) * jnp.maximum(sizes(state.space) - 1, 0)
        )
        total = jnp.sum(spread)
        known = jnp.all(state.weights > 0) & (total > 0)
        best = spread / jnp.where(known, total, 1.0)
        return jnp.where(known, (1 - EVEN) * best + EVEN / L, 1 / L)

    def parameters(self, state: LayerwiseState) -> Float[Array, " P"]:
        return state.space.snap(state.theta)

    def retry(self, clock: Clock) -> Clock:
        return Clock(tick=clock.tick, part=jnp.zeros_like(clock.part))

    def warnings(self, space: Space, measurements: int | None) -> list[str]:
        least = self.delta / math.sqrt(max(sizes(space))) if self.normalise else self.delta
        L = len(sizes(space))
        periods = {"tau_x": L * self.tau_x, "tau_theta": L * self.tau_theta}
        return [
            *warn_of_dac_step(space, least),
            *warn_of_bounds(space, self.delta),
            *warn_of_float(least),
            *warn_of_periods(periods, measurements),
        ]


def layer_names(space: Space) -> list[str]:
    """The layers' names, in order."""
    return list(dict.fromkeys(p.name.rpartition("/")[0] or p.name for p in space.parameters))


def sizes(space: Space) -> Int[np.ndarray, " L"]:
    """N_l, the parameters of every layer."""
    return np.bincount(layer_of(space))


def layer_of(space: Space) -> Int[np.ndarray, " P"]:
    """The number of the layer that each parameter belongs to."""
    names = layer_names(space)
    numbers = [names.index(p.name.rpartition("/")[0] or p.name) for p in space.parameters]
    return np.repeat(numbers, [p.size for p in space.parameters])
