"""Backpropagation, the reference that only a simulation can show."""

from typing import Annotated, Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.algorithms.optimizer import AnyOptimizer, Optimizer
from dither.contract import AccessLevel, Clock, Measurement, Probe, Space


class BackpropagationState(eqx.Module):
    """Where backpropagation stands."""

    clock: Clock
    theta: Float[Array, " P"]
    optimizer: Any
    space: Space = eqx.field(static=True)


class Backpropagation(AbstractAlgorithm):
    """The exact gradient of a batch, then an update: `θ ← θ − eta ∂C/∂θ` (or an Optax update).

    The ledger counts one measurement a step, the forward pass; the backward pass is not one.

    Arguments: `learning_rate`, eta ≥ 0; `optimizer`, any Optax optimiser.
    Errors: refused for a device that does not show gradients.
    """

    kind: Literal["backpropagation"] = "backpropagation"
    access_level: ClassVar[AccessLevel] = AccessLevel.GRADIENTS
    learning_rate: Annotated[float, Field(ge=0)]
    optimizer: AnyOptimizer = Optimizer()

    def init(
        self, key: Key[Array, ""], parameters: Float[Array, " P"], space: Space
    ) -> BackpropagationState:
        del key
        theta = space.confine(parameters, jnp.zeros(()))
        return BackpropagationState(
            clock=Clock(tick=jnp.int32(0), part=jnp.int32(0)),
            theta=theta,
            optimizer=self.optimizer.build(self.learning_rate).init(theta),
            space=space,
        )

    def ask(self, state: BackpropagationState) -> tuple[Probe, BackpropagationState]:
        tick = state.clock.tick
        probe = Probe(
            clock=state.clock,
            parameters=state.space.snap(state.theta),
            updated=tick > 0,
            batch_index=tick,
        )
        return probe, eqx.tree_at(lambda s: s.clock.tick, state, tick + 1)

    def tell(
        self, state: BackpropagationState, probe: Probe, measurement: Measurement
    ) -> tuple[BackpropagationState, Info]:
        del probe
        gradient = measurement.gradient
        updates, optimizer = self.optimizer.build(self.learning_rate).update(
            gradient, state.optimizer, state.theta
        )
        theta = state.space.confine(optax.apply_updates(state.theta, updates), jnp.zeros(()))
        after = BackpropagationState(state.clock, theta, optimizer, state.space)
        return after, Info(updated=jnp.bool_(True), estimate=gradient)

    def parameters(self, state: BackpropagationState) -> Float[Array, " P"]:
        return state.space.snap(state.theta)
