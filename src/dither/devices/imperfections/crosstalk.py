"""Crosstalk between neighbouring parameters."""

from typing import Annotated, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import Field

from dither.devices.imperfections.imperfection import AbstractImperfection


class Crosstalk(AbstractImperfection):
    """Add to every parameter shares of its neighbours that decrease geometrically with distance.

    `theta_i ← theta_i + Σ_d coupling^d (theta_{i−d} + theta_{i+d})`, d = 1 … reach

    Neighbours are neighbours in the flat vector of parameters, which has no wrap-around.

    Arguments: `coupling`, −1 to 1; `reach` ≥ 1, the largest distance.
    """

    kind: Literal["crosstalk"] = "crosstalk"
    coupling: Annotated[float, Field(ge=-1, le=1, examples=[0.05])]
    reach: Annotated[int, Field(ge=1, le=64)] = 2

    def parameters(self, instance: tuple[()], theta: Float[Array, " P"]) -> Float[Array, " P"]:
        del instance
        size, reach = theta.size, self.reach
        wide = jnp.pad(theta, reach)
        leaked = jnp.zeros_like(theta)
        for d in range(1, reach + 1):
            left, right = wide[reach - d : reach - d + size], wide[reach + d : reach + d + size]
            leaked = leaked + self.coupling**d * (left + right)
        return theta + leaked
