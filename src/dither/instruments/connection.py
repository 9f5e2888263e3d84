"""Real devices in a specification, and Python objects named in one."""

from abc import abstractmethod
from typing import Annotated, Any, Literal

from pydantic import Field

from dither._configuration import Configuration
from dither._places import find_object
from dither.instruments.extent import MOST_BITS
from dither.instruments.guard import Guard
from dither.instruments.python import PythonDevice


class AbstractConnection(Configuration):
    """A connection: the settings from which a real device is made.

    Arguments: `guard`, the limits of its calls: time-outs, waits, slew limits.
    """

    kind: str
    guard: Guard = Guard()

    def check_installed(self) -> None:
        """Check that the required packages are installed. Errors: `RequestError`."""

    @abstractmethod
    def connect(self) -> PythonDevice:
        """The device. Errors: `RequestError` for a missing method or package."""


class AbstractObjectConnection(AbstractConnection):
    """A device that is a Python object, or is made from one.

    Arguments: `object`, `path/to/file.py:name` or `package.module:name`; `arguments`, the keyword
    arguments of a class, such as `{port = "COM3"}`; `bounds`, of all its parameters.
    """

    object: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    bounds: tuple[float, float] | None = None

    def found_object(self) -> Any:
        """The object itself. Errors: those of `find_object`."""
        return find_object(self.object, self.arguments)


class LabDevice(AbstractObjectConnection):
    """A lab's object; `bounds` and `bits` override its own attributes."""

    kind: Literal["lab"] = "lab"
    bits: Annotated[int, Field(ge=1, le=MOST_BITS)] | None = None

    def connect(self) -> PythonDevice:
        target = self.found_object()
        return PythonDevice(target, bounds=self.bounds, bits=self.bits, guard=self.guard)
