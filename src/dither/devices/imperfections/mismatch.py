"""Gain and offset errors of the parameters."""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.devices.imperfections.imperfection import AbstractImperfection, Blueprint


class Mismatch(AbstractImperfection):
    """Scale and shift every parameter, fixed for the life of an instance.

    `theta_i ← (1 + gain n_i) theta_i + offset m_i`, n_i, m_i ~ N(0, 1)

    Arguments: `gain` ≥ 0, relative; `offset` ≥ 0, in units of the parameters.
    Source: the usual model of fabrication spread.
    """

    kind: Literal["mismatch"] = "mismatch"
    gain: Annotated[float, Field(ge=0, examples=[0.1])] = 0.0
    offset: Annotated[float, Field(ge=0, examples=[0.01])] = 0.0

    def fabricate(self, key: Key[Array, ""], blueprint: Blueprint) -> Float[Array, "2 P"]:
        n, m = jax.random.normal(key, (2, blueprint.size))
        return jnp.stack([1 + self.gain * n, self.offset * m])

    def parameters(
        self, instance: Float[Array, "2 P"], theta: Float[Array, " P"]
    ) -> Float[Array, " P"]:
        return instance[0] * theta + instance[1]
