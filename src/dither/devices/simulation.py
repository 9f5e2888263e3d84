"""What every simulated device has: imperfections, and what it takes on the hardware."""

from typing import Annotated

from pydantic import Field

from dither.devices.device import AbstractDevice
from dither.devices.imperfections import AnyImperfection


class AbstractSimulation(AbstractDevice):
    """A device with imperfections, whose writes and measurements take time and energy.

    Arguments: `imperfections`, applied in order; `seconds_per_write`, `seconds_per_measurement`,
    `joules_per_write`, `joules_per_measurement`, what each costs on the hardware that it stands
    for.
    """

    imperfections: tuple[AnyImperfection, ...] = ()
    seconds_per_write: Annotated[float, Field(ge=0)] = 0.0
    seconds_per_measurement: Annotated[float, Field(ge=0)] = 0.0
    joules_per_write: Annotated[float, Field(ge=0)] = 0.0
    joules_per_measurement: Annotated[float, Field(ge=0)] = 0.0

    @property
    def fails(self) -> bool:
        return any(imperfection.fails for imperfection in self.imperfections)

    @property
    def write_seconds(self) -> float:
        return self.seconds_per_write

    @property
    def measurement_seconds(self) -> float:
        added = sum(imperfection.seconds for imperfection in self.imperfections)
        return self.seconds_per_measurement + added

    @property
    def time_out(self) -> float:
        return max((imperfection.time_out for imperfection in self.imperfections), default=0.0)

    @property
    def write_joules(self) -> float:
        return self.joules_per_write

    @property
    def measurement_joules(self) -> float:
        return self.joules_per_measurement
