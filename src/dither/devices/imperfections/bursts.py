"""Rare bursts of heavy-tailed noise."""

import math
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.devices.imperfections.imperfection import AbstractImperfection


def alpha_stable(key: Key[Array, ""], alpha: float, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Symmetric alpha-stable random numbers of scale 1.

    ```
    X = sin(αU) / cos(U)^(1/α) · (cos((1 − α)U) / W)^((1 − α)/α),   U ~ U(−π/2, π/2),  W ~ Exp(1)
    ```

    Arguments: α in [0.5, 2]: 2 is normal with variance 2, 1 is Cauchy; the shape of the result.
    Source: Chambers, Mallows, Stuck (1976); checked by the tests.
    """
    for_angle, for_wait = jax.random.split(key)
    # excluding ±π/2, where single precision would make the cosine negative
    u = 0.5 * math.pi * (1 - 1e-6) * jax.random.uniform(for_angle, shape, minval=-1.0)
    w = jnp.maximum(jax.random.exponential(for_wait, shape), 1e-7)
    power = (1 - alpha) / alpha
    return jnp.sin(alpha * u) / jnp.cos(u) ** (1 / alpha) * (jnp.cos((1 - alpha) * u) / w) ** power


class Bursts(AbstractImperfection):
    """Add alpha-stable noise to occasional measurements.

    `y ← y + sigma X` with a probability, X alpha-stable of scale 1, independent for each number
    read

    Arguments: `probability` of a burst in a measurement, 0 to 1; `sigma` ≥ 0, in units of the
    output or cost; `alpha` in [0.5, 2], small for heavy tails: 2 is normal, 1 Cauchy; `on`, the
    `outputs` of every sample or the `cost`.
    Source: Chambers, Mallows, Stuck (1976).
    """

    kind: Literal["bursts"] = "bursts"
    probability: Annotated[float, Field(ge=0, le=1, examples=[0.1])]
    sigma: Annotated[float, Field(ge=0, examples=[0.001])]
    alpha: Annotated[float, Field(ge=0.5, le=2)] = 1.5
    on: Literal["outputs", "cost"] = "outputs"

    def outputs(
        self, instance: tuple[()], key: Key[Array, ""], outputs: Float[Array, "B K"]
    ) -> Float[Array, "B K"]:
        del instance
        return self._burst(key, outputs) if self.on == "outputs" else outputs

    def cost(
        self, instance: tuple[()], key: Key[Array, ""], cost: Float[Array, "*B"]
    ) -> Float[Array, "*B"]:
        del instance
        return self._burst(key, cost) if self.on == "cost" else cost

    def _burst(self, key: Key[Array, ""], value: Float[Array, "..."]) -> Float[Array, "..."]:
        whether, what = jax.random.split(key)
        off = self.sigma * alpha_stable(what, self.alpha, value.shape).astype(value.dtype)
        return jnp.where(jax.random.bernoulli(whether, self.probability), value + off, value)
