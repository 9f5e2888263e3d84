"""Frequency division: one tone per parameter."""

import math
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from pydantic import Field, model_validator

from dither.codes.code import AbstractCode


class Sinusoidal(AbstractCode):
    """One frequency per parameter, spread evenly over a band, shuffled, with random phases.

    `p_i(t) = √2 sin(2π (f_i t + φ_i))`

    The phase advances in multiples of 2⁻³² turns, as in a numerically controlled oscillator, and is
    exact for runs of any length. With the full band, the estimate is exact after 2 (P + 1) ticks.

    Arguments: `low`, `high`, the band in cycles per tick, 0 ≤ low < high ≤ 0.5.
    Source: McCaughan2023 (frequency-division multiplexing).
    """

    kind: Literal["sinusoidal"] = "sinusoidal"
    low: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    high: Annotated[float, Field(ge=0, le=0.5)] = 0.5

    @model_validator(mode="after")
    def _band(self) -> "Sinusoidal":
        if self.low >= self.high:
            raise ValueError(f"the band needs low < high, not {self.low} to {self.high}")
        return self

    def __call__(self, key: Key[Array, ""], tick: Int[Array, ""], size: int) -> Float[Array, " P"]:
        order, phase = jax.random.split(key)
        place = jax.random.permutation(order, size)
        lowest = jnp.uint32(round(self.low * 2**32))
        spacing = jnp.uint32(round((self.high - self.low) * 2**32 / (size + 1)))
        step = lowest + spacing * (place.astype(jnp.uint32) + 1)
        start = jax.random.bits(phase, (size,), jnp.uint32)
        angle = (start + step * tick.astype(jnp.uint32)).astype(jnp.int32)
        return math.sqrt(2.0) * jnp.sin(angle * (math.pi / 2.0**31))

    def power(self, size: int) -> float:
        del size
        return 1.0

    def kappa(self, size: int) -> float:
        return size - 0.5

    def peak(self) -> float:
        return math.sqrt(2.0)

    def cycle(self, size: int) -> int | None:
        whole_band = self.low == 0.0 and self.high == 0.5
        return 2 * (size + 1) if whole_band else None
