"""Optional dependencies."""

import importlib
import importlib.util
from typing import Any

from dither._errors import RequestError


def needs(module: str, extra: str) -> Any:
    """Import an optional package on first use.

    Arguments: the module's name; dither's extra that installs it.
    Errors: `RequestError` if it is not installed; the message names what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing(str(error.name), extra) from None


def must_have(extra: str, *packages: str) -> None:
    """Check that packages are installed, without importing them.

    Arguments: dither's extra that installs them; their names.
    Errors: those of `needs`.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise missing(package, extra)


def missing(package: str, extra: str) -> RequestError:
    """The error for a package that is not installed."""
    return RequestError(
        f"The Python package {package} is not installed; run pip install 'dither[{extra}]'."
    )
