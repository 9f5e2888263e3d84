"""Uniform selection: a random mirror for every test."""

from typing import Literal

import equinox as eqx
import jax
from jaxtyping import Array, Bool, Float, Int, Key

from dither.algorithms.selection.selection import AbstractSelection


class UniformMemory(eqx.Module):
    """The number of mirrors, N."""

    size: int = eqx.field(static=True)


class Uniform(AbstractSelection):
    """A random mirror for every test, independent of earlier tests.

    `P(i) = 1/N`

    Source: the Markovian rule of Andreoli2023.
    """

    kind: Literal["uniform"] = "uniform"

    def init(self, size: int) -> UniformMemory:
        return UniformMemory(size)

    def choose(self, memory: UniformMemory, key: Key[Array, ""]) -> Int[Array, ""]:
        return jax.random.randint(key, (), 0, memory.size)

    def learn(
        self,
        memory: UniformMemory,
        key: Key[Array, ""],
        place: Int[Array, ""],
        fall: Float[Array, ""],
        kept: Bool[Array, ""],
    ) -> UniformMemory:
        del key, place, fall, kept
        return memory
