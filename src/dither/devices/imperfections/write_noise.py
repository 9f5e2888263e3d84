"""Noise of every write."""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.devices.imperfections.imperfection import AbstractImperfection, Blueprint, Write


class WriteNoise(AbstractImperfection):
    """Add a new random error to every write, which lasts until the next write.

    `theta_i ← theta_i + sigma n_i`, n_i ~ N(0, 1)

    for every written parameter, whether or not it changes.

    Arguments: `sigma` ≥ 0, in units of the parameters. Source: the usual model of programming
    noise.
    """

    kind: Literal["write-noise"] = "write-noise"
    sigma: Annotated[float, Field(ge=0, examples=[0.001])]

    def fabricate(self, key: Key[Array, ""], blueprint: Blueprint) -> Float[Array, " P"]:
        del key
        return jnp.zeros(blueprint.size)

    def written(
        self, instance: Float[Array, " P"], key: Key[Array, ""], write: Write
    ) -> Float[Array, " P"]:
        error = self.sigma * jax.random.normal(key, instance.shape, instance.dtype)
        return jnp.where(write.touched, error, instance)

    def parameters(
        self, instance: Float[Array, " P"], theta: Float[Array, " P"]
    ) -> Float[Array, " P"]:
        return theta + instance
