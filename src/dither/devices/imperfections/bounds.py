"""Bounds of the parameters."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dither.contract import Parameter
from dither.devices.imperfections.imperfection import AbstractImperfection


class Bounds(AbstractImperfection):
    """Limit every parameter to [low, high].

    Arguments: `low` < `high`, in units of the parameters.
    """

    kind: Literal["bounds"] = "bounds"
    low: Annotated[float, Field(examples=[-5.0])]
    high: Annotated[float, Field(examples=[5.0])]

    @model_validator(mode="after")
    def _ordered(self) -> "Bounds":
        if self.low >= self.high:
            raise ValueError(f"bounds need low < high, not {self.low} and {self.high}")
        return self

    def limit(self, parameter: Parameter) -> Parameter:
        return parameter.within(self.low, self.high)
