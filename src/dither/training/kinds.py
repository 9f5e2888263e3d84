"""The devices that a specification can ask for: simulations and instruments."""

from typing import Annotated

from dither._configuration import Registry
from dither.devices.device import AbstractDevice
from dither.devices.readout import ReadoutDevice
from dither.devices.simulated import SimulatedDevice
from dither.instruments.aihwkit import AihwkitConnection
from dither.instruments.connection import AbstractConnection, LabDevice
from dither.instruments.network import RemoteDevice, by_address
from dither.instruments.ophyd import OphydConnection
from dither.instruments.qcodes import QcodesConnection
from dither.instruments.scpi import ScpiConnection
from dither.instruments.torch import TorchConnection

DEVICES = Registry(
    "device",
    AbstractDevice | AbstractConnection,
    (
        SimulatedDevice,
        ReadoutDevice,
        LabDevice,
        RemoteDevice,
        TorchConnection,
        ScpiConnection,
        QcodesConnection,
        OphydConnection,
        AihwkitConnection,
    ),
    shorthand=by_address,
)
"""The devices that a specification can ask for, by their kind."""

AnyDevice = Annotated[AbstractDevice | AbstractConnection, DEVICES]
"""A device: an instance, a table with its `kind`, the kind alone, or `remote://HOST:PORT`."""
