"""Real devices: protocols of a lab's object, and how it is guarded, checked and selected.

The names below are imported on first use, so that serving a device needs no JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dither._places import find_object
    from dither.instruments.aihwkit import AihwkitConnection, AihwkitDevice
    from dither.instruments.check import Report, check_device
    from dither.instruments.connection import AbstractConnection, LabDevice
    from dither.instruments.fleet import FleetConnection, PythonFleet
    from dither.instruments.guard import Guard
    from dither.instruments.network import RemoteDevice
    from dither.instruments.ophyd import OphydConnection, OphydDevice
    from dither.instruments.python import PythonDevice
    from dither.instruments.qcodes import QcodesConnection, QcodesDevice
    from dither.instruments.readings import BadReading
    from dither.instruments.scpi import ScpiConnection, ScpiDevice
    from dither.instruments.scpi_answers import InstrumentError
    from dither.instruments.scpi_commands import Channels, Readings
    from dither.instruments.torch import TorchConnection, TorchDevice
    from dither.instruments.written import Mirrors

_HOMES = {
    "_places": ("find_object",),
    "instruments.aihwkit": ("AihwkitConnection", "AihwkitDevice"),
    "instruments.check": ("Report", "check_device"),
    "instruments.connection": ("AbstractConnection", "LabDevice"),
    "instruments.fleet": ("FleetConnection", "PythonFleet"),
    "instruments.guard": ("Guard",),
    "instruments.written": ("Mirrors",),
    "instruments.network": ("RemoteDevice",),
    "instruments.ophyd": ("OphydConnection", "OphydDevice"),
    "instruments.python": ("PythonDevice",),
    "instruments.qcodes": ("QcodesConnection", "QcodesDevice"),
    "instruments.readings": ("BadReading",),
    "instruments.scpi": ("ScpiConnection", "ScpiDevice"),
    "instruments.scpi_answers": ("InstrumentError",),
    "instruments.scpi_commands": ("Channels", "Readings"),
    "instruments.torch": ("TorchConnection", "TorchDevice"),
}

__all__ = [
    "AbstractConnection", "AihwkitConnection", "AihwkitDevice", "BadReading", "Channels",
    "FleetConnection", "Guard", "InstrumentError", "LabDevice", "Mirrors", "OphydConnection",
    "OphydDevice", "PythonDevice", "PythonFleet", "QcodesConnection", "QcodesDevice",
    "Readings", "RemoteDevice", "Report", "ScpiConnection", "ScpiDevice", "TorchConnection",
    "TorchDevice", "check_device", "find_object",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"dither.{home}"), name)
    raise AttributeError(f"module 'dither.instruments' has no attribute '{name}'")
