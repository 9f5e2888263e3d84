"""Perturbation codes, which distinguish parameters that are perturbed at the same time."""

from typing import Annotated

from dither._configuration import Registry
from dither.codes.code import AbstractCode as AbstractCode
from dither.codes.rademacher import Rademacher as Rademacher
from dither.codes.sequential import Sequential as Sequential
from dither.codes.sinusoidal import Sinusoidal as Sinusoidal
from dither.codes.walsh import Walsh as Walsh

CODES = Registry("code", AbstractCode, globals().values())
"""The codes that a specification can select, by their kind."""

AnyCode = Annotated[AbstractCode, CODES]
"""A code: an instance, a table with its `kind`, or the kind alone."""
