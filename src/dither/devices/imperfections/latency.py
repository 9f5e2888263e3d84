"""The time that it takes to reach a device."""

from typing import Annotated, Literal

from pydantic import Field

from dither.devices.imperfections.imperfection import AbstractImperfection


class Latency(AbstractImperfection):
    """Every write and every measurement takes longer: what settles, travels or waits in between.

    Arguments: `per_write`, `per_measurement`, seconds ≥ 0 on top of the device's own.
    """

    kind: Literal["latency"] = "latency"
    per_write: Annotated[float, Field(ge=0, examples=[0.25])] = 0.0
    per_measurement: Annotated[float, Field(ge=0, examples=[0.5])] = 0.0

    @property
    def seconds(self) -> float:
        return self.per_write + self.per_measurement
