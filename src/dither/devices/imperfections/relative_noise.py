"""Noise on the outputs, relative to their standard deviation."""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.devices.imperfections.imperfection import AbstractImperfection


class RelativeNoise(AbstractImperfection):
    """Add Gaussian noise to every output: `y ← y + sigma std(y) n`, n ~ N(0, 1).

    The standard deviation is that over all outputs of the measurement, such as a whole series.

    Arguments: `sigma` ≥ 0, relative.
    """

    kind: Literal["relative-noise"] = "relative-noise"
    sigma: Annotated[float, Field(ge=0, examples=[0.001])]

    def outputs(
        self, instance: tuple[()], key: Key[Array, ""], outputs: Float[Array, "B K"]
    ) -> Float[Array, "B K"]:
        del instance
        noise = jax.random.normal(key, outputs.shape, outputs.dtype)
        return outputs + self.sigma * jnp.std(outputs) * noise
