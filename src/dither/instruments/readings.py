"""The readings of a lab's object, checked and copied."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from dither._errors import RunError
from dither._numbers import finite, real


class BadReading(RunError):
    """An invalid reading: a wrong shape, NaN or infinity, masked or complex values."""


def as_cost(given: Any) -> Float[np.ndarray, ""]:
    """A cost as one number. Errors: `BadReading`."""
    reading = _real(given)
    if reading.size != 1:
        raise BadReading(f"returned a cost of shape {reading.shape} instead of one number")
    return _finite(reading.reshape(()))


def as_outputs(given: Any, rows: int) -> Float[np.ndarray, "B K"]:
    """Outputs as one row for each input. Errors: `BadReading`."""
    reading = _real(given)
    if reading.ndim == 1:
        reading = reading[:, None]
    if reading.ndim != 2 or len(reading) != rows:
        raise BadReading(
            f"returned outputs of shape {reading.shape} for {rows} inputs instead of one row "
            "for each input"
        )
    return _finite(reading)


def as_block(given: Any, shape: tuple[int | None, ...]) -> Float[np.ndarray, "K ..."] | None:
    """All readings of a block at once, if they are one valid array; else None.

    Arguments: the returned value; the required shape, None for any length.
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
        raise BadReading("returned NaN, infinity, or a number that is infinite in single precision")
    return reading


def as_layer_inputs(
    given: Mapping[str, Any], rows: int, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Float[np.ndarray, "B ..."]]:
    """The inputs of each layer for `rows` samples. Errors: `BadReading`."""
    read = {}
    for name, shape in shapes.items():
        x = _real(given[name])
        if x.shape != (rows, *shape):
            raise BadReading(
                f"returned inputs of layer {name} of shape {x.shape} instead of {(rows, *shape)}"
            )
        read[name] = _finite(x)
    return read


def each_its_own(readings: Iterable[Any]) -> Iterator[Any]:
    """The readings of a block, one after another.

    Errors: `BadReading` if the same array is returned for several settings, so that all hold the
    last.
    """
    if isinstance(readings, list | tuple):
        places = [r.__array_interface__["data"][0] for r in readings if isinstance(r, np.ndarray)]
        if len(set(places)) < len(places):
            raise BadReading("returned one array for several settings; return a copy for each")
    yield from readings
