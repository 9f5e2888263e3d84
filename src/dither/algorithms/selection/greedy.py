"""Greedy selection: the published rule, which favours mirrors not tested for a long time."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from dither.algorithms.selection.selection import AbstractSelection


class Greedy(AbstractSelection):
    """A random mirror, with a preference for those not tested for a long time.

    `W_select = rand(N) · W_bias`, test `argmax W_select`; then `W_bias ← W_bias + 1/N`, and 0 for
    the mirror just tested. W_bias is 1 at first.

    In effect this is a sweep without replacement: a mirror returns after 1.00 ± 0.03 N tests.

    Source: Andreoli2020.
    """

    kind: Literal["greedy"] = "greedy"

    def init(self, size: int) -> Float[Array, " N"]:
        return jnp.ones(size)

    def choose(self, memory: Float[Array, " N"], key: Key[Array, ""]) -> Int[Array, ""]:
        return jnp.argmax(jax.random.uniform(key, memory.shape) * memory)

    def learn(
        self,
        memory: Float[Array, " N"],
        key: Key[Array, ""],
        place: Int[Array, ""],
        fall: Float[Array, ""],
        kept: Bool[Array, ""],
    ) -> Float[Array, " N"]:
        del key, fall, kept
        return (memory + 1 / memory.size).at[place].set(0.0)
