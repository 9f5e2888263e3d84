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
    "ADC",
    "DAC",
    "DEVICES",
    "IMPERFECTIONS",
    "AbstractDevice",
    "AbstractImperfection",
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
    "Sees",
    "SimulatedDevice",
    "Space",
    "SparseWrite",
    "Status",
    "Stuck",
    "UpdateNoise",
    "Write",
    "WriteNoise",
    "find_object",
]
