"""A lab's device, named in a specification."""

from typing import Annotated, Literal

from pydantic import Field

from dither.instruments.connection import AbstractConnection
from dither.instruments.find import find_object
from dither.instruments.python import PythonDevice


class LabDevice(AbstractConnection):
    """A Python object, by the place where it is defined.

    Arguments: `object`, `path/to/file.py:name` or `package.module:name` (a class is called);
    `bounds` and `bits`, which override what the object says of itself; `guard`, its time-outs,
    waits and gentle writes.
    """

    kind: Literal["lab"] = "lab"
    object: str
    bounds: tuple[float, float] | None = None
    bits: Annotated[int, Field(ge=1, le=24)] | None = None

    def connect(self) -> PythonDevice:
        target = find_object(self.object)
        return PythonDevice(target, bounds=self.bounds, bits=self.bits, guard=self.guard)
