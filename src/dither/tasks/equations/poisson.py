"""Poisson's equation."""

from abc import ABC
from typing import Annotated, ClassVar, Literal

import numpy as np
from jaxtyping import Array, Float
from pydantic import Field

from dither.tasks.equations.equation import AbstractEquation, Face
from dither.tasks.stencils import Derivatives


class AbstractPoisson(AbstractEquation, ABC):
    """`Δu = f` on [−1, 1]^d with the values of u* on the boundary.

    ```
    u*(x) = e^{−|x|² / 2 width²} Π_i sin(π frequency x_i + π/4),   f = Δu*
    ```

    The residual is in units of (π frequency)², the magnitude of f relative to u.

    Arguments: `frequency` > 0, half periods per unit length; `width` > 0 of the wave packet, None
    for a wave over the whole domain.
    """

    frequency: Annotated[float, Field(gt=0)] = 4.0
    width: Annotated[float, Field(gt=0)] | None = None

    def residual(self, u: Derivatives, source: Float[Array, " n"]) -> Float[Array, " n"]:
        return (sum(u.second) - source) / (np.pi * self.frequency) ** 2

    def solution(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        u: Float[np.ndarray, ...] = np.prod(self._packet(x)[0], axis=1)
        return u

    def source(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        (s, second), f = self._packet(x), np.zeros(len(x))
        for axis in range(x.shape[1]):
            f += second[:, axis] * np.prod(np.delete(s, axis, axis=1), axis=1)
        return f

    def _packet(self, x: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, "n d"], ...]:
        """The factors of u* along each axis, and their second derivatives."""
        k, a = np.pi * self.frequency, 0.0 if self.width is None else self.width**-2
        phase = k * x + np.pi / 4
        sine, cosine = (np.exp(-a * x**2 / 2) * wave(phase) for wave in (np.sin, np.cos))
        return sine, (a**2 * x**2 - a - k**2) * sine - 2 * a * k * x * cosine


class Poisson1D(AbstractPoisson):
    """`u″ = f` on [−1, 1]. See `AbstractPoisson`."""

    kind: Literal["poisson-1d"] = "poisson-1d"
    points: Annotated[int, Field(ge=2, le=4096)] = 256

    faces: ClassVar[tuple[Face, ...]] = ((0, 0), (0, 1))

    @property
    def domain(self) -> tuple[tuple[float, float], ...]:
        return ((-1.0, 1.0),)


class Poisson2D(AbstractPoisson):
    """`∂²u/∂x² + ∂²u/∂y² = f` on [−1, 1]². See `AbstractPoisson`."""

    kind: Literal["poisson-2d"] = "poisson-2d"

    faces: ClassVar[tuple[Face, ...]] = ((0, 0), (0, 1), (1, 0), (1, 1))

    @property
    def domain(self) -> tuple[tuple[float, float], ...]:
        return ((-1.0, 1.0), (-1.0, 1.0))
