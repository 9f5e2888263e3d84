"""A digital-to-analog converter for every parameter."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dither.contract import Parameter
from dither.devices.imperfections.imperfection import AbstractImperfection


class DAC(AbstractImperfection):
    """Restrict every parameter to 2ᵇ equally spaced values from low to high.

    `theta ∈ {low + k (high − low)/(2ᵇ − 1)}`, k = 0 … 2ᵇ − 1

    Arguments: `bits`, b, 1 to 24; `low` < `high`, in units of the parameters; `joules_per_bit`, the
    energy per bit of each written parameter, ≥ 0.
    """

    kind: Literal["dac"] = "dac"
    bits: Annotated[int, Field(ge=1, le=24, examples=[16])]
    low: Annotated[float, Field(examples=[-4.0])]
    high: Annotated[float, Field(examples=[4.0])]
    joules_per_bit: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "DAC":
        if self.low >= self.high:
            raise ValueError(f"a DAC needs low < high, not {self.low} and {self.high}")
        return self

    def joules(self, size: int, outputs: int) -> tuple[float, float]:
        del outputs
        return size * self.bits * (self.joules_per_bit or 0.0), 0.0

    def limit(self, parameter: Parameter) -> Parameter:
        converter = Parameter(parameter.name, parameter.shape, self.low, self.high, 2**self.bits)
        return converter.within(parameter.low, parameter.high)
