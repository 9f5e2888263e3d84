"""Forward gradients: exact derivatives along random directions, for simulations only."""

from typing import ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from dither.algorithms import traps
from dither.algorithms.descent_rule import AbstractDescentRule
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.codes import AnyCode, Rademacher
from dither.contract import AccessLevel, Problem
from dither.laws.estimate import growth


class ForwardGradient(AbstractDescentRule):
    """Multiply the cost's derivative along a random direction p by p to estimate the gradient.

    ```
    G ← G + (g · p) p / power,   g · p = d/dt C(θ + t p) at t = 0
    every tau_theta ticks:  θ ← θ − eta G / tau_theta (or an Optax update),  G ← 0
    ```

    Forward-mode differentiation gives the exact derivative together with the cost, in a simulation
    only; each counts as one measurement. On a device, `weight-mgd` with `pairs = "central"`
    replaces the derivative by a difference of costs; this rule is its limit of small delta.

    Arguments: `code`, the directions, of amplitude 1; the others as for `AbstractDescentRule`.
    Errors: `RequestError` for a device that does not show gradients.

    Source: Ren2022.
    """

    kind: Literal["forward-gradient"] = "forward-gradient"
    access_level: ClassVar[AccessLevel] = AccessLevel.GRADIENTS
    exact: ClassVar[bool] = True
    code: AnyCode = Rademacher()

    def perturb(self, state: GradientState, at: At) -> tuple[Float[Array, " P"], None]:
        del state
        return at.theta, None

    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        p = self.code(state.key, state.clock.tick, told.theta.size)
        return jnp.dot(told.measurement.gradient, p) * p / self.code.power(told.theta.size)

    def spread(self, problem: Problem) -> float:
        return growth(self.code.kappa(problem.space.size), float(self.tau_theta))

    def warnings(self, problem: Problem, measurements: int | None) -> list[str]:
        return [
            *super().warnings(problem, measurements),
            *traps.of_code(self.code, 1, problem.space, measurements),
        ]
