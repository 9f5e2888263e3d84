"""Imperfections of simulated devices, which compose."""

from typing import Annotated

from dither._configuration import OneOf, registry
from dither.devices.imperfections.activation_defects import ActivationDefects
from dither.devices.imperfections.bounds import Bounds
from dither.devices.imperfections.cost_noise import CostNoise
from dither.devices.imperfections.dac import DAC
from dither.devices.imperfections.failed_reads import FailedReads
from dither.devices.imperfections.imperfection import AbstractImperfection
from dither.devices.imperfections.output_noise import OutputNoise
from dither.devices.imperfections.relative_noise import RelativeNoise
from dither.devices.imperfections.update_noise import UpdateNoise

IMPERFECTIONS = registry(
    CostNoise, OutputNoise, RelativeNoise, DAC, Bounds, ActivationDefects, UpdateNoise, FailedReads
)
"""The imperfections that a specification can ask for, by their kind."""

AnyImperfection = Annotated[AbstractImperfection, OneOf("imperfection", IMPERFECTIONS)]
"""An imperfection: an instance, a table with its `kind`, or the kind alone."""

__all__ = [
    "DAC",
    "IMPERFECTIONS",
    "AbstractImperfection",
    "ActivationDefects",
    "AnyImperfection",
    "Bounds",
    "CostNoise",
    "FailedReads",
    "OutputNoise",
    "RelativeNoise",
    "UpdateNoise",
]
