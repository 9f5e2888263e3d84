"""Additional time of writes and measurements."""

from typing import Annotated, Literal

from pydantic import Field

from dither.devices.imperfections.imperfection import AbstractImperfection


class Latency(AbstractImperfection):
    """Lengthen every write and every measurement, by settling, transport or waiting.

    Arguments: `per_write`, `per_measurement`, in seconds ≥ 0, in addition to the device's own.
    """

    kind: Literal["latency"] = "latency"
    per_write: Annotated[float, Field(ge=0, examples=[0.25])] = 0.0
    per_measurement: Annotated[float, Field(ge=0, examples=[0.5])] = 0.0

    @property
    def seconds(self) -> float:
        return self.per_write + self.per_measurement
