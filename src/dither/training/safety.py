"""The safe state at the end of every run."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dither._raised import told
from dither.instruments.python import PythonDevice


class UnsafeWarning(UserWarning):
    """A device could not be brought into its safe state."""


@contextmanager
def made_safe(device: Any) -> Iterator[list[str]]:
    """Bring a real device into its safe state at the end, however it ends.

    Yields: a list, to which a message is added if that fails; it is also given as a warning.
    """
    trouble: list[str] = []
    try:
        yield trouble
    finally:
        if isinstance(device, PythonDevice):
            try:
                device.safe()
            except Exception as error:
                trouble.append(
                    f"The device {device.name} could not be brought into its safe state "
                    f"({told(error)}); do so by hand."
                )
                warnings.warn(trouble[0], UnsafeWarning, stacklevel=4)
