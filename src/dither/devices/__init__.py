"""Devices: what is trained."""

from typing import Annotated

from pydantic import BeforeValidator

from dither._configuration import Configuration, OneOf, registry
from dither.adapters.aihwkit import AihwkitConnection
from dither.adapters.ophyd import OphydConnection
from dither.adapters.qcodes import QcodesConnection
from dither.adapters.scpi import ScpiConnection
from dither.adapters.torch import TorchConnection
from dither.devices.connection import AbstractConnection
from dither.devices.device import (
    AbstractDevice,
    Batch,
    Clock,
    Measurement,
    Probe,
    Sees,
    SparseWrite,
    Status,
)
from dither.devices.guard import Guard
from dither.devices.imperfections import (
    ADC,
    DAC,
    IMPERFECTIONS,
    AbstractImperfection,
    AbstractWander,
    ActivationDefects,
    Blueprint,
    Bounds,
    Bursts,
    CostNoise,
    Crosstalk,
    Dead,
    Drift,
    FailedReads,
    HungReads,
    Latency,
    LayerConverter,
    LayerNoise,
    Mismatch,
    NonlinearUpdate,
    OutputDrift,
    OutputNoise,
    PinkNoise,
    RelativeNoise,
    Stuck,
    UpdateNoise,
    Write,
    WriteNoise,
)
from dither.devices.lab import LabDevice
from dither.devices.python import PythonDevice, find_object
from dither.devices.readout import ReadoutDevice
from dither.devices.remote import RemoteDevice, by_address, device_at
from dither.devices.simulated import SimulatedDevice
from dither.devices.simulation import AbstractSimulation
from dither.devices.space import Parameter, Space
from dither.lab import Mirrors

DEVICES: dict[str, type[Configuration]] = registry(
    SimulatedDevice,
    ReadoutDevice,
    LabDevice,
    RemoteDevice,
    TorchConnection,
    ScpiConnection,
    QcodesConnection,
    OphydConnection,
    AihwkitConnection,
)
"""The devices that a specification can ask for, by their kind."""

AnyDevice = Annotated[
    AbstractDevice | AbstractConnection,
    OneOf("device", DEVICES),
    BeforeValidator(by_address),
]
"""A device: an instance, a table with its `kind`, the kind alone, or `remote://HOST:PORT`."""

__all__ = [
    "ADC",
    "DAC",
    "DEVICES",
    "IMPERFECTIONS",
    "AbstractConnection",
    "AbstractDevice",
    "AbstractImperfection",
    "AbstractSimulation",
    "AbstractWander",
    "ActivationDefects",
    "AnyDevice",
    "Batch",
    "Blueprint",
    "Bounds",
    "Bursts",
    "Clock",
    "CostNoise",
    "Crosstalk",
    "Dead",
    "Drift",
    "FailedReads",
    "Guard",
    "HungReads",
    "LabDevice",
    "Latency",
    "LayerConverter",
    "LayerNoise",
    "Measurement",
    "Mirrors",
    "Mismatch",
    "NonlinearUpdate",
    "OutputDrift",
    "OutputNoise",
    "Parameter",
    "PinkNoise",
    "Probe",
    "PythonDevice",
    "ReadoutDevice",
    "RelativeNoise",
    "RemoteDevice",
    "Sees",
    "SimulatedDevice",
    "Space",
    "SparseWrite",
    "Status",
    "Stuck",
    "UpdateNoise",
    "Write",
    "WriteNoise",
    "device_at",
    "find_object",
]
