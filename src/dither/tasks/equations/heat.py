"""The heat equation."""

from typing import Annotated, ClassVar, Literal

import numpy as np
from jaxtyping import Array, Float
from pydantic import Field

from dither.tasks.equations.equation import AbstractEquation, Face
from dither.tasks.stencils import Derivatives


class Heat(AbstractEquation):
    """`∂u/∂t = alpha ∂²u/∂x²` on x in [−1, 1], t in [0, 1].

    ```
    u(x, 0) = sin(π frequency x),   u(±1, t) = 0,   u* = e^{−alpha (π frequency)² t} u(x, 0)
    ```

    Arguments: `alpha` > 0, the diffusivity; `frequency`, half periods per unit length, a whole
    number ≥ 1.
    """

    kind: Literal["heat"] = "heat"
    alpha: Annotated[float, Field(gt=0)] = 0.1
    frequency: Annotated[int, Field(ge=1)] = 1

    faces: ClassVar[tuple[Face, ...]] = ((1, 0), (0, 0), (1, 0), (0, 1))

    @property
    def domain(self) -> tuple[tuple[float, float], ...]:
        return ((-1.0, 1.0), (0.0, 1.0))

    def residual(self, u: Derivatives, source: Float[Array, " n"]) -> Float[Array, " n"]:
        (_, u_t), (u_xx, _) = u.first, u.second
        return u_t - self.alpha * u_xx - source

    def solution(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        k = np.pi * self.frequency
        return np.exp(-self.alpha * k**2 * x[:, 1]) * np.sin(k * x[:, 0])
