"""A lab's object, as Python and NumPy alone see it: nothing here needs JAX."""

from dither.lab.chip import BadReading, LabObject
from dither.lab.find import find_object
from dither.lab.mirrors import Mirrors

__all__ = ["BadReading", "LabObject", "Mirrors", "find_object"]
