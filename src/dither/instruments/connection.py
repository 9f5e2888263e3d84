"""What a specification says of a real device."""

from abc import abstractmethod

from dither._configuration import Configuration
from dither.instruments.guard import Guard
from dither.instruments.python import PythonDevice


class AbstractConnection(Configuration):
    """How a real device is reached: a table of settings, from which the device is made.

    Arguments: `guard`, how its calls are guarded: time-outs, waits, gentle writes.
    """

    kind: str
    guard: Guard = Guard()

    @abstractmethod
    def connect(self) -> PythonDevice:
        """The device. Errors: `RequestError` for what it lacks or what is not installed."""
