"""The parameters of a device, with their bounds and grids."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dither._errors import RequestError


@dataclass(frozen=True)
class Parameter:
    """One array of parameters: its shape, its bounds, and how finely it can be set.

    Arguments: `name`; `shape`; `low`, `high`, the bounds, in the device's units; `levels`, the
    number of values from low to high that can be set: 0 for continuous, 2ᵇ for a b-bit DAC, 2 for
    Boolean, 3 for ternary.
    """

    name: str
    shape: tuple[int, ...]
    low: float = -math.inf
    high: float = math.inf
    levels: int = 0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise RequestError(
                f"The bounds of parameter '{self.name}' need low < high, not {self.low} and "
                f"{self.high}."
            )
        if self.levels and not math.isfinite(self.high - self.low):
            raise RequestError(
                f"Parameter '{self.name}' has {self.levels} levels but no bounds; give both bounds."
            )

    @property
    def size(self) -> int:
        """How many numbers the array holds."""
        return math.prod(self.shape)

    @property
    def step(self) -> float:
        """The distance of neighbouring levels, 0 for continuous."""
        return (self.high - self.low) / (self.levels - 1) if self.levels else 0.0

    def __str__(self) -> str:
        """A description for use in a sentence."""
        levels = f" with {self.levels} levels" if self.levels else ""
        return f"'{self.name}' of shape {self.shape} from {self.low:g} to {self.high:g}{levels}"

    def within(self, low: float, high: float) -> "Parameter":
        """The parameter with narrower bounds; of its levels, those inside."""
        low, high = max(low, self.low), min(high, self.high)
        if not self.levels:
            return Parameter(self.name, self.shape, low, high)
        # the tolerance keeps a level that equals a bound
        first = math.ceil((low - self.low) / self.step - 1e-6)
        last = math.floor((high - self.low) / self.step + 1e-6)
        low, high = self.low + first * self.step, self.low + last * self.step
        return Parameter(self.name, self.shape, low, high, last - first + 1)


@dataclass(frozen=True)
class Space:
    """A device's parameter space: named arrays, which algorithms see as one flat vector of P.

    The flat vector holds the arrays in order, each in row-major order.
    """

    parameters: tuple[Parameter, ...]

    @cached_property
    def size(self) -> int:
        """P, the number of parameters."""
        return sum(parameter.size for parameter in self.parameters)

    @cached_property
    def low(self) -> float | np.ndarray:
        """The lower bounds: one number if common to all, else P of them."""
        return self._spread([parameter.low for parameter in self.parameters])

    @cached_property
    def high(self) -> float | np.ndarray:
        """The upper bounds: one number if common to all, else P of them."""
        return self._spread([parameter.high for parameter in self.parameters])

    @cached_property
    def step(self) -> float | np.ndarray:
        """The DAC steps, 0 for continuous: one number if common to all, else P of them."""
        return self._spread([parameter.step for parameter in self.parameters])

    def unlike(self, other: "Space") -> str | None:
        """How another space differs, as half a sentence; None if it is the same."""
        for mine, theirs in zip_longest(self.parameters, other.parameters):
            if mine is None:
                return f"has the further parameters {theirs}"
            if theirs is None:
                return f"lacks the parameters {mine} of device 0"
            if mine != theirs:
                return f"has the parameters {theirs}, but device 0 has {mine}"
        return None

    def _spread(self, values: list[float]) -> float | np.ndarray:
        if len(set(values)) == 1:
            return values[0]
        sizes = [parameter.size for parameter in self.parameters]
        return np.repeat(np.asarray(values), sizes).astype(jnp.result_type(float))

    def snap(self, theta: Float[Array | np.ndarray, " P"]) -> Float[Array, " P"]:
        """The nearest theta that can be written: inside the bounds, on the DAC grid."""
        theta = jnp.asarray(theta)
        low, high, step = self.low, self.high, self.step
        if np.any(np.asarray(step) > 0):
            origin = np.where(np.isfinite(low), low, 0.0).astype(theta.dtype)
            pace = np.where(np.asarray(step) > 0, step, 1.0).astype(theta.dtype)
            on_grid = origin + jnp.round((theta - origin) / pace) * pace
            theta = jnp.where(np.asarray(step) > 0, on_grid, theta)
        return self._clip(theta, low, high)

    def amplitude(self, delta: float | Float[Array, "*P"]) -> Float[Array, "..."]:
        """A perturbation amplitude as the DAC can write it: whole steps, at least one."""
        step = np.asarray(self.step)
        pace = np.where(step > 0, step, 1.0)
        steps = jnp.maximum(1.0, jnp.round(jnp.asarray(delta) / pace)) * pace
        return jnp.where(step > 0, steps, delta).astype(jnp.result_type(float))

    def confine(self, theta: Float[Array, " P"], reach: Float[Array, "..."]) -> Float[Array, " P"]:
        """Theta kept `reach` away from the bounds, so that theta ± reach stays inside them."""
        step = np.asarray(self.step)
        pace = np.where(step > 0, step, 1.0)
        # the tolerance keeps a reach of whole steps from being rounded up by one more
        steps = jnp.where(step > 0, jnp.ceil(reach / pace - 1e-4) * pace, reach)
        # where the bounds leave less room than that, theta stays in the middle
        half = 0.5 * (np.asarray(self.high) - np.asarray(self.low))
        inset = jnp.minimum(steps, half)
        return self._clip(theta, self.low + inset, self.high - inset)

    def _clip(
        self,
        theta: Float[Array, " P"],
        low: "float | np.ndarray | Float[Array, '...']",
        high: "float | np.ndarray | Float[Array, '...']",
    ) -> Float[Array, " P"]:
        if not np.any(np.isfinite(self.low)) and not np.any(np.isfinite(self.high)):
            return theta
        return jnp.clip(theta, low, high).astype(theta.dtype)

    def ravel(self, arrays: Mapping[str, Array]) -> Float[Array, " P"]:
        """Named arrays as one flat vector."""
        return jnp.concatenate([jnp.ravel(arrays[p.name]) for p in self.parameters])

    def unravel(self, theta: Float[Array, " P"]) -> dict[str, Array]:
        """The flat vector as named arrays."""
        arrays, start = {}, 0
        for parameter in self.parameters:
            stop = start + parameter.size
            arrays[parameter.name] = theta[start:stop].reshape(parameter.shape)
            start = stop
        return arrays
