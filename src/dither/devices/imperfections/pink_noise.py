"""1/f noise."""

import math
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.devices.imperfections.imperfection import AbstractImperfection, Blueprint


class PinkNoise(AbstractImperfection):
    """Add 1/f noise from measurement to measurement, as a sum of relaxation processes.

    ```
    y ← y + sigma x(t),   x of variance 1
    x = Σ_k x_k / √octaves,   x_k ← a_k x_k + √(1 − a_k²) n,   a_k = exp(−2⁻ᵏ),   n ~ N(0, 1)
    ```

    for k = 0 … octaves − 1: relaxation times 1, 2, 4, … in measurements, so that the spectrum falls
    as 1/f between the slowest and the fastest. All samples of a measurement have the same x.

    Arguments: `sigma` ≥ 0, in units of the output or cost; `on`, the `outputs`, each with its own
    x, or the `cost`; `octaves`, 1 to 24.
    Source: the sum of relaxation processes is the textbook model; spectrum checked by the tests.
    """

    kind: Literal["pink-noise"] = "pink-noise"
    sigma: Annotated[float, Field(ge=0, examples=[0.001])]
    on: Literal["outputs", "cost"] = "outputs"
    octaves: Annotated[int, Field(ge=1, le=24)] = 12

    def fabricate(self, key: Key[Array, ""], blueprint: Blueprint) -> Float[Array, "octaves N"]:
        number = blueprint.outputs if self.on == "outputs" else 1
        return jax.random.normal(key, (self.octaves, number))

    def measured(
        self,
        instance: Float[Array, "octaves N"],
        key: Key[Array, ""],
        outputs: Float[Array, "B K"],
    ) -> Float[Array, "octaves N"]:
        del outputs
        a = jnp.exp(-(2.0 ** -jnp.arange(self.octaves)))[:, None]
        fresh = jax.random.normal(key, instance.shape, instance.dtype)
        return a * instance + jnp.sqrt(1 - a**2) * fresh

    def outputs(
        self,
        instance: Float[Array, "octaves N"],
        key: Key[Array, ""],
        outputs: Float[Array, "B K"],
    ) -> Float[Array, "B K"]:
        del key
        if self.on != "outputs":
            return outputs
        return outputs + self.sigma * jnp.sum(instance, axis=0) / math.sqrt(self.octaves)

    def cost(
        self, instance: Float[Array, "octaves N"], key: Key[Array, ""], cost: Float[Array, "*B"]
    ) -> Float[Array, "*B"]:
        del key
        if self.on != "cost":
            return cost
        return cost + self.sigma * jnp.sum(instance) / math.sqrt(self.octaves)
