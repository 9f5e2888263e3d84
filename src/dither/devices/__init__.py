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
    Status,
)
from dither.devices.imperfections import (
    DAC,
    IMPERFECTIONS,
    AbstractImperfection,
    ActivationDefects,
    Bounds,
    CostNoise,
    FailedReads,
    OutputNoise,
    UpdateNoise,
)
from dither.devices.lab import LabDevice
from dither.devices.python import PythonDevice, find_object
from dither.devices.simulated import SimulatedDevice
from dither.devices.space import Parameter, Space

DEVICES = registry(SimulatedDevice, LabDevice)
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
    "LabDevice",
    "Measurement",
    "OutputNoise",
    "Parameter",
    "Probe",
    "PythonDevice",
    "Sees",
    "SimulatedDevice",
    "Space",
    "Status",
    "UpdateNoise",
    "find_object",
]
