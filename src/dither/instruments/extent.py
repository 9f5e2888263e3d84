"""The extent of a lab's object, without JAX: named arrays, their bounds, their levels."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dither._errors import RequestError
from dither._whole import whole_number

MOST_BITS = 24
"""The most that single precision tells apart."""


@dataclass(frozen=True)
class Extent:
    """What can be programmed.

    Attributes: `shapes` of the named arrays of parameters; `limits`, the bounds of each array;
    `levels`, 0 for continuous.
    """

    shapes: dict[str, tuple[int, ...]]
    limits: dict[str, tuple[float, float]]
    levels: int

    @cached_property
    def size(self) -> int:
        """P, the number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @cached_property
    def low(self) -> float | Float[np.ndarray, " P"]:
        """The lower bound, one number for all parameters or one for each."""
        return self._spread(0)

    @cached_property
    def high(self) -> float | Float[np.ndarray, " P"]:
        """The upper bound, one number for all parameters or one for each."""
        return self._spread(1)

    def _spread(self, side: int) -> float | Float[np.ndarray, " P"]:
        bounds = [pair[side] for pair in self.limits.values()]
        if len(set(self.limits.values())) == 1:
            return bounds[0]
        return np.repeat(bounds, [math.prod(shape) for shape in self.shapes.values()])

    def bounds_at(self, places: Int[np.ndarray, "..."]) -> tuple[np.ndarray, np.ndarray]:
        """The lower and the upper bounds of the parameters at some places."""
        low, high = (np.broadcast_to(bound, self.size)[places] for bound in (self.low, self.high))
        return low, high


def split(
    theta: Float[np.ndarray, " P"], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Float[np.ndarray, "..."]]:
    """All parameters as named arrays of some shapes."""
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    parts = np.split(theta, ends[:-1])
    return {name: part.reshape(shape) for part, (name, shape) in zip(parts, shapes.items())}


def extent_of(name: str, shapes: Any, bounds: Any, levels: int) -> Extent:
    """The extent of the device of a name, from what it says: `parameters` and `bounds`.

    Errors: `RequestError` for what is missing or cannot be.
    """
    if shapes is None:
        raise RequestError(
            f"The device {name} does not say how many parameters it has; give it an attribute "
            "`parameters`."
        )
    if isinstance(shapes, int | np.integer):
        shapes = {"theta": (int(shapes),)}
    try:
        table = {str(key): tuple(int(n) for n in shape) for key, shape in shapes.items()}
        pairs = bounds if isinstance(bounds, Mapping) else dict.fromkeys(table, bounds)
        limits = {key: _pair(pairs[key]) for key in table}
    except (TypeError, ValueError, AttributeError, KeyError):
        raise RequestError(
            f"The device {name} has parameters {_shown(shapes)} and bounds {_shown(bounds)}; give "
            "an integer or a table of names and shapes, and a pair (low, high) or one for each "
            "name."
        ) from None
    if not table or any(min(shape, default=1) < 1 for shape in table.values()):
        raise RequestError(f"The device {name} has no parameters; give at least one.")
    for low, high in limits.values():
        if not low < high:
            raise RequestError(f"The device {name} must have low < high, not {low} and {high}.")
        if levels and not math.isfinite(high - low):
            raise RequestError(f"The device {name} has {levels} levels but no bounds; give both.")
    return Extent(table, limits, levels)


def levels_of(name: str, bits: Any, levels: Any) -> int:
    """How many settings a parameter of the device of a name has, 0 for continuous.

    Arguments: the name; `bits` of its DACs or `levels`, None where it does not say.
    Errors: `RequestError` for what is no whole number or cannot be.
    """
    if bits is not None and bits != 0:
        return int(2 ** whole_number(bits, f"The device {name}: bits", 1, MOST_BITS))
    if levels is None or levels == 0:
        return 0
    return whole_number(levels, f"The device {name}: levels", 2, 2**MOST_BITS)


def _shown(value: Any) -> str:
    """A value in one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:79]}…"


def _pair(bounds: Any) -> tuple[float, float]:
    low, high = (-math.inf, math.inf) if bounds is None else map(float, bounds)
    return low, high
