"""Noise of every parameter update."""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.devices.imperfections.imperfection import AbstractImperfection, Blueprint, Write


class UpdateNoise(AbstractImperfection):
    """Add an error to every parameter at each update; the errors accumulate.

    `theta ← theta + sigma n` at each update, n ~ N(0, 1) per parameter, unknown to the algorithm

    Arguments: `sigma` ≥ 0, in units of the parameters. Source: McCaughan2023, per parameter.
    """

    kind: Literal["update-noise"] = "update-noise"
    sigma: Annotated[float, Field(ge=0, examples=[0.001])]

    def fabricate(self, key: Key[Array, ""], blueprint: Blueprint) -> Float[Array, " P"]:
        del key
        return jnp.zeros(blueprint.size)

    def written(
        self, instance: Float[Array, " P"], key: Key[Array, ""], write: Write
    ) -> Float[Array, " P"]:
        error = self.sigma * jax.random.normal(key, instance.shape, instance.dtype)
        return jnp.where(write.updated, instance + error, instance)

    def parameters(
        self, instance: Float[Array, " P"], theta: Float[Array, " P"]
    ) -> Float[Array, " P"]:
        return theta + instance
