"""Simultaneous perturbation stochastic approximation."""

from dataclasses import replace
from typing import Annotated, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from pydantic import Field

from dither.algorithms import traps
from dither.algorithms.gradient import AbstractGradientRule
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.codes import AnyCode, Rademacher
from dither.contract import Problem


class SPSA(AbstractGradientRule):
    """A central pair along random signs, then a step, with decreasing gain sequences.

    ```
    G_k = (C(θ + c_k p) − C(θ − c_k p)) p / (2 power c_k)
    θ ← θ − a_k G_k,   a_k = a / (A + k + 1)^alpha,   c_k = c / (k + 1)^gamma
    ```

    Arguments:
        a, A, alpha: gain sequence of the steps; a ≥ 0, A ≥ 0, alpha in [0, 1].
        c, gamma: gain sequence of the perturbations; c > 0, gamma in [0, 1].
        code: the perturbation code, random signs by default.
    The others as for `AbstractGradientRule`. The rate `auto` is not available. A tick has two
    measurements; k counts ticks. After a drift alarm both sequences restart, because their decay
    belongs to the device before the drift. Source: Spall 1992 and 1998; the restart is our own.
    """

    kind: Literal["spsa"] = "spsa"
    a: Annotated[float, Field(ge=0, examples=[0.1])]
    c: Annotated[float, Field(gt=0)] = 1e-2
    A: Annotated[float, Field(ge=0)] = 100.0
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.602
    gamma: Annotated[float, Field(ge=0, le=1)] = 0.101
    code: AnyCode = Rademacher()

    @property
    def rate(self) -> float:
        return 1.0

    @property
    def central(self) -> bool:
        return True

    def reach(self, problem: Problem) -> Float[Array, "..."]:
        return self.code.peak() * problem.space.amplitude(self.c)

    def remember(
        self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem
    ) -> Int[Array, ""]:
        """The tick of k = 0."""
        del key, theta, problem
        return jnp.asarray(0, jnp.int32)

    def _k(self, state: GradientState) -> Int[Array, ""]:
        k: Int[Array, ""] = state.clock.tick - state.memory
        return k

    def _amplitude(self, state: GradientState) -> Float[Array, "..."]:
        k = self._k(state)
        return state.problem.space.amplitude(self.c / (k + 1.0) ** self.gamma)

    def perturb(self, state: GradientState, at: At) -> tuple[Float[Array, " P"], None]:
        space = state.problem.space
        p = self._amplitude(state) * self.code(state.key, state.clock.tick, space.size)
        return space.snap(at.theta + at.side * p), None

    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        scale = self.code.power(told.theta.size) * self._amplitude(state) ** 2
        return told.change * (told.probe.theta - told.theta) / scale

    def _gain(self, state: GradientState) -> Float[Array, ""]:
        return self.a / (self.A + self._k(state) + 1.0) ** self.alpha

    def rate_of(self, state: GradientState) -> Float[Array, ""]:
        return self._gain(self._drawn(state))

    def precondition(
        self, state: GradientState, estimate: Float[Array, " P"]
    ) -> Float[Array, " P"]:
        return self._gain(state) * estimate

    def on_drift(self, state: GradientState) -> GradientState:
        again = super().on_drift(state)
        return replace(again, memory=self.times(again.problem).drawn(again.clock).tick)

    def warnings(self, problem: Problem, measurements: int | None) -> list[str]:
        ticks = (measurements or 0) / 2
        smallest = self.c / (ticks + 1) ** self.gamma
        return [
            *traps.of_weights(problem.space, smallest, self.c * self.code.peak()),
            *super().warnings(problem, measurements),
            *traps.of_code(self.code, 1, problem.space, measurements),
        ]
