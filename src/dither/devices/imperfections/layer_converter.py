"""Converters between the layers of a network."""

from typing import Annotated, Literal

from jaxtyping import Array, Key
from pydantic import Field, model_validator

from dither.devices.imperfections.adc import converted
from dither.devices.imperfections.imperfection import AbstractImperfection


class LayerConverter(AbstractImperfection):
    """Add a converter before or after every layer: a crossbar's DACs or its ADCs.

    `v ← low + k (high − low)/(2ᵇ − 1)`, k the nearest in 0 … 2ᵇ − 1; v is x or z at every layer.
    Gradients, available in a simulation only, ignore it (straight-through).

    Arguments: `at`, `inputs` of the layers, x, or `sums`, their neurons' inputs z; `bits`, b, 1 to
    24; `low` < `high`, in units of x or z.
    """

    kind: Literal["layer-converter"] = "layer-converter"
    at: Annotated[Literal["inputs", "sums"], Field(examples=["sums"])]
    bits: Annotated[int, Field(ge=1, le=24, examples=[16])]
    low: Annotated[float, Field(examples=[-9.0])]
    high: Annotated[float, Field(examples=[9.0])]

    @model_validator(mode="after")
    def _ordered(self) -> "LayerConverter":
        if self.low >= self.high:
            raise ValueError(f"a converter needs low < high, not {self.low} and {self.high}")
        return self

    def site(self, instance: tuple[()], key: Key[Array, ""], site: str, value: Array) -> Array:
        del instance, key
        if site.endswith({"inputs": "/x", "sums": "/z"}[self.at]):
            return converted(value, self.bits, self.low, self.high)
        return value
