"""Forward gradient: exact directional derivatives along random directions."""

from typing import Annotated, Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.algorithms.optimizer import AnyOptimizer, Optimizer
from dither.algorithms.weight_mgd import warn_of_code, warn_of_periods
from dither.codes import AnyCode, Rademacher
from dither.contract import AccessLevel, Clock, Measurement, Probe, Space


class ForwardState(eqx.Module):
    """Where the forward gradient stands: parameters theta, summed estimates G."""

    clock: Clock
    key: Key[Array, ""]
    theta: Float[Array, " P"]
    gradient: Float[Array, " P"]
    optimizer: Any
    space: Space = eqx.field(static=True)


class ForwardGradient(AbstractAlgorithm):
    """Take the cost's derivative along a random direction p, and go along it.

    ```
    G ← G + (g · p) p / power,   g · p = d/dt C(θ + t p) at t = 0
    every tau_theta ticks:  θ ← θ − eta G / tau_theta (or an Optax update),  G ← 0
    ```

    The derivative is exact, as forward-mode differentiation gives it along with the cost: only a
    simulation shows it, and each counts as one measurement. On a device the same thing is a
    difference of costs, `weight-mgd` with `pairs = "central"`: its limit of small delta is this.

    Arguments:
        learning_rate: eta ≥ 0.
        tau_x, tau_theta: ticks between new batches, updates; ≥ 1.
        code: the directions, of amplitude 1.
        optimizer: any Optax optimiser.
    Errors: refused for a device that does not show gradients.

    Source: Ren2022.
    """

    kind: Literal["forward-gradient"] = "forward-gradient"
    access_level: ClassVar[AccessLevel] = AccessLevel.GRADIENTS
    learning_rate: Annotated[float, Field(ge=0)]
    tau_x: Annotated[int, Field(ge=1)] = 1
    tau_theta: Annotated[int, Field(ge=1)] = 1
    code: AnyCode = Rademacher()
    optimizer: AnyOptimizer = Optimizer()

    def init(
        self, key: Key[Array, ""], parameters: Float[Array, " P"], space: Space
    ) -> ForwardState:
        theta = space.confine(parameters, jnp.zeros(()))
        return ForwardState(
            clock=Clock(tick=jnp.int32(0), part=jnp.int32(0)),
            key=key,
            theta=theta,
            gradient=jnp.zeros_like(theta),
            optimizer=self.optimizer.build(self.learning_rate).init(theta),
            space=space,
        )

    def ask(self, state: ForwardState) -> tuple[Probe, ForwardState]:
        tick = state.clock.tick
        probe = Probe(
            clock=state.clock,
            parameters=state.space.snap(state.theta),
            updated=(tick % self.tau_theta == 0) & (tick > 0),
            batch_index=tick // self.tau_x,
        )
        return probe, eqx.tree_at(lambda s: s.clock.tick, state, tick + 1)

    def tell(
        self, state: ForwardState, probe: Probe, measurement: Measurement
    ) -> tuple[ForwardState, Info]:
        tick, space = probe.clock.tick, state.space
        assert measurement.gradient is not None
        p = self.code(state.key, tick, space.size)
        derivative = jnp.dot(measurement.gradient, p)
        gradient = state.gradient + derivative * p / self.code.power(space.size)

        estimate = gradient / self.tau_theta
        due = (tick + 1) % self.tau_theta == 0
        theta, gradient, optimizer = jax.lax.cond(
            due,
            lambda: self._update(state, estimate),
            lambda: (state.theta, gradient, state.optimizer),
        )
        after = ForwardState(state.clock, state.key, theta, gradient, optimizer, space)
        return after, Info(updated=due, estimate=estimate)

    def _update(
        self, state: ForwardState, estimate: Float[Array, " P"]
    ) -> tuple[Float[Array, " P"], Float[Array, " P"], Any]:
        updates, optimizer = self.optimizer.build(self.learning_rate).update(
            estimate, state.optimizer, state.theta
        )
        theta = state.space.confine(optax.apply_updates(state.theta, updates), jnp.zeros(()))
        return theta, jnp.zeros_like(theta), optimizer

    def parameters(self, state: ForwardState) -> Float[Array, " P"]:
        return state.space.snap(state.theta)

    def warnings(self, space: Space, measurements: int | None) -> list[str]:
        periods = {"tau_x": self.tau_x, "tau_theta": self.tau_theta}
        return [
            *warn_of_periods(periods, measurements),
            *warn_of_code(self.code, 1, space, measurements),
        ]
