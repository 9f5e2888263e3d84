"""Noise on the outputs."""

from typing import Annotated, Literal

import jax
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.devices.imperfections.imperfection import AbstractImperfection


class OutputNoise(AbstractImperfection):
    """Add Gaussian noise to every output of every sample: `y ← y + sigma n`, n ~ N(0, 1).

    Arguments: `sigma` ≥ 0, in units of the outputs.
    """

    kind: Literal["output-noise"] = "output-noise"
    sigma: Annotated[float, Field(ge=0, examples=[0.001])]

    def outputs(
        self, instance: tuple[()], key: Key[Array, ""], outputs: Float[Array, "B K"]
    ) -> Float[Array, "B K"]:
        del instance
        return outputs + self.sigma * jax.random.normal(key, outputs.shape, outputs.dtype)
