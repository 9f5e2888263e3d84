"""Poisson's equation."""

from abc import ABC
from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
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

    The residual is in units of (π frequency)², the size of f by that of u.

    Arguments: `frequency` > 0, half periods in a unit of length; `width` > 0 of the wave packet,
    None for a wave over the whole domain.
    """

    frequency: Annotated[float, Field(gt=0)] = 4.0
    width: Annotated[float, Field(gt=0)] | None = None

    def residual(self, u: Derivatives, source: Float[Array, " n"]) -> Float[Array, " n"]:
        return (sum(u.second) - source) / (np.pi * self.frequency) ** 2

    def _at(self, x: Float[Array, " d"]) -> Float[Array, ""]:
        wave = jnp.prod(jnp.sin(np.pi * (self.frequency * x + 0.25)))
        return wave if self.width is None else wave * jnp.exp(-jnp.sum(x**2) / 2 / self.width**2)

    def solution(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        with jax.enable_x64(True):
            return np.asarray(jax.vmap(self._at)(jnp.asarray(x)))

    def source(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        with jax.enable_x64(True):
            return np.asarray(jax.vmap(lambda x: jnp.trace(jax.hessian(self._at)(x)))(x))


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
