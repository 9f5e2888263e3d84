"""Conversion of users' data: arrays, lists, frames, tensors."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from dither._errors import RequestError


def as_array(given: Any, name: str) -> Shaped[np.ndarray, "_ ..."]:
    """Samples as a NumPy array, from an array, nested lists, a data frame or series, or a tensor.

    Booleans become 0 and 1.
    Errors: `RequestError` unless it is an array of numbers with at least one axis, finite in the
    precision used for training.
    """
    values = _converted(given, name)
    if values.dtype == bool or np.issubdtype(values.dtype, np.integer):
        values = values.astype(np.int64)
    if values.ndim == 0:
        raise RequestError(
            f"The {name} are one value of type {values.dtype}; give one row per sample."
        )
    if not np.issubdtype(values.dtype, np.number):
        raise RequestError(f"The {name} are of type {values.dtype}; give numbers.")
    if np.iscomplexobj(values):
        raise RequestError(
            f"The {name} are complex; give real numbers, such as real and imaginary parts in "
            "separate columns."
        )
    if np.ma.is_masked(given):
        raise RequestError(
            f"The {name} are partly masked; leave out those samples or fill them in."
        )
    with np.errstate(over="ignore"):
        held = values.astype(jnp.result_type(float))
    if not np.all(np.isfinite(held)):
        rows = ~np.isfinite(held).reshape(len(held), -1).all(axis=1)
        raise RequestError(
            f"The {name} hold NaN or infinity, first in sample {int(np.argmax(rows))}; "
            "remove or replace such samples."
        )
    return values


def _converted(given: Any, name: str) -> Shaped[np.ndarray, "..."]:
    try:
        if callable(getattr(given, "detach", None)):  # a torch tensor
            given = given.detach().cpu()
        if callable(getattr(given, "to_numpy", None)):  # a data frame or series
            given = given.to_numpy()
        values = np.asarray(given)
        return np.asarray(values.tolist()) if values.dtype == object else values
    except (TypeError, ValueError) as error:
        why = (
            "have rows of unequal lengths" if "inhomogeneous" in str(error) else "are not an array"
        )
        raise RequestError(f"The {name} {why}; give numbers, one row per sample.") from None
