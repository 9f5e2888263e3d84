"""A Python object by the place where it is defined."""

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from dither._errors import RequestError, nearest


def find_object(place: str) -> Any:
    """The object named by `path/to/file.py:name` or `package.module:name`.

    Errors: `RequestError` for a missing file, a module that fails to import, an unknown name.
    """
    where, colon, name = place.rpartition(":")
    if not colon or not where or not name:
        raise RequestError(f"The device '{place}' is not of the form FILE.py:NAME or MODULE:NAME.")
    try:
        if where.endswith(".py"):
            module = _import_file(Path(where))
        else:
            module = importlib.import_module(where)
    except RequestError:
        raise
    except Exception as error:
        raise RequestError(
            f"The device's module {where} fails to import: {type(error).__name__}: {error}."
        ) from error
    if not hasattr(module, name):
        names = [n for n in vars(module) if not n.startswith("_")]
        raise RequestError(f"The module {where} has no '{name}'; {nearest(name, names)}")
    found = getattr(module, name)
    return found() if inspect.isclass(found) else found


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise RequestError(f"The device's file {path} does not exist.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise RequestError(f"The device's file {path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module
