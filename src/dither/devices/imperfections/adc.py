"""An analog-to-digital converter at every output."""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field, model_validator

from dither.devices.imperfections.imperfection import AbstractImperfection


def converted(value: Float[Array, "..."], bits: int, low: float, high: float) -> Array:
    """The nearest of 2ᵇ equally spaced values from low to high, with a derivative of 1."""
    step = (high - low) / (2**bits - 1)
    rounded = low + step * jnp.round((jnp.clip(value, low, high) - low) / step)
    through: Array = jax.lax.stop_gradient(rounded) + (value - jax.lax.stop_gradient(value))
    return through


class ADC(AbstractImperfection):
    """Quantise every output to the nearest of 2ᵇ equally spaced values, and clip it to their range.

    `y ← low + k (high − low)/(2ᵇ − 1)`, `k = round((clip(y) − low) (2ᵇ − 1)/(high − low))`

    Gradients, available in a simulation only, ignore it (straight-through).

    Arguments: `bits`, b, 1 to 24; `low` < `high`, in units of the outputs; `joules_per_bit`, the
    energy per bit of each output, ≥ 0.
    """

    kind: Literal["adc"] = "adc"
    bits: Annotated[int, Field(ge=1, le=24, examples=[16])]
    low: Annotated[float, Field(examples=[-1.0])]
    high: Annotated[float, Field(examples=[2.0])]
    joules_per_bit: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "ADC":
        if self.low >= self.high:
            raise ValueError(f"an ADC needs low < high, not {self.low} and {self.high}")
        return self

    def joules(self, size: int, outputs: int) -> tuple[float, float]:
        del size
        return 0.0, outputs * self.bits * (self.joules_per_bit or 0.0)

    def outputs(
        self, instance: tuple[()], key: Key[Array, ""], outputs: Float[Array, "B K"]
    ) -> Float[Array, "B K"]:
        del instance, key
        return converted(outputs, self.bits, self.low, self.high)
