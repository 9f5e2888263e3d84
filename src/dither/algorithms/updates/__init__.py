"""Updates: how a gradient rule uses its estimates, one file each."""

from typing import Annotated

from dither._configuration import Registry
from dither.algorithms.updates.descent import Descent as Descent
from dither.algorithms.updates.extrapolated import Extrapolated as Extrapolated
from dither.algorithms.updates.fast_slow import FastSlow as FastSlow
from dither.algorithms.updates.history import History as History
from dither.algorithms.updates.implicit import Implicit as Implicit
from dither.algorithms.updates.over_the_air import OverTheAir as OverTheAir
from dither.algorithms.updates.shuffled import Shuffled as Shuffled
from dither.algorithms.updates.update import AbstractUpdate as AbstractUpdate
from dither.algorithms.updates.update import AbstractUpdateAtTheta as AbstractUpdateAtTheta
from dither.algorithms.updates.update import Descend as Descend

UPDATES = Registry("update", AbstractUpdate, globals().values())
"""The updates that a specification can select, by their kind."""

AnyUpdate = Annotated[AbstractUpdate, UPDATES]
"""An update: an instance, a table with its `kind`, or the kind alone."""
