"""Multiplexed gradient descent, analog form."""

from typing import Annotated, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.algorithms import traps
from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.codes import AnyCode, Rademacher
from dither.contract import Clock, Measurement, Probe, Problem


class AnalogState(eqx.Module):
    """The state of analog MGD: theta, the low-passed product G, the high-passed cost, C_prev."""

    clock: Clock
    key: Key[Array, ""]
    theta: Float[Array, " P"]
    gradient: Float[Array, " P"]
    high_passed: Float[Array, ""]
    previous: Float[Array, ""]
    problem: Problem = eqx.field(static=True)


class AnalogMGD(AbstractAlgorithm):
    """High-pass the cost, low-pass its product with the perturbation, update every tick.

    ```
    Ct ← a (Ct + C − C_prev),  a = tau_hp / (tau_hp + 1);   C_prev := C when the batch changes
    G  ← (Ct p / (power δ²) + tau_theta G) / (tau_theta + 1)
    θ  ← θ − eta G
    ```

    A tick is one measurement; all times are in ticks. The high-pass attenuates a change of the cost
    by the factor a, so that G converges to a times the gradient for codes that are uncorrelated
    from tick to tick (Rademacher, Walsh); the reported estimate is G / a. A tone of f cycles per
    tick is weighted by (1 + a)(1 − cos 2πf) / (1 + a² − 2a cos 2πf), which is 0 at f = 0 and 2 / (1
    + a) at f = 1/2: over the full band the estimate has an error of |g| / √(4 tau_hp + 2); with
    `low = 0.25` its direction is correct. Sequential codes mix neighbouring parameters.

    Arguments:
        learning_rate: eta ≥ 0.
        delta: amplitude δ > 0.
        tau_p, tau_x: ticks between new perturbations and new batches, ≥ 1.
        tau_hp, tau_theta: time constants of high-pass and low-pass, > 0 and ≥ 0.
        code: the perturbation code.

    Source: McCaughan2023 (tau_hp = 1.6 in the authors' scripts).
    """

    kind: Literal["analog-mgd"] = "analog-mgd"
    learning_rate: Annotated[float, Field(ge=0, examples=[0.003])]
    delta: Annotated[float, Field(gt=0)] = 1e-2
    tau_p: Annotated[int, Field(ge=1)] = 1
    tau_x: Annotated[int, Field(ge=1, examples=[7])] = 100
    tau_hp: Annotated[float, Field(gt=0)] = 1.6
    tau_theta: Annotated[float, Field(ge=0, examples=[4.0])] = 10.0
    code: AnyCode = Rademacher()

    def init(
        self, key: Key[Array, ""], parameters: Float[Array, " P"], problem: Problem
    ) -> AnalogState:
        space = problem.space
        theta = space.confine(parameters, self.code.peak() * space.amplitude(self.delta))
        zero = jnp.zeros((), theta.dtype)
        return AnalogState(
            clock=Clock(tick=jnp.int32(0), part=jnp.int32(0)),
            key=key,
            theta=theta,
            gradient=jnp.zeros_like(theta),
            high_passed=zero,
            previous=zero,
            problem=problem,
        )

    def ask(self, state: AnalogState) -> tuple[Probe, AnalogState]:
        tick, space = state.clock.tick, state.problem.space
        p = space.amplitude(self.delta) * self.code(state.key, tick // self.tau_p, space.size)
        probe = Probe(
            clock=state.clock,
            parameters=space.snap(space.snap(state.theta) + p),
            updated=tick > 0,
            batch_index=tick // self.tau_x,
        )
        return probe, eqx.tree_at(lambda s: s.clock.tick, state, tick + 1)

    def tell(
        self, state: AnalogState, probe: Probe, measurement: Measurement
    ) -> tuple[AnalogState, Info]:
        cost, space = measurement.cost, state.problem.space
        new_batch = probe.clock.tick % self.tau_x == 0
        previous = jnp.where(new_batch, cost, state.previous)
        a = self.tau_hp / (self.tau_hp + 1)
        high_passed = a * (state.high_passed + cost - previous)
        p = probe.theta - space.snap(state.theta)
        product = high_passed * p / (self.code.power(space.size) * space.amplitude(self.delta) ** 2)
        gradient = (product + self.tau_theta * state.gradient) / (self.tau_theta + 1)
        reach = self.code.peak() * space.amplitude(self.delta)
        theta = space.confine(state.theta - self.learning_rate * gradient, reach)
        after = AnalogState(
            state.clock, state.key, theta, gradient, high_passed, cost, state.problem
        )
        return after, Info(updated=jnp.bool_(True), estimate=gradient / a)

    def parameters(self, state: AnalogState) -> Float[Array, " P"]:
        return state.problem.space.snap(state.theta)

    def rate_of(self, state: AnalogState) -> Float[Array, ""]:
        return jnp.asarray(self.learning_rate, state.theta.dtype)

    def warnings(self, problem: Problem, measurements: int | None) -> list[str]:
        slow = []
        if self.tau_x <= self.tau_hp:
            slow = [
                f"tau_x = {self.tau_x} is within the memory of the high-pass, tau_hp = "
                f"{self.tau_hp:g}, so that little of a perturbation passes before the next "
                "batch; set "
                "tau_x to many times tau_hp."
            ]
        return [
            *slow,
            *traps.of_weights(problem.space, self.delta, self.delta * self.code.peak()),
            *traps.of_code(self.code, self.tau_p, problem.space, measurements),
        ]
