"""Selection rules: which mirror of a Boolean readout to test next."""

from typing import Annotated

from dither._configuration import Registry
from dither.algorithms.selection.amplitude_weighted import AmplitudeWeighted as AmplitudeWeighted
from dither.algorithms.selection.cyclic import Cyclic as Cyclic
from dither.algorithms.selection.greedy import Greedy as Greedy
from dither.algorithms.selection.priority import Priority as Priority
from dither.algorithms.selection.selection import AbstractSelection as AbstractSelection
from dither.algorithms.selection.selection import Memory as Memory
from dither.algorithms.selection.uniform import Uniform as Uniform

SELECTIONS = Registry("selection", AbstractSelection, globals().values())
"""The selection rules that a specification can select, by their kind."""

AnySelection = Annotated[AbstractSelection, SELECTIONS]
"""A selection rule: an instance, a table with its `kind`, or the kind alone."""
