"""Devices: what is trained."""

from typing import Annotated

from dither._configuration import OneOf, registry
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
    DAC,
    IMPERFECTIONS,
    AbstractImperfection,
    ActivationDefects,
    Bounds,
    CostNoise,
    FailedReads,
    OutputNoise,
    RelativeNoise,
    UpdateNoise,
)
from dither.devices.lab import LabDevice
from dither.devices.mirrors import Mirrors
from dither.devices.python import PythonDevice, find_object
from dither.devices.readout import ReadoutDevice
from dither.devices.simulated import SimulatedDevice
from dither.devices.space import Parameter, Space

DEVICES = registry(SimulatedDevice, ReadoutDevice, LabDevice)
"""The devices that a specification can ask for, by their kind."""

AnyDevice = Annotated[AbstractDevice | LabDevice, OneOf("device", DEVICES)]
"""A device: an instance, a table with its `kind`, or the kind alone."""

__all__ = [
    "DAC",
    "DEVICES",
    "IMPERFECTIONS",
    "AbstractDevice",
    "AbstractImperfection",
    "ActivationDefects",
    "AnyDevice",
    "Batch",
    "Bounds",
    "Clock",
    "CostNoise",
    "FailedReads",
    "Guard",
    "LabDevice",
    "Measurement",
    "Mirrors",
    "OutputNoise",
    "Parameter",
    "Probe",
    "PythonDevice",
    "ReadoutDevice",
    "RelativeNoise",
    "Sees",
    "SimulatedDevice",
    "Space",
    "SparseWrite",
    "Status",
    "UpdateNoise",
    "find_object",
]
