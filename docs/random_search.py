"""Random search: try a random step, keep it if the cost fell."""

from typing import Annotated, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.codes import AnyCode, Rademacher
from dither.contract import Clock, Measurement, Probe, Problem


class RandomSearchState(eqx.Module):
    """Where random search stands: the best parameters and their cost on the present batch."""

    clock: Clock
    key: Key[Array, ""]
    theta: Float[Array, " P"]
    reference: Float[Array, ""]
    problem: Problem = eqx.field(static=True)


class RandomSearch(AbstractAlgorithm):
    """Measures C(θ), then C(θ + p) on the same batch; θ ← θ + p where that is lower.

    Arguments: `delta`, the length of a step in each parameter; `code`, which draws the steps.
    """

    kind: Literal["random-search"] = "random-search"
    delta: Annotated[float, Field(gt=0)]
    code: AnyCode = Rademacher()

    def init(
        self, key: Key[Array, ""], parameters: Float[Array, " P"], problem: Problem
    ) -> RandomSearchState:
        start = Clock(tick=jnp.int32(0), part=jnp.int32(0))
        return RandomSearchState(start, key, parameters, jnp.zeros(()), problem)

    def ask(self, state: RandomSearchState) -> tuple[Probe, RandomSearchState]:
        tick, part, space = state.clock.tick, state.clock.part, state.problem.space
        step = space.amplitude(self.delta) * self.code(state.key, tick, space.size)
        probe = Probe(
            clock=state.clock,
            parameters=space.snap(space.snap(state.theta) + part * step),
            updated=(tick > 0) & (part == 0),
            batch_index=tick,
        )
        after = Clock(tick=tick + part, part=1 - part)
        return probe, eqx.tree_at(lambda s: s.clock, state, after)

    def tell(
        self, state: RandomSearchState, probe: Probe, measurement: Measurement
    ) -> tuple[RandomSearchState, Info]:
        first = probe.clock.part == 0
        better = ~first & (measurement.cost < state.reference)
        reference = jnp.where(first, measurement.cost, state.reference)
        theta = jnp.where(better, probe.parameters, state.theta)
        after = RandomSearchState(state.clock, state.key, theta, reference, state.problem)
        return after, Info(updated=better, estimate=jnp.zeros_like(theta))

    def parameters(self, state: RandomSearchState) -> Float[Array, " P"]:
        return state.problem.space.snap(state.theta)
