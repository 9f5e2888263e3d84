"""A lab's object, as Python and NumPy alone see it: nothing here needs JAX."""

from dither.instruments.chip import BadReading, LabObject
from dither.instruments.find import find_object
from dither.instruments.mirrors import Mirrors

__all__ = ["BadReading", "LabObject", "Mirrors", "find_object"]
