"""The devices that a specification can select: simulations and instruments."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

from dither._configuration import Registry
from dither._errors import RequestError
from dither.devices.device import AbstractDevice
from dither.devices.fleet import Fleet
from dither.devices.readout import ReadoutDevice
from dither.devices.simulated import SimulatedDevice
from dither.instruments.aihwkit import AihwkitConnection
from dither.instruments.connection import AbstractConnection, LabDevice
from dither.instruments.fleet import FleetConnection, PythonFleet
from dither.instruments.network import RemoteDevice, by_address
from dither.instruments.ophyd import OphydConnection
from dither.instruments.qcodes import QcodesConnection
from dither.instruments.scpi import ScpiConnection
from dither.instruments.torch import TorchConnection


def fleet_of(devices: Sequence[Any]) -> Fleet | FleetConnection | PythonFleet:
    """Devices trained as one: simulated ones, connections, or Python objects.

    Errors: `RequestError` for devices of different sorts.
    """
    if devices and all(isinstance(one, AbstractDevice) for one in devices):
        return Fleet(devices=tuple(devices))
    if any(isinstance(one, AbstractDevice) for one in devices):
        raise RequestError("The fleet mixes simulated and real devices; give devices of one sort.")
    if devices and all(isinstance(one, AbstractConnection) for one in devices):
        return FleetConnection(devices=tuple(devices))
    return PythonFleet(devices)


def shorthand(value: Any) -> Any:
    """The table of a fleet for a list of devices, as `[[device]]` gives it."""
    if not isinstance(value, list | tuple):
        return by_address(value)
    first = by_address(value[0]) if value else {}
    simulated = isinstance(first, AbstractDevice)
    if not isinstance(first, AbstractDevice | AbstractConnection):
        kind = first.get("kind") if isinstance(first, dict) else first
        with suppress(RequestError):
            simulated = issubclass(DEVICES[str(kind)], AbstractDevice)
    return {"kind": "fleet" if simulated else "lab-fleet", "devices": value}


DEVICES = Registry(
    "device",
    AbstractDevice | AbstractConnection,
    (
        SimulatedDevice,
        ReadoutDevice,
        Fleet,
        FleetConnection,
        LabDevice,
        RemoteDevice,
        TorchConnection,
        ScpiConnection,
        QcodesConnection,
        OphydConnection,
        AihwkitConnection,
    ),
    shorthand=shorthand,
)
"""The devices that a specification can select, by their kind."""

AnyDevice = Annotated[AbstractDevice | AbstractConnection, DEVICES]
"""A device: an instance, a table with its `kind`, the kind alone, `remote://…`, or a list."""
