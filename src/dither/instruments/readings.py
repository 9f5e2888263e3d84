"""The readings of a lab's object, checked."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from dither._errors import RunError


class BadReading(RunError):
    """A reading that cannot be one: a wrong shape, NaN or infinity."""


def as_cost(given: Any) -> Float[np.ndarray, ""]:
    """A cost as one number. Errors: `BadReading`."""
    reading: Float[np.ndarray, ...] = np.asarray(given, float)
    if reading.size != 1:
        raise BadReading(f"returned a cost of shape {reading.shape} where one number is due")
    return _finite(reading.reshape(()))


def as_outputs(given: Any, rows: int) -> Float[np.ndarray, "B K"]:
    """Outputs as one row for each input. Errors: `BadReading`."""
    reading: Float[np.ndarray, ...] = np.asarray(given, float)
    if reading.ndim == 1:
        reading = reading[:, None]
    if reading.ndim != 2 or len(reading) != rows:
        raise BadReading(
            f"returned outputs of shape {reading.shape} for {rows} inputs; one row for each input "
            "is due"
        )
    return _finite(reading)


def _finite(reading: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    if not math.isfinite(reading.sum()):
        raise BadReading("returned NaN or infinity")
    return reading


def as_layer_inputs(
    given: Mapping[str, Any], rows: int, widths: Mapping[str, int]
) -> dict[str, Float[np.ndarray, "B _"]]:
    """What went into each layer, of so many inputs. Errors: `BadReading`."""
    read = {}
    for name, width in widths.items():
        x: Float[np.ndarray, ...] = np.asarray(given[name], float)
        if x.shape != (rows, width) or not math.isfinite(x.sum()):
            raise BadReading(
                f"returned inputs of layer {name} of shape {x.shape}, or not finite, where "
                f"{(rows, width)} is due"
            )
        read[name] = x
    return read
