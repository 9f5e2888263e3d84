"""Simultaneous perturbation stochastic approximation."""

from typing import Annotated, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from pydantic import Field

from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.algorithms.outliers import Size, clipped, unless
from dither.algorithms.weight_mgd import (
    warn_of_bounds,
    warn_of_code,
    warn_of_dac_step,
    warn_of_float,
)
from dither.codes import AnyCode, Rademacher
from dither.contract import Clock, Measurement, Probe, Space


class SPSAState(eqx.Module):
    """Where SPSA stands: parameters theta, the cost of the plus side, the tick of k = 0."""

    clock: Clock
    key: Key[Array, ""]
    theta: Float[Array, " P"]
    plus: Float[Array, ""]
    begun: Int[Array, ""]
    size: Size | tuple[()]
    space: Space = eqx.field(static=True)


class SPSA(AbstractAlgorithm):
    """A central pair along random signs, then a step, with gains that fall as the run goes on.

    ```
    G_k = (C(θ + c_k p) − C(θ − c_k p)) p / (2 power c_k)
    θ ← θ − a_k G_k,   a_k = a / (A + k + 1)^alpha,   c_k = c / (k + 1)^gamma
    ```

    Arguments:
        a, A, alpha: gain sequence of the steps; a ≥ 0, A ≥ 0, alpha in [0, 1].
        c, gamma: gain sequence of the perturbations; c > 0, gamma in [0, 1].
        code: the perturbation code, random signs by default.
        outliers: cost differences beyond so many times their running mean size are clipped to it;
            > 0; None to take them as they are.

    Two measurements a step, a new batch each. Where a drift alarm is given, both sequences begin
    again: their falling is a memory of the device that was. Source: Spall 1992 and 1998; beginning
    again is our own.
    """

    kind: Literal["spsa"] = "spsa"
    a: Annotated[float, Field(ge=0)]
    c: Annotated[float, Field(gt=0)] = 1e-2
    A: Annotated[float, Field(ge=0)] = 100.0
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.602
    gamma: Annotated[float, Field(ge=0, le=1)] = 0.101
    code: AnyCode = Rademacher()
    outliers: Annotated[float, Field(gt=0)] | None = None

    def init(self, key: Key[Array, ""], parameters: Float[Array, " P"], space: Space) -> SPSAState:
        theta = space.confine(parameters, self.code.peak() * space.amplitude(self.c))
        return SPSAState(
            clock=Clock(tick=jnp.int32(0), part=jnp.int32(0)),
            key=key,
            theta=theta,
            plus=jnp.zeros((), theta.dtype),
            begun=jnp.int32(0),
            size=() if self.outliers is None else Size.empty(),
            space=space,
        )

    def _amplitude(self, k: Int[Array, ""], space: Space) -> Float[Array, "..."]:
        return space.amplitude(self.c / (k + 1.0) ** self.gamma)

    def ask(self, state: SPSAState) -> tuple[Probe, SPSAState]:
        tick, part = state.clock.tick, state.clock.part
        space = state.space
        p = self._amplitude(tick - state.begun, space) * self.code(state.key, tick, space.size)
        probe = Probe(
            clock=state.clock,
            parameters=space.snap(space.snap(state.theta) + (1 - 2 * part) * p),
            updated=(tick > 0) & (part == 0),
            batch_index=tick,
        )
        after = Clock(tick=tick + part, part=1 - part)
        return probe, eqx.tree_at(lambda s: s.clock, state, after)

    def tell(
        self, state: SPSAState, probe: Probe, measurement: Measurement
    ) -> tuple[SPSAState, Info]:
        k, space = probe.clock.tick - state.begun, state.space
        last = probe.clock.part == 1
        plus = jnp.where(last, state.plus, measurement.cost)
        p = space.snap(state.theta) - probe.theta
        scale = self.code.power(space.size) * self._amplitude(k, space) ** 2
        change, size = clipped(state.size, (plus - measurement.cost) / 2, self.outliers)
        size = unless(~last, size, state.size)
        estimate = change * p / scale
        gain = self.a / (self.A + k + 1.0) ** self.alpha
        reach = self.code.peak() * space.amplitude(self.c)
        stepped = space.confine(state.theta - gain * estimate, reach)
        theta = jnp.where(last, stepped, state.theta)
        told = SPSAState(state.clock, state.key, theta, plus, state.begun, size, space)
        return told, Info(last, estimate)

    def parameters(self, state: SPSAState) -> Float[Array, " P"]:
        return state.space.snap(state.theta)

    def lookahead(self, space: Space, clock: Clock) -> int:
        del space
        return 2 - int(clock.part)

    def retry(self, clock: Clock) -> Clock:
        return Clock(tick=clock.tick, part=jnp.zeros_like(clock.part))

    def on_drift(self, state: SPSAState) -> SPSAState:
        now = self.retry(state.clock)
        again: SPSAState = eqx.tree_at(lambda s: (s.clock, s.begun), state, (now, now.tick))
        return again

    def warnings(self, space: Space, measurements: int | None) -> list[str]:
        ticks = (measurements or 0) / 2
        smallest = self.c / (ticks + 1) ** self.gamma
        return [
            *warn_of_dac_step(space, smallest),
            *warn_of_bounds(space, self.c * self.code.peak()),
            *warn_of_float(smallest),
            *warn_of_code(self.code, 1, space, measurements),
        ]
