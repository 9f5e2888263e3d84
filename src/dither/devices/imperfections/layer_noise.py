"""Noise on the neurons' inputs."""

import zlib
from typing import Annotated, Literal

import jax
from jaxtyping import Array, Key
from pydantic import Field

from dither.devices.imperfections.imperfection import AbstractImperfection


class LayerNoise(AbstractImperfection):
    """Add Gaussian noise to every neuron's input for every sample: `z ← z + sigma n`, n ~ N(0, 1).

    Arguments: `sigma` ≥ 0, in units of z. Source: the output noise of a crossbar tile, as in IBM's
    analog hardware acceleration kit.
    """

    kind: Literal["layer-noise"] = "layer-noise"
    sigma: Annotated[float, Field(ge=0, examples=[0.001])]

    def site(self, instance: tuple[()], key: Key[Array, ""], site: str, value: Array) -> Array:
        del instance
        if site.endswith("/z"):
            here = jax.random.fold_in(key, zlib.crc32(site.encode()))
            return value + self.sigma * jax.random.normal(here, value.shape, value.dtype)
        return value
