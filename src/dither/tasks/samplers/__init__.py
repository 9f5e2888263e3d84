"""Samplers, which select the samples of a batch, one file each."""

from typing import Annotated

from dither._configuration import Registry
from dither.tasks.samplers.adaptive import Adaptive as Adaptive
from dither.tasks.samplers.sampler import AbstractSampler as AbstractSampler
from dither.tasks.samplers.uniform import Uniform as Uniform

SAMPLERS = Registry("sampler", AbstractSampler, globals().values())
"""The samplers that a specification can select, by their kind."""

AnySampler = Annotated[AbstractSampler, SAMPLERS]
"""A sampler: an instance, a table with its `kind`, or the kind alone."""
