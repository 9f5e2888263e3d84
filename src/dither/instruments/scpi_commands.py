"""The commands of an instrument in a specification, which set channels and read outputs."""

import math
from string import Formatter
from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import Field, field_validator, model_validator

from dither._configuration import Configuration

MOST_LEVELS = 2**20
"""A format with more values between the bounds counts as continuous."""


class Values(tuple[float, ...]):
    """Numbers that a command's `{values}` or `{values:.6f}` turns into text, with commas."""

    def __format__(self, how: str) -> str:
        return ",".join(format(value, how) for value in self)


def fields_of(template: str, known: tuple[str, ...]) -> dict[str, str]:
    """The fields of a command with their formats. Errors: `ValueError` for an unknown one."""
    fields = {
        name: how or "" for _, name, how, _ in Formatter().parse(template) if name is not None
    }
    for name in fields:
        if name not in known:
            offered = " or ".join(f"{{{field}}}" for field in known)
            raise ValueError(f"a command cannot have the field {{{name}}}; use {offered}")
    return fields


class Channels(Configuration):
    """Identical channels of an instrument, each holding one parameter.

    Arguments: `write`, the command that sets one channel, with `{channel}` and `{value}`, or all of
    them at once, with `{values}`; `bounds`, the pair (low, high) outside which nothing is ever
    written; `count`, the number of channels; `first`, the number of the first channel.

    A field may contain a format, such as `{value:.4f}`; without one, all digits are written. The
    values that a format can write between the bounds are the levels of the parameters, as for a
    DAC.
    """

    write: str
    bounds: tuple[float, float]
    count: Annotated[int, Field(ge=1)] = 1
    first: int = 1

    @field_validator("bounds")
    @classmethod
    def _low_before_high(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not bounds[0] < bounds[1]:
            raise ValueError("give bounds as [low, high] with low < high")
        return bounds

    @model_validator(mode="after")
    def _writes_inside_the_bounds(self) -> "Channels":
        fields = fields_of(self.write, ("channel", "value", "values"))
        if ("value" in fields) == ("values" in fields):
            raise ValueError("a write command needs either {value} or {values}")
        if "value" in fields and self.count > 1 and "channel" not in fields:
            raise ValueError("a write command for several channels needs {channel}")
        how = self._format
        # rounding keeps the order: values between the bounds are written between these
        for bound, inwards in zip(self.bounds, (1, -1)):
            written = float(format(bound, how))
            if inwards * (written - bound) < 0:
                raise ValueError(
                    f"the format '{how}' writes the bound {bound} as {written}, outside the "
                    "bounds; give more digits"
                )
        if self.grid()[2] == 1:
            raise ValueError(
                f"the format '{how}' writes only one value between the bounds; give more digits"
            )
        return self

    @property
    def _format(self) -> str:
        fields = fields_of(self.write, ("channel", "value", "values"))
        return fields.get("value", fields.get("values", ""))

    def grid(self) -> tuple[float, float, int]:
        """The least and the largest writable value, and the number of values; 0 for very many.

        Their spacing is that of the largest values.
        """
        low, high = self.bounds
        bound, inwards = (high, -1) if abs(high) >= abs(low) else (low, 1)
        largest = float(format(bound, self._format))
        steps = [float(f"1e{power}") for power in range(-17, 18)]
        step = next(
            (s for s in steps if float(format(largest + inwards * s, self._format)) != largest),
            math.inf,
        )
        first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
        if last - first >= MOST_LEVELS:
            return low, high, 0
        return first * step, last * step, last - first + 1

    def commands(self, values: Float[np.ndarray, " K"]) -> list[str]:
        """The command that sets each channel; a joint command is repeated for each."""
        if "values" in fields_of(self.write, ("channel", "value", "values")):
            return self.count * [
                self.write.format(values=Values(values.tolist()), channel=self.first)
            ]
        return [
            self.write.format(channel=channel, value=value)
            for channel, value in enumerate(values.tolist(), self.first)
        ]


class Readings(Configuration):
    """How a sample is presented and its outputs are read.

    Arguments: `query`, whose answer is the outputs, separated by commas; `present`, a command sent
    before it; one of them has the field `{values}`, a sample's inputs; `whole_batch`, whether
    inputs and outputs of a whole batch are sent at once, row after row.
    """

    query: str
    present: str = ""
    whole_batch: bool = False

    @model_validator(mode="after")
    def _values_once(self) -> "Readings":
        given = [fields_of(command, ("values",)) for command in (self.present, self.query)]
        if sum("values" in fields for fields in given) != 1:
            raise ValueError("either present or query needs the field {values}, a sample's inputs")
        return self
