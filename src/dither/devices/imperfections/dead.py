"""Parameters without effect."""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key
from pydantic import Field

from dither.devices.imperfections.imperfection import AbstractImperfection, Blueprint


class Dead(AbstractImperfection):
    """Fix some parameters at 0 for the life of an instance, whatever is written.

    Arguments: `share`, the probability that a parameter is dead, 0 to 1.
    """

    kind: Literal["dead"] = "dead"
    share: Annotated[float, Field(ge=0, le=1, examples=[0.1])]

    def fabricate(self, key: Key[Array, ""], blueprint: Blueprint) -> Bool[Array, " P"]:
        return jax.random.bernoulli(key, self.share, (blueprint.size,))

    def parameters(
        self, instance: Bool[Array, " P"], theta: Float[Array, " P"]
    ) -> Float[Array, " P"]:
        return jnp.where(instance, 0.0, theta)
