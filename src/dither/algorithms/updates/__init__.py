"""Updates: what a gradient rule does with its estimate, one file each."""

from typing import Annotated

from dither._configuration import OneOf, registry
from dither.algorithms.updates.descent import Descent
from dither.algorithms.updates.extrapolated import Extrapolated
from dither.algorithms.updates.update import AbstractUpdate, Descend

UPDATES = registry(Descent, Extrapolated)
"""The updates that a specification can ask for, by their kind."""

AnyUpdate = Annotated[AbstractUpdate, OneOf("update", UPDATES)]
"""An update: an instance, a table with its `kind`, or the kind alone."""

__all__ = ["UPDATES", "AbstractUpdate", "AnyUpdate", "Descend", "Descent", "Extrapolated"]
