"""The resolution of data in the precision used for training."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from dither._errors import RequestError

STEPS = 64
"""Values are resolved if single precision has this many steps between the smallest and largest."""

ROUNDING = 1e-12
"""A smaller relative spread counts as rounding error."""

FAR = 1000.0
"""Values further from 0 than this many times their spread are shifted towards 0."""


def check_resolved(values: Num[np.ndarray, "N ..."], name: str, instead: str) -> None:
    """Check, column by column, that single precision resolves the variation of the data.

    Arguments: the data; its name; `instead`, the advice in the error.
    Errors: `RequestError`.
    """
    if jnp.result_type(float) != jnp.float32:
        return
    columns = values.reshape(len(values), -1).astype(float)
    low, high = columns.min(axis=0), columns.max(axis=0)
    largest = np.maximum(np.abs(low), np.abs(high))
    varies = high - low > ROUNDING * largest
    with np.errstate(over="ignore"):
        lost = np.spacing(largest.astype(np.float32)) > (high - low) / STEPS
    if not varies.any() or np.any(varies & ~lost):
        return
    place = int(np.argmax(varies))
    raise RequestError(
        f"The {name} differ by {high[place] - low[place]:.3g} around {low[place]:.6g}, which "
        f"single precision does not resolve; {instead}, or run with JAX_ENABLE_X64=1."
    )


def near_zero(
    values: Float[np.ndarray, " T"], like: Float[np.ndarray, " _"]
) -> Float[np.ndarray, " T"]:
    """Values minus the mean of a part of them, if the mean is large relative to the spread."""
    mean = float(np.mean(like))
    return values - mean if abs(mean) > FAR * float(np.ptp(like)) else values
