"""Cyclic selection: every mirror once per sweep, in a new random order."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from dither.algorithms.selection.selection import AbstractSelection


class CyclicMemory(eqx.Module):
    """The order of the mirrors; the first `done` were tested in this sweep."""

    order: Int[Array, " N"]
    done: Int[Array, ""]


class Cyclic(AbstractSelection):
    """Every mirror exactly once per sweep, in a new random order for each sweep.

    An incremental Fisher-Yates shuffle: after j mirrors of the sweep, draw r in [j, N), swap places
    j and r of the order, and test the mirror at place j.

    Source: Fisher and Yates (1938) for the shuffle.
    """

    kind: Literal["cyclic"] = "cyclic"

    def init(self, size: int) -> CyclicMemory:
        return CyclicMemory(jnp.arange(size), jnp.int32(0))

    def choose(self, memory: CyclicMemory, key: Key[Array, ""]) -> Int[Array, ""]:
        return memory.order[_drawn(memory, key)]

    def learn(
        self,
        memory: CyclicMemory,
        key: Key[Array, ""],
        place: Int[Array, ""],
        fall: Float[Array, ""],
        kept: Bool[Array, ""],
    ) -> CyclicMemory:
        del fall, kept
        order, j, r = memory.order, memory.done, _drawn(memory, key)
        order = order.at[r].set(order[j]).at[j].set(place)
        return CyclicMemory(order, (j + 1) % order.size)


def _drawn(memory: CyclicMemory, key: Key[Array, ""]) -> Int[Array, ""]:
    """r, the place of the next mirror in the order."""
    return jax.random.randint(key, (), memory.done, memory.order.size)
