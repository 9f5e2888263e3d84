"""Gradient descent on Boolean and ternary parameters with settings drawn from latent weights."""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key
from pydantic import Field, model_validator

from dither._errors import RequestError
from dither.algorithms.descent_rule import AbstractDescentRule
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.contract import Problem, Space


class BooleanMGD(AbstractDescentRule):
    """Measure two random settings that differ in some parameters, and update latent weights.

    ```
    λ = sharpness (2 θ − low − high) / (high − low),   p = σ(λ)
    parameter = low + step (b_1 + … + b_n),   b_k = 1 with probability p,   n = levels − 1
    two such settings b, b':   b_k ≠ b'_k with probability d = 2 flips min(p, 1 − p), for each k
    G = ∂p/∂θ (C(b) − C(b')) Σ_k (b_k − b'_k) / d
    ```

    θ is latent: real, between the bounds. The estimate is unbiased for the gradient of the expected
    cost `E C(b)` with respect to θ: each of b, b' has the marginal distribution of a single draw,
    so settings that differ only in b_k have a mean cost difference of ∂E/∂p. Training ends at the
    most probable setting, for Boolean parameters the sign of λ. A tick is one such pair: two
    measurements, each after a write of all parameters.

    Arguments:
        sharpness: λ at the bounds, > 0. Larger values give draws closer to the final setting.
        flips: share, in (0, 1], of the largest possible difference. 1: antithetic draws, which
            differ in every undecided parameter; smaller values: settings closer to each other.
        start: the initial θ, from 0, the middle of the range, to 1, the device's own start.
    The others as for `AbstractDescentRule`; there is no rate `auto`.

    Source: with flips = 1 and Boolean parameters, DisARM (Dong, Mnih and Tucker, 2006.10680), after
    ARM (Yin and Zhou, 1807.11143). Flips below 1, several levels and bounded θ are our own.
    """

    kind: Literal["boolean-mgd"] = "boolean-mgd"
    sharpness: Annotated[float, Field(gt=0)] = 4.0
    flips: Annotated[float, Field(gt=0, le=1)] = 1.0
    start: Annotated[float, Field(ge=0, le=1)] = 0.2

    @classmethod
    def example(cls) -> "BooleanMGD":
        return cls(learning_rate=0.3)

    @model_validator(mode="after")
    def _has_a_number(self) -> "BooleanMGD":
        if isinstance(self.learning_rate, str):
            raise ValueError("boolean-mgd has no learning_rate auto; give a number")
        return self

    @property
    def central(self) -> bool:
        return True

    def check(self, problem: Problem) -> None:
        for parameter in problem.space.parameters:
            if parameter.levels not in (2, 3):
                has = f"has {parameter.levels} levels" if parameter.levels else "is continuous"
                raise RequestError(
                    f"The algorithm {self.kind} needs Boolean or ternary parameters, but "
                    f"'{parameter.name}' {has}; use weight-mgd, or a device with 2 or 3 levels."
                )
        self.update.check(problem, *self.periods(problem))

    def init(
        self, key: Key[Array, ""], parameters: Float[Array, " P"], problem: Problem
    ) -> GradientState:
        middle = 0.5 * (jnp.asarray(problem.space.low) + jnp.asarray(problem.space.high))
        start = middle + self.start * (problem.space.confine(parameters, jnp.zeros(())) - middle)
        return super().init(key, start.astype(parameters.dtype), problem)

    def _point(self, state: GradientState) -> Float[Array, " P"]:
        point = self.update.point(state.update, state.theta)
        return state.problem.space.confine(point, jnp.zeros(()))

    def _probability(self, theta: Float[Array, " P"], space: Space) -> Float[Array, " P"]:
        """p, the probability of the upper value."""
        latent = self._slope(space) * (theta - 0.5 * (jnp.asarray(space.low) + space.high))
        return jax.nn.sigmoid(latent.astype(theta.dtype))

    def _slope(self, space: Space) -> Float[Array, "..."]:
        """∂λ/∂θ."""
        return 2 * self.sharpness / (jnp.asarray(space.high) - space.low)

    def _differ(self, p: Float[Array, " P"]) -> Float[Array, " P"]:
        """d, the probability that a pair differs."""
        return 2 * self.flips * jnp.minimum(p, 1 - p)

    def _pair(
        self, state: GradientState, p: Float[Array, " P"]
    ) -> tuple[Float[Array, " P"], Float[Array, " P"]]:
        """The number of the n values that are 1, in either setting of the pair."""
        key, d = jax.random.fold_in(state.key, state.clock.tick), self._differ(p)

        def ones(k: int) -> tuple[Bool[Array, " P"], Bool[Array, " P"]]:
            u = jax.random.uniform(jax.random.fold_in(key, k), p.shape, p.dtype)
            both = (d <= u) & (u < p + d / 2)
            exists = k < _values(state.problem.space)
            return exists & (both | (u < d / 2)), exists & (both | (d / 2 <= u) & (u < d))

        most = max(parameter.levels for parameter in state.problem.space.parameters) - 1
        one, other = zip(*map(ones, range(most)))
        return sum(one, jnp.zeros_like(p)), sum(other, jnp.zeros_like(p))

    def perturb(self, state: GradientState, at: At) -> tuple[Float[Array, " P"], None]:
        space = state.problem.space
        one, other = self._pair(state, self._probability(at.theta, space))
        return _setting(jnp.where(at.side > 0, one, other), space), None

    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        space = state.problem.space
        p = self._probability(told.theta, space)
        one, other = self._pair(state, p)
        # the change is (C(b') − C(b)) / 2
        slope = p * (1 - p) * self._slope(space)
        return (2 * told.change * slope * (other - one) / self._differ(p)).astype(p.dtype)

    def parameters(self, state: GradientState) -> Float[Array, " P"]:
        space = state.problem.space
        n = _values(space)
        likeliest = jnp.floor((n + 1) * self._probability(state.theta, space))
        return _setting(jnp.minimum(likeliest, n), space)


def _values(space: Space) -> Float[Array, "..."]:
    """n, the number of Boolean values that make up each parameter."""
    return jnp.round((jnp.asarray(space.high) - space.low) / jnp.asarray(space.step))


def _setting(ones: Float[Array, " P"], space: Space) -> Float[Array, " P"]:
    """The parameters in the device's units."""
    return space.snap((jnp.asarray(space.low) + space.step * ones).astype(ones.dtype))
