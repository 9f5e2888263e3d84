"""Uniform sampling."""

from typing import Any, Literal

import jax
from jaxtyping import Array, Float, Int, Key

from dither.tasks.samplers.sampler import AbstractSampler


class Uniform(AbstractSampler):
    """Every sample with the same probability `1/N`, with replacement."""

    kind: Literal["uniform"] = "uniform"

    def check(self, grid: tuple[int, ...]) -> None:
        del grid

    def init(self, grid: tuple[int, ...]) -> tuple[()]:
        del grid
        return ()

    def begin(self, state: Any, draw: Int[Array, ""]) -> Any:
        del draw
        return state

    def draw(self, state: Any, key: Key[Array, ""], n: int, samples: int) -> Int[Array, " n"]:
        del state
        return jax.random.randint(key, (n,), 0, samples)

    def weights(self, state: Any, chosen: Int[Array, " n"]) -> None:
        del state, chosen

    def tell(self, state: Any, chosen: Int[Array, " n"], costs: Float[Array, " n"]) -> Any:
        del chosen, costs
        return state
