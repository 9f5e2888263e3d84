"""Orthogonal code division: rows of a Hadamard matrix."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt32

from dither.codes.code import AbstractCode


class Walsh(AbstractCode):
    """Rows of a Hadamard matrix of size n, the next power of two ≥ P, in a new order each cycle.

    `p_i(t) = s_c(t) (−1)^popcount(row_c(t) & i)`, with `row_c` a permutation of 0 … n − 1 and
    `s_c` a sign, both drawn for each cycle c = t div n.

    The estimate is exact after one cycle of n ticks, over which the codes of any two parameters are
    orthogonal. Nothing is stored: the sign follows from the bits of the row and of the parameter
    number.
    Source: McCaughan2023 (Walsh codes).
    """

    kind: Literal["walsh"] = "walsh"

    def __call__(self, key: Key[Array, ""], tick: Int[Array, ""], size: int) -> Float[Array, " P"]:
        bits = _bits(size)
        time = tick.astype(jnp.uint32)
        words = jax.random.bits(jax.random.fold_in(key, time >> bits), (2 * ROUNDS,), jnp.uint32)
        row = _shuffle(time & jnp.uint32((1 << bits) - 1), words, bits)
        flip = jax.random.bits(jax.random.fold_in(key, ~time), (), jnp.uint32) & 1
        parity = jax.lax.population_count(row & jnp.arange(size, dtype=jnp.uint32)) & 1
        return 1.0 - 2.0 * (parity ^ flip).astype(jnp.result_type(float))

    def power(self, size: int) -> float:
        del size
        return 1.0

    def kappa(self, size: int) -> float:
        return size - 1.0

    def cycle(self, size: int) -> int:
        return 1 << _bits(size)


ROUNDS = 4


def _bits(size: int) -> int:
    return max(1, (size - 1).bit_length())


def _shuffle(time: UInt32[Array, ""], words: UInt32[Array, " W"], bits: int) -> UInt32[Array, ""]:
    """A keyed permutation of 0 … 2^bits − 1: odd multiples and folded shifts are bijective."""
    mask = jnp.uint32((1 << bits) - 1)
    half = jnp.uint32((bits + 1) // 2)
    for multiplier, offset in zip(words[:ROUNDS], words[ROUNDS:]):
        time = (time * (multiplier | 1) + offset) & mask
        time = time ^ (time >> half)
    return time
