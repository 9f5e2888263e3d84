"""The convection equation."""

from typing import Annotated, ClassVar, Literal

import numpy as np
from jaxtyping import Array, Float
from pydantic import Field

from dither.tasks.equations.equation import AbstractEquation, Face
from dither.tasks.stencils import Derivatives


class Convection(AbstractEquation):
    """`∂u/∂t + beta ∂u/∂x = 0` on x in [0, 2π], t in [0, 1], stiff at large beta.

    ```
    u(x, 0) = sin x,   u(0, t) = −sin(beta t),   u* = sin(x − beta t)
    ```

    The residual is in units of 1 + beta. Source: Krishnapriyan et al., 2109.01050, with inflow
    values instead of periodic boundaries.

    Arguments: `beta` > 0, the speed; 30 is the difficult case of the paper.
    """

    kind: Literal["convection"] = "convection"
    beta: Annotated[float, Field(gt=0)] = 5.0

    order: ClassVar[int] = 1
    faces: ClassVar[tuple[Face, ...]] = ((1, 0), (0, 0))

    @property
    def domain(self) -> tuple[tuple[float, float], ...]:
        return ((0.0, 2 * np.pi), (0.0, 1.0))

    def residual(self, u: Derivatives, source: Float[Array, " n"]) -> Float[Array, " n"]:
        u_x, u_t = u.first
        return (u_t + self.beta * u_x - source) / (1 + self.beta)

    def solution(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        return np.sin(x[:, 0] - self.beta * x[:, 1])
