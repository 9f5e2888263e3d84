"""A Python object by the place where it is defined."""

import inspect
from typing import Any

from dither._places import find


def find_object(place: str) -> Any:
    """The object named by `path/to/file.py:name` or `package.module:name`; a class is called.

    Errors: `RequestError` for a missing file, a module that fails to import, an unknown name.
    """
    found = find(place, "device", fresh=True)
    return found() if inspect.isclass(found) else found
