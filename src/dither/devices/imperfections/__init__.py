"""Imperfections of simulated devices, which compose."""

from typing import Annotated

from dither._configuration import Registry
from dither.devices.imperfections.activation_defects import ActivationDefects
from dither.devices.imperfections.adc import ADC
from dither.devices.imperfections.bounds import Bounds
from dither.devices.imperfections.bursts import Bursts
from dither.devices.imperfections.cost_noise import CostNoise
from dither.devices.imperfections.crosstalk import Crosstalk
from dither.devices.imperfections.dac import DAC
from dither.devices.imperfections.dead import Dead
from dither.devices.imperfections.detector_memory import DetectorMemory
from dither.devices.imperfections.drift import Drift
from dither.devices.imperfections.failed_reads import FailedReads
from dither.devices.imperfections.hung_reads import HungReads
from dither.devices.imperfections.imperfection import AbstractImperfection, Blueprint, Write
from dither.devices.imperfections.latency import Latency
from dither.devices.imperfections.layer_converter import LayerConverter
from dither.devices.imperfections.layer_noise import LayerNoise
from dither.devices.imperfections.mismatch import Mismatch
from dither.devices.imperfections.nonlinear_update import NonlinearUpdate
from dither.devices.imperfections.output_drift import OutputDrift
from dither.devices.imperfections.output_noise import OutputNoise
from dither.devices.imperfections.pink_noise import PinkNoise
from dither.devices.imperfections.relative_noise import RelativeNoise
from dither.devices.imperfections.stuck import Stuck
from dither.devices.imperfections.update_noise import UpdateNoise
from dither.devices.imperfections.wander import AbstractWander
from dither.devices.imperfections.write_noise import WriteNoise

IMPERFECTIONS = Registry("imperfection", AbstractImperfection, globals().values())
"""The imperfections that a specification can ask for, by their kind."""

AnyImperfection = Annotated[AbstractImperfection, IMPERFECTIONS]
"""An imperfection: an instance, a table with its `kind`, or the kind alone."""

__all__ = [
    "ADC",
    "DAC",
    "IMPERFECTIONS",
    "AbstractImperfection",
    "AbstractWander",
    "ActivationDefects",
    "AnyImperfection",
    "Blueprint",
    "Bounds",
    "Bursts",
    "CostNoise",
    "Crosstalk",
    "Dead",
    "DetectorMemory",
    "Drift",
    "FailedReads",
    "HungReads",
    "Latency",
    "LayerConverter",
    "LayerNoise",
    "Mismatch",
    "NonlinearUpdate",
    "OutputDrift",
    "OutputNoise",
    "PinkNoise",
    "RelativeNoise",
    "Stuck",
    "UpdateNoise",
    "Write",
    "WriteNoise",
]
