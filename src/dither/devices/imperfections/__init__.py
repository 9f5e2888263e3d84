"""Imperfections of simulated devices, which can be combined."""

from typing import Annotated

from dither._configuration import Registry
from dither.devices.imperfections.activation_defects import ActivationDefects as ActivationDefects
from dither.devices.imperfections.adc import ADC as ADC
from dither.devices.imperfections.bounds import Bounds as Bounds
from dither.devices.imperfections.bursts import Bursts as Bursts
from dither.devices.imperfections.cost_noise import CostNoise as CostNoise
from dither.devices.imperfections.crosstalk import Crosstalk as Crosstalk
from dither.devices.imperfections.dac import DAC as DAC
from dither.devices.imperfections.dead import Dead as Dead
from dither.devices.imperfections.detector_memory import DetectorMemory as DetectorMemory
from dither.devices.imperfections.drift import Drift as Drift
from dither.devices.imperfections.failed_reads import FailedReads as FailedReads
from dither.devices.imperfections.hung_reads import HungReads as HungReads
from dither.devices.imperfections.imperfection import AbstractImperfection as AbstractImperfection
from dither.devices.imperfections.imperfection import Blueprint as Blueprint
from dither.devices.imperfections.imperfection import Write as Write
from dither.devices.imperfections.latency import Latency as Latency
from dither.devices.imperfections.layer_converter import LayerConverter as LayerConverter
from dither.devices.imperfections.layer_noise import LayerNoise as LayerNoise
from dither.devices.imperfections.mismatch import Mismatch as Mismatch
from dither.devices.imperfections.nonlinear_update import NonlinearUpdate as NonlinearUpdate
from dither.devices.imperfections.output_drift import OutputDrift as OutputDrift
from dither.devices.imperfections.output_noise import OutputNoise as OutputNoise
from dither.devices.imperfections.pink_noise import PinkNoise as PinkNoise
from dither.devices.imperfections.relative_noise import RelativeNoise as RelativeNoise
from dither.devices.imperfections.stuck import Stuck as Stuck
from dither.devices.imperfections.update_noise import UpdateNoise as UpdateNoise
from dither.devices.imperfections.wander import AbstractWander as AbstractWander
from dither.devices.imperfections.write_noise import WriteNoise as WriteNoise

IMPERFECTIONS = Registry("imperfection", AbstractImperfection, globals().values())
"""The imperfections that a specification can select, by their kind."""

AnyImperfection = Annotated[AbstractImperfection, IMPERFECTIONS]
"""An imperfection: an instance, a table with its `kind`, or the kind alone."""
