"""Adapters: what other packages know as a model or an instrument, as a device."""

import dither.devices  # noqa: F401  (its registry imports from here, so it goes first)
from dither.adapters.aihwkit import AihwkitConnection, AihwkitDevice
from dither.adapters.ophyd import OphydConnection, OphydDevice
from dither.adapters.qcodes import QcodesConnection, QcodesDevice
from dither.adapters.scpi import Channels, InstrumentError, Readings, ScpiConnection, ScpiDevice
from dither.adapters.torch import TorchConnection, TorchDevice
from dither.networks.jax_function import JaxFunction

__all__ = [
    "AihwkitConnection",
    "AihwkitDevice",
    "Channels",
    "InstrumentError",
    "JaxFunction",
    "OphydConnection",
    "OphydDevice",
    "QcodesConnection",
    "QcodesDevice",
    "Readings",
    "ScpiConnection",
    "ScpiDevice",
    "TorchConnection",
    "TorchDevice",
]
