"""Random search: try a random step, keep it if the cost fell."""

from typing import Annotated

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.algorithms import AbstractAlgorithm, Info
from dither.codes import AnyCode, Rademacher
from dither.contract import Clock, Measurement, Probe, Problem


class State(eqx.Module):
    """The moment; the best parameters and their cost on the present batch."""

    clock: Clock
    key: Key[Array, ""]
    theta: Float[Array, " P"]
    reference: Float[Array, ""]
    problem: Problem = eqx.field(static=True)


class RandomSearch(AbstractAlgorithm):
    """Measures C(θ), then C(θ + p) on the same batch; θ ← θ + p where that is lower.

    Arguments: `delta`, the length of a step in each parameter; `code`, which draws the steps.
    """

    delta: Annotated[float, Field(gt=0, examples=[0.05])]
    code: AnyCode = Rademacher()

    def init(self, key, parameters, problem):
        start = Clock(tick=jnp.int32(0), part=jnp.int32(0))
        return State(start, key, parameters, jnp.zeros(()), problem)

    def ask(self, state):
        tick, part, space = state.clock.tick, state.clock.part, state.problem.space
        step = space.amplitude(self.delta) * self.code(state.key, tick, space.size)
        theta = space.snap(space.snap(state.theta) + part * step)
        updated = (tick > 0) & (part == 0)
        probe = Probe(clock=state.clock, parameters=theta, updated=updated, batch_index=tick)
        after = Clock(tick=tick + part, part=1 - part)
        return probe, eqx.tree_at(lambda s: s.clock, state, after)

    def tell(self, state, probe: Probe, measurement: Measurement):
        first = probe.clock.part == 0
        better = ~first & (measurement.cost < state.reference)
        reference = jnp.where(first, measurement.cost, state.reference)
        theta = jnp.where(better, probe.parameters, state.theta)
        after = State(state.clock, state.key, theta, reference, state.problem)
        return after, Info(updated=better)

    def parameters(self, state):
        return state.problem.space.snap(state.theta)
