"""Selection rules: which mirror of a Boolean readout to test next."""

from typing import Annotated

from dither._configuration import Registry
from dither.algorithms.selection.amplitude_weighted import AmplitudeWeighted
from dither.algorithms.selection.cyclic import Cyclic
from dither.algorithms.selection.greedy import Greedy
from dither.algorithms.selection.priority import Priority
from dither.algorithms.selection.selection import AbstractSelection, Memory
from dither.algorithms.selection.uniform import Uniform

SELECTIONS = Registry("selection", AbstractSelection, globals().values())
"""The selection rules that a specification can ask for, by their kind."""

AnySelection = Annotated[AbstractSelection, SELECTIONS]
"""A selection rule: an instance, a table with its `kind`, or the kind alone."""

__all__ = [
    "SELECTIONS",
    "AbstractSelection",
    "AmplitudeWeighted",
    "AnySelection",
    "Cyclic",
    "Greedy",
    "Memory",
    "Priority",
    "Uniform",
]
