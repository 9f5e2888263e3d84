"""Parameters that cannot be changed."""

from typing import Annotated, Literal, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key
from pydantic import Field, model_validator

from dither.devices.imperfections.imperfection import AbstractImperfection, Blueprint

Stays: TypeAlias = tuple[Bool[Array, " P"], Float[Array, " P"]]


class Stuck(AbstractImperfection):
    """Fix some parameters at one value for the life of an instance, whatever is written.

    Arguments: `share`, the probability that a parameter is stuck, 0 to 1; `at`, its value:
    `random`, anywhere from low to high, or at the bound `low` or `high`; `low` < `high`, in units
    of the parameters.
    """

    kind: Literal["stuck"] = "stuck"
    share: Annotated[float, Field(ge=0, le=1, examples=[0.1])]
    at: Literal["random", "low", "high"] = "random"
    low: float = -1.0
    high: float = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> "Stuck":
        if self.low >= self.high:
            raise ValueError(f"stuck parameters need low < high, not {self.low} and {self.high}")
        return self

    def fabricate(self, key: Key[Array, ""], blueprint: Blueprint) -> Stays:
        which, where = jax.random.split(key)
        stuck = jax.random.bernoulli(which, self.share, (blueprint.size,))
        if self.at == "random":
            value = jax.random.uniform(where, (blueprint.size,), minval=self.low, maxval=self.high)
        else:
            value = jnp.full(blueprint.size, self.low if self.at == "low" else self.high)
        return stuck, value

    def parameters(self, instance: Stays, theta: Float[Array, " P"]) -> Float[Array, " P"]:
        stuck, value = instance
        return jnp.where(stuck, value, theta)
