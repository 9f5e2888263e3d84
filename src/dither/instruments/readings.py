"""The readings of a lab's object, checked and copied."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from dither._errors import RunError
from dither._numbers import finite, real


class BadReading(RunError):
    """A reading that cannot be one: a wrong shape, NaN or infinity, masked or complex values."""


def as_cost(given: Any) -> Float[np.ndarray, ""]:
    """A cost as one number. Errors: `BadReading`."""
    reading = _real(given)
    if reading.size != 1:
        raise BadReading(f"returned a cost of shape {reading.shape} where one number is due")
    return _finite(reading.reshape(()))


def as_outputs(given: Any, rows: int) -> Float[np.ndarray, "B K"]:
    """Outputs as one row for each input. Errors: `BadReading`."""
    reading = _real(given)
    if reading.ndim == 1:
        reading = reading[:, None]
    if reading.ndim != 2 or len(reading) != rows:
        raise BadReading(
            f"returned outputs of shape {reading.shape} for {rows} inputs; one row for each input "
            "is due"
        )
    return _finite(reading)


def as_block(given: Any, shape: tuple[int | None, ...]) -> Float[np.ndarray, "K ..."] | None:
    """All readings of a block at once, where they are one array of good ones; else None.

    Arguments: what was returned; the shape that it must have, None where any length is right.
    """
    if type(given) is not np.ndarray or given.dtype.kind != "f" or given.ndim != len(shape):
        return None
    if any(due not in (None, found) for due, found in zip(shape, given.shape)):
        return None
    block = np.array(given, float)
    return block if finite(block) else None


def _real(given: Any) -> Float[np.ndarray, "..."]:
    try:
        return real(given)
    except ValueError as error:
        raise BadReading(f"returned {error}") from None


def _finite(reading: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    if not finite(reading):
        raise BadReading("returned NaN or infinity, or what is infinite in single precision")
    return reading


def as_layer_inputs(
    given: Mapping[str, Any], rows: int, widths: Mapping[str, int]
) -> dict[str, Float[np.ndarray, "B _"]]:
    """What went into each layer, of so many inputs. Errors: `BadReading`."""
    read = {}
    for name, width in widths.items():
        x = _real(given[name])
        if x.shape != (rows, width):
            raise BadReading(
                f"returned inputs of layer {name} of shape {x.shape} where {(rows, width)} is due"
            )
        read[name] = _finite(x)
    return read


def each_its_own(readings: Iterable[Any]) -> Iterator[Any]:
    """The readings of a block, one after another.

    Errors: `BadReading` where one array is returned for several of them, so that all hold the last.
    """
    if isinstance(readings, list | tuple):
        places = [r.__array_interface__["data"][0] for r in readings if isinstance(r, np.ndarray)]
        if len(set(places)) < len(places):
            raise BadReading("returned one array for several settings; return a copy for each")
    yield from readings
