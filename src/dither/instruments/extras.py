"""Packages that only some adapters need."""

import importlib
from typing import Any

from dither._errors import RequestError


def needs(module: str, extra: str) -> Any:
    """A package that an adapter works with, imported on use.

    Arguments: the module's name; dither's extra that installs it.
    Errors: `RequestError` where it is not installed, with what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise RequestError(
            f"The Python package {error.name} is not installed; pip install 'dither[{extra}]'."
        ) from None
