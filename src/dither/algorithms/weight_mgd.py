"""Multiplexed gradient descent by weight perturbation, digital form."""

from typing import Annotated, Literal

from jaxtyping import Array, Float
from pydantic import Field

from dither.algorithms import traps
from dither.algorithms.descent_rule import AbstractDescentRule
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.algorithms.optimizer import Optimizer
from dither.codes import AnyCode, Rademacher
from dither.contract import Problem
from dither.laws.estimate import growth


class WeightMGD(AbstractDescentRule):
    """Perturb all parameters at once, measure the cost, correlate, integrate, update.

    ```
    baseline:  G ← G + (C(θ + p) − C(θ)) p / (power δ²)
    central:   G ← G + (C(θ + p) − C(θ − p)) p / (2 power δ²)
    every tau_theta ticks:  θ ← θ − eta G / tau_theta (or an Optax update),  G ← 0
    ```

    A tick is one perturbation: one perturbed measurement, or a central pair. `G / tau_theta` is the
    averaged, unbiased gradient estimate. The baseline C(θ) is measured again, and counted, whenever
    the batch or the parameters have changed. (McCaughan2023 divides by P δ² and sums over
    tau_theta: its learning rate is eta P / tau_theta in the notation used here.)

    Arguments:
        delta: amplitude δ > 0 of a parameter's perturbation; rounded to whole DAC steps, at least
            one.
        pairs: `baseline` (one-sided) or `central`.
        tau_p: ticks between new perturbations, ≥ 1.
        code: the perturbation code.
    The others as for `AbstractDescentRule`.

    Source: McCaughan2023.
    """

    kind: Literal["weight-mgd"] = "weight-mgd"
    delta: Annotated[float, Field(gt=0)] = 1e-3
    pairs: Literal["baseline", "central"] = "baseline"
    tau_p: Annotated[int, Field(ge=1)] = 1
    code: AnyCode = Rademacher()

    @classmethod
    def example(cls) -> "WeightMGD":
        adam = Optimizer(name="adam")
        return cls(learning_rate=0.02, delta=0.01, tau_theta=3, tau_x=2, optimizer=adam)

    @property
    def central(self) -> bool:
        return self.pairs == "central"

    def reach(self, problem: Problem) -> Float[Array, "..."]:
        return self.code.peak() * problem.space.amplitude(self.delta)

    def perturb(self, state: GradientState, at: At) -> tuple[Float[Array, " P"], None]:
        space = state.problem.space
        code = self.code(state.key, state.clock.tick // self.tau_p, space.size)
        p = space.amplitude(self.delta) * code
        return space.snap(at.theta + at.side * p), None

    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        space = state.problem.space
        p = told.probe.theta - told.theta
        return told.change * p / (self.code.power(space.size) * space.amplitude(self.delta) ** 2)

    def spread(self, problem: Problem) -> float:
        return growth(self.code.kappa(problem.space.size), float(self.tau_theta))

    def warnings(self, problem: Problem, measurements: int | None) -> list[str]:
        return [
            *traps.of_weights(problem.space, self.delta, self.delta * self.code.peak()),
            *traps.of_periods({"tau_p": self.tau_p}, measurements),
            *super().warnings(problem, measurements),
            *traps.of_code(self.code, self.tau_p, problem.space, measurements),
        ]
