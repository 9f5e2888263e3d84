"""Finite differences: one parameter at a time, an update after all of them."""

from typing import Annotated, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.algorithms.optimizer import AnyOptimizer, Optimizer
from dither.algorithms.weight_mgd import WeightMGD, WeightState
from dither.codes import Sequential
from dither.contract import Clock, Measurement, Probe, Space


class FiniteDifferences(AbstractAlgorithm):
    """Weight MGD with the sequential code and tau_theta = tau_x = P.

    `G_i = (C(θ + δ e_i) − C(θ)) / δ`, all i on the same batch, then an update: P + 1 measurements,
    or 2 P with central pairs.

    Arguments: `learning_rate`, `delta`, `pairs`, `optimizer` as for `WeightMGD`."""

    kind: Literal["finite-differences"] = "finite-differences"
    learning_rate: Annotated[float, Field(ge=0)]
    delta: Annotated[float, Field(gt=0)] = 1e-3
    pairs: Literal["baseline", "central"] = "baseline"
    optimizer: AnyOptimizer = Optimizer()

    def _mgd(self, space: Space) -> WeightMGD:
        return WeightMGD(
            learning_rate=self.learning_rate,
            delta=self.delta,
            pairs=self.pairs,
            tau_x=space.size,
            tau_theta=space.size,
            code=Sequential(),
            optimizer=self.optimizer,
        )

    def init(
        self, key: Key[Array, ""], parameters: Float[Array, " P"], space: Space
    ) -> WeightState:
        return self._mgd(space).init(key, parameters, space)

    def ask(self, state: WeightState) -> tuple[Probe, WeightState]:
        return self._mgd(state.space).ask(state)

    def tell(
        self, state: WeightState, probe: Probe, measurement: Measurement
    ) -> tuple[WeightState, Info]:
        return self._mgd(state.space).tell(state, probe, measurement)

    def parameters(self, state: WeightState) -> Float[Array, " P"]:
        return state.space.snap(state.theta)

    def retry(self, clock: Clock) -> Clock:
        return Clock(tick=clock.tick, part=jnp.zeros_like(clock.part))

    def lookahead(self, space: Space, clock: Clock) -> int:
        return self._mgd(space).lookahead(space, clock)

    def warnings(self, space: Space, measurements: int | None) -> list[str]:
        return self._mgd(space).warnings(space, measurements)
