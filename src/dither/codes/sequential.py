"""Time division: one parameter at a time."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from dither.codes.code import AbstractCode


class Sequential(AbstractCode):
    """Perturb one parameter at a time, in order: finite differences.

    `p_i(t) = [i = t mod P]`

    Exact after P ticks. Source: McCaughan2023 (time-division multiplexing).
    """

    kind: Literal["sequential"] = "sequential"

    def __call__(self, key: Key[Array, ""], tick: Int[Array, ""], size: int) -> Float[Array, " P"]:
        del key
        return (jnp.arange(size) == tick % size).astype(float)

    def power(self, size: int) -> float:
        return 1.0 / size

    def kappa(self, size: int) -> float:
        return size - 1.0

    def cycle(self, size: int) -> int:
        return size
