"""Burgers' equation."""

from typing import Annotated, ClassVar, Literal

import numpy as np
from jaxtyping import Array, Float
from pydantic import Field

from dither.tasks.equations.equation import AbstractEquation, Face
from dither.tasks.stencils import Derivatives

NODES = 200
"""The nodes of the quadrature for the exact solution."""


class Burgers(AbstractEquation):
    """`∂u/∂t + u ∂u/∂x = nu ∂²u/∂x²` on x in [−1, 1], t in [0, 1].

    ```
    u(x, 0) = −sin πx,   u(±1, t) = 0
    u* = −∫ sin(πy) F(y) K(x − y) dy / ∫ F(y) K(x − y) dy
    F(y) = e^{−cos(πy) / 2π nu},   K(z) = e^{−z² / 4 nu t}        (Cole–Hopf)
    ```

    Arguments: `nu`, the viscosity, 0.003 to 10; at 0.01/π a steep front forms at x = 0.

    Source: Basdevant et al. (1986), the integral by Gauss–Hermite quadrature.
    """

    kind: Literal["burgers"] = "burgers"
    nu: Annotated[float, Field(ge=0.003, le=10)] = 0.05

    faces: ClassVar[tuple[Face, ...]] = ((1, 0), (0, 0), (1, 0), (0, 1))

    @property
    def domain(self) -> tuple[tuple[float, float], ...]:
        return ((-1.0, 1.0), (0.0, 1.0))

    def residual(self, u: Derivatives, source: Float[Array, " n"]) -> Float[Array, " n"]:
        (u_x, u_t), (u_xx, _) = u.first, u.second
        return u_t + u.u * u_x - self.nu * u_xx - source

    def solution(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        z, w = np.polynomial.hermite.hermgauss(NODES)
        y = x[:, :1] - np.sqrt(4 * self.nu * x[:, 1:]) * z
        power = -np.cos(np.pi * y) / (2 * np.pi * self.nu)
        weights = w * np.exp(power - power.max(axis=1, keepdims=True))
        u: Float[np.ndarray, ...] = -np.average(np.sin(np.pi * y), axis=1, weights=weights)
        return u
