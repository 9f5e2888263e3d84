"""Noise on the cost."""

from typing import Annotated, Literal

import jax
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.devices.imperfections.imperfection import AbstractImperfection


class CostNoise(AbstractImperfection):
    """Add Gaussian noise to every measured cost: `C ← C + sigma n`, n ~ N(0, 1).

    If costs are measured per sample, each has independent noise.

    Arguments: `sigma` ≥ 0, in units of the cost. Source: McCaughan2023.
    """

    kind: Literal["cost-noise"] = "cost-noise"
    sigma: Annotated[float, Field(ge=0, examples=[0.001])]

    def cost(
        self, instance: tuple[()], key: Key[Array, ""], cost: Float[Array, "*B"]
    ) -> Float[Array, "*B"]:
        del instance
        return cost + self.sigma * jax.random.normal(key, cost.shape, cost.dtype)
