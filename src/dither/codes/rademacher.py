"""Random code division: independent random signs."""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from pydantic import Field

from dither.codes.code import AbstractCode
from dither.codes.signs import random_signs


class Rademacher(AbstractCode):
    """Independent random signs at every tick; with `density` below 1, some parameters rest.

    `p_i(t) = ±1` with probability `density`, else 0

    Arguments: `density` in (0, 1], the fraction of parameters perturbed at a tick.
    Source: McCaughan2023 (statistically orthogonal codes).
    """

    kind: Literal["rademacher"] = "rademacher"
    density: Annotated[float, Field(gt=0, le=1)] = 1.0

    def __call__(self, key: Key[Array, ""], tick: Int[Array, ""], size: int) -> Float[Array, " P"]:
        now = jax.random.fold_in(key, tick)
        signs = random_signs(now, size)
        if self.density == 1.0:
            return signs
        awake = jax.random.bernoulli(jax.random.fold_in(now, 1), self.density, (size,))
        return jnp.where(awake, signs, 0.0)

    def power(self, size: int) -> float:
        del size
        return self.density

    def kappa(self, size: int) -> float:
        return size - 2.0 + 1.0 / self.density
