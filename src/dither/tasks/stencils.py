"""Derivatives of a device's output with respect to its inputs, from forward passes alone."""

import math
from abc import abstractmethod
from itertools import product
from typing import Annotated, Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Float
from pydantic import Field

from dither._configuration import Configuration, Registry


class Stencil(NamedTuple):
    """The measured points around a point, and their weights in derivatives.

    ```
    ∂u/∂x_i ≈ Σ_s first_is u(x + offset_s),   ∂²u/∂x_i² ≈ Σ_s second_is u(x + offset_s)
    ```

    The first of the m offsets is 0.
    """

    offsets: Float[np.ndarray, "m d"]
    first: Float[np.ndarray, "d m"]
    second: Float[np.ndarray, "d m"]


class Derivatives(NamedTuple):
    """u at n points, its first and its unmixed second derivatives by axis."""

    u: Float[Array, " n"]
    first: list[Float[Array, " n"]]
    second: list[Float[Array, " n"]]


def derivatives(stencil: Stencil, u: Float[Array, "n m"]) -> Derivatives:
    """The derivatives at n points from the outputs at their stencils.

    The output at the point itself is subtracted first: the weights of derivatives sum to 0, and the
    differences preserve the digits of single precision.
    """
    change = u - u[:, :1]

    def along(weights: Float[np.ndarray, "d m"]) -> list[Float[Array, " n"]]:
        return [change @ row.astype(u.dtype) for row in weights]

    return Derivatives(u[:, 0], along(stencil.first), along(stencil.second))


class AbstractStencil(Configuration):
    """A method for derivatives."""

    kind: str

    @abstractmethod
    def points(self, d: int) -> Stencil:
        """The stencil in d inputs."""


class CentralDifferences(AbstractStencil):
    """`∂u ≈ (u₊ − u₋) / 2h`, `∂²u ≈ (u₊ − 2u + u₋) / h²` along each axis: m = 1 + 2d.

    The error is O(h²). Output noise σ becomes √6 σ/h² in a second derivative; single precision acts
    as noise of 6e-8 |u|.

    Arguments: `h` > 0, in the units of the inputs.
    """

    kind: Literal["central-differences"] = "central-differences"
    h: Annotated[float, Field(gt=0)] = 0.02

    def points(self, d: int) -> Stencil:
        eye, h = np.eye(d), self.h
        first = np.hstack([np.zeros((d, 1)), eye, -eye])
        second = np.hstack([np.full((d, 1), -2.0), eye, eye])
        return Stencil(h * np.vstack([np.zeros((1, d)), eye, -eye]), first / (2 * h), second / h**2)


class Stein(AbstractStencil):
    """Derivatives of u smoothed by a Gaussian, `u_σ(x) = E u(x + δ)`, δ ~ N(0, σ² I).

    ```
    ∂_i u_σ = E[δ_i u(x + δ)] / σ²,   ∂_i² u_σ = E[(δ_i² − σ²) u(x + δ)] / σ⁴
    ```

    The expectations are taken on a sparse Gauss–Hermite grid (Smolyak), whose axes have 1, 3, 5, …
    nodes: level 3 needs 5 points for one input and 17 for two. The error in the derivatives of u
    itself is O(σ²); for a linear equation with constant coefficients, which u_σ solves like u, it
    is only that of the grid.

    Arguments: `sigma` > 0, in the units of the inputs; `level`, 3 or 4; below 3 the grid is not
    exact for second derivatives.

    Source: Stein's identity as in He et al., 2202.09340; on sparse grids, Zhao et al., 2308.09858.
    """

    kind: Literal["stein"] = "stein"
    sigma: Annotated[float, Field(gt=0)] = 0.02
    level: Annotated[int, Field(ge=3, le=4)] = 3

    def points(self, d: int) -> Stencil:
        weights = _sparse_grid(d, self.level)
        nodes = np.array(sorted(weights, key=np.linalg.norm))
        w = np.array([weights[tuple(node)] for node in nodes])
        first, second = (w * nodes.T) / self.sigma, w * (nodes.T**2 - 1) / self.sigma**2
        return Stencil(self.sigma * nodes, first, second)


def _sparse_grid(d: int, level: int) -> dict[tuple[float, ...], float]:
    """Nodes and weights for E f(z), z ~ N(0, I), by Smolyak's combination of Gauss–Hermite rules.

    `A = Σ_{l ≤ |k| ≤ l+d−1} (−1)^{l+d−1−|k|} C(d−1, |k|−l) U_{k_1} ⊗ … ⊗ U_{k_d}`
    """
    grid: dict[tuple[float, ...], float] = {}
    for ks in product(range(1, level + 1), repeat=d):
        above = sum(ks) - level
        if not 0 <= above <= d - 1:
            continue
        sign = (-1) ** (d - 1 - above) * math.comb(d - 1, above)
        rules = [np.polynomial.hermite_e.hermegauss(2 * k - 1) for k in ks]
        for at in product(*(range(2 * k - 1) for k in ks)):
            node = tuple(round(float(x[i]), 12) + 0.0 for (x, _), i in zip(rules, at))
            weight = math.prod(float(w[i] / w.sum()) for (_, w), i in zip(rules, at))
            grid[node] = grid.get(node, 0.0) + sign * weight
    return grid


STENCILS = Registry("stencil", AbstractStencil, globals().values())
"""The methods for derivatives that a specification can select, by their kind."""

AnyStencil = Annotated[AbstractStencil, STENCILS]
"""A stencil: an instance, a table with its `kind`, or the kind alone."""
