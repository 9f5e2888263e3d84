"""Finite differences: one parameter at a time, an update after all of them."""

from typing import Annotated, Literal

from jaxtyping import Array, Float
from pydantic import Field

from dither.algorithms import traps
from dither.algorithms.descent_rule import AbstractDescentRule
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.codes import Sequential
from dither.contract import Problem


class FiniteDifferences(AbstractDescentRule):
    """Weight MGD with the sequential code and tau_theta = tau_x = P.

    `G_i = (C(θ + δ e_i) − C(θ)) / δ`, all i on the same batch, then an update: P + 1 measurements,
    or 2 P with central pairs.

    Arguments: `delta`, δ > 0; `pairs`, `baseline` (one-sided) or `central`; `tau_x`, `tau_theta`,
    passes over all P parameters between new batches, updates; the others as for
    `AbstractDescentRule`.
    """

    kind: Literal["finite-differences"] = "finite-differences"
    delta: Annotated[float, Field(gt=0, examples=[1e-2])] = 1e-3
    pairs: Literal["baseline", "central"] = "baseline"

    @property
    def central(self) -> bool:
        return self.pairs == "central"

    def periods(self, problem: Problem) -> tuple[int, int]:
        P = problem.space.size
        return P * self.tau_x, P * self.tau_theta

    def reach(self, problem: Problem) -> Float[Array, "..."]:
        return problem.space.amplitude(self.delta)

    def perturb(self, state: GradientState, at: At) -> tuple[Float[Array, " P"], None]:
        space = state.problem.space
        p = space.amplitude(self.delta) * Sequential()(state.key, state.clock.tick, space.size)
        return space.snap(at.theta + at.side * p), None

    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        space = state.problem.space
        scale = Sequential().power(space.size) * space.amplitude(self.delta) ** 2
        return told.change * (told.probe.theta - told.theta) / scale

    def spread(self, problem: Problem) -> float:
        del problem
        return 1.0

    def warnings(self, problem: Problem, measurements: int | None) -> list[str]:
        return [
            *traps.of_weights(problem.space, self.delta, self.delta),
            *super().warnings(problem, measurements),
        ]
