"""The extent of a lab's object, without JAX: named arrays, their bounds, their levels."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dither._errors import RequestError
from dither._numbers import whole_number

MOST_BITS = 24
"""The maximum number of bits that single precision resolves."""

ROUNDING = 1e-6
"""The relative rounding error of single precision."""

FAR_START = 100.0
"""Unbounded parameters with a start further from 0 are counted from their start."""

FAR = 10.0
"""Parameters are counted from the lower bound if it is this many widths away from 0."""


@dataclass(frozen=True)
class Extent:
    """The programmable parameters.

    Attributes: `shapes` of the named arrays of parameters; `limits`, the bounds of each array;
    `levels` of each array, 0 for continuous.
    """

    shapes: dict[str, tuple[int, ...]]
    limits: dict[str, tuple[float, float]]
    levels: dict[str, int]

    @cached_property
    def size(self) -> int:
        """P, the number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @cached_property
    def places(self) -> dict[str, slice]:
        """The slice of each array in the flat vector of parameters."""
        ends = np.cumsum([0, *(math.prod(shape) for shape in self.shapes.values())]).tolist()
        return {name: slice(*pair) for name, pair in zip(self.shapes, pairwise(ends))}

    @cached_property
    def low(self) -> float | Float[np.ndarray, " P"]:
        """The lower bound: one number for all parameters, or one for each."""
        return self._spread(0)

    @cached_property
    def high(self) -> float | Float[np.ndarray, " P"]:
        """The upper bound: one number for all parameters, or one for each."""
        return self._spread(1)

    @cached_property
    def bounded(self) -> bool:
        """Whether any parameter has a bound."""
        return bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())

    @cached_property
    def origin(self) -> float | Float[np.ndarray, " P"]:
        """The offset that is subtracted before the conversion to single precision.

        It is the lower bound of parameters far from 0, such as the wavelength of a laser, else 0.
        """
        return self._each({name: self.origin_of(name) for name in self.shapes})

    def origin_of(self, name: str) -> float:
        """The origin of an array."""
        low, high = self.limits[name]
        return low if FAR * (high - low) < max(abs(low), abs(high)) < math.inf else 0.0

    def origin_from(self, start: Float[np.ndarray, " P"] | None) -> float | Float[np.ndarray, " P"]:
        """The origin; for unbounded parameters that start far from 0, their start."""
        if start is None or not any(np.isinf(pair).all() for pair in self.limits.values()):
            return self.origin
        origin = np.array(np.broadcast_to(self.origin, start.shape))
        for name, place in self.places.items():
            if np.isinf(self.limits[name]).all() and np.abs(start[place]).max() > FAR_START:
                origin[place] = start[place]
        return origin if origin.any() else 0.0

    def check_start(self, device: str, start: Float[np.ndarray, " P"]) -> None:
        """Check that a device's start lies within the bounds. Errors: `RequestError`."""
        low, high = (np.broadcast_to(bound, start.size) for bound in (self.low, self.high))
        # in single precision the bounds are off by a rounding error
        slack = ROUNDING * np.maximum(np.abs(start), 1e-30)
        outside = (start < low - slack) | (start > high + slack)
        if outside.any():
            place = int(np.argmax(outside))
            raise RequestError(
                f"The device {device} starts with parameter {place} at {start[place]:g}, outside "
                f"its bounds {low[place]:g} to {high[place]:g}; start inside or widen them."
            )

    def _spread(self, side: int) -> float | Float[np.ndarray, " P"]:
        if len(set(self.limits.values())) == 1:
            return next(iter(self.limits.values()))[side]
        return self._each({name: pair[side] for name, pair in self.limits.items()})

    def _each(self, values: Mapping[str, float]) -> float | Float[np.ndarray, " P"]:
        """A value for each array as one for each parameter, or one for all."""
        if len(set(values.values())) == 1:
            return next(iter(values.values()))
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        return np.repeat(list(values.values()), sizes)

    def bounds_at(self, places: Int[np.ndarray, "..."]) -> tuple[np.ndarray, np.ndarray]:
        """The lower and the upper bounds of the parameters at some places."""
        low, high = (np.broadcast_to(bound, self.size)[places] for bound in (self.low, self.high))
        return low, high


def split(
    theta: Float[np.ndarray, " P"], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Float[np.ndarray, "..."]]:
    """The flat vector as named arrays."""
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    parts = np.split(theta, ends[:-1])
    return {name: part.reshape(shape) for part, (name, shape) in zip(parts, shapes.items())}


def extent_of(name: str, shapes: Any, bounds: Any, levels: Any) -> Extent:
    """The extent of a device from its attributes `parameters`, `bounds` and `levels`.

    Errors: `RequestError` for a missing or invalid value.
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
    try:
        counts = levels if isinstance(levels, Mapping) else dict.fromkeys(table, levels)
        grids = {key: int(counts[key]) for key in table}
    except (TypeError, ValueError, KeyError):
        raise RequestError(
            f"The device {name} has levels {_shown(levels)}; give a number, or one for each name."
        ) from None
    if not table or any(min(shape, default=1) < 1 for shape in table.values()):
        raise RequestError(f"The device {name} has no parameters; give at least one.")
    for key, (low, high) in limits.items():
        if not low < high:
            raise RequestError(f"The device {name} must have low < high, not {low} and {high}.")
        if grids[key] and not math.isfinite(high - low):
            raise RequestError(
                f"The device {name} has {grids[key]} levels but no bounds; give both."
            )
    return Extent(table, limits, grids)


def levels_of(name: str, bits: Any, levels: Any) -> int | Mapping[str, int]:
    """The number of levels of a device's parameter, 0 for continuous.

    Arguments: the name; `bits` of its DACs or `levels`, one number or one for each name, None if
    not given.
    Errors: `RequestError` for a value that is not a valid whole number.
    """
    if bits is not None and bits != 0:
        return int(2 ** whole_number(bits, f"The device {name}: bits", 1, MOST_BITS))
    if isinstance(levels, Mapping):
        return {key: _count(name, each) for key, each in levels.items()}
    return _count(name, levels)


def _count(name: str, levels: Any) -> int:
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
