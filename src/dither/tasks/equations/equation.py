"""The base class of differential equations as tasks."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from pydantic import Field

from dither._errors import RequestError
from dither.tasks.samplers import AnySampler, Uniform
from dither.tasks.scores import RELATIVE, RelativeError
from dither.tasks.stencils import AnyStencil, CentralDifferences, Derivatives, derivatives
from dither.tasks.task import AbstractTask, BatchSize, Task

Face: TypeAlias = tuple[int, Literal[0, 1]]
"""A face of the domain: the axis that it is normal to, and its lower (0) or upper (1) end."""

GOLDEN = 0.5 * (np.sqrt(5) - 1)


class AbstractEquation(AbstractTask):
    """The residual and boundary terms of a differential equation, from forward passes alone.

    ```
    C = 1/n Σ_j [ r(x_j)² + boundary (u(b_j) − g(b_j))² ]
    ```

    u is the device's single output, x_j a collocation point of a grid, and b_j its boundary point;
    initial values count as boundary values. r is in the equation's own unit. A measurement of n
    points is a batch of n (m + 1) samples, m forward passes around each point and one on the
    boundary, and is counted as such. The score is 1 − |u − u*| / |u*|, with the solution u* on
    another grid.

    Arguments: `points`, along each axis; `batch`, n, or `all`; `boundary` ≥ 0, the weight of the
    boundary terms; `derivatives`, the method for derivatives; `sampler`, which selects the points
    of a batch.
    """

    points: Annotated[int, Field(ge=2, le=4096)] = 32
    batch: BatchSize = 32
    boundary: Annotated[float, Field(ge=0)] = 1.0
    derivatives: AnyStencil = CentralDifferences()
    sampler: AnySampler = Uniform()

    order: ClassVar[int] = 2
    """The order of the equation."""
    faces: ClassVar[tuple[Face, ...]]
    """The faces with given values."""

    @property
    @abstractmethod
    def domain(self) -> tuple[tuple[float, float], ...]:
        """The lower and upper end of each input."""

    @abstractmethod
    def residual(self, u: Derivatives, source: Float[Array, " n"]) -> Float[Array, " n"]:
        """r, from u and its derivatives, and the source at the points."""

    @abstractmethod
    def solution(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """u*, in double precision."""

    def source(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """The source at points; by default none."""
        return np.zeros(len(x))

    def load(self) -> Task:
        d, cost = len(self.domain), Residual(self)
        inside, tests = (_grid(self.domain, n) for n in (self.points, self.points + 1))
        n = len(inside) if self.batch == "all" else self.batch
        if n > len(inside):
            raise RequestError(
                f"A batch of {n} points is larger than the grid of {len(inside)} points; "
                "decrease task.batch "
                "or increase task.points."
            )
        dtype = jnp.result_type(float)
        (x, t), (x2, t2) = self._groups(inside), self._groups(tests)
        return Task(
            inputs=jnp.asarray(x, dtype),
            targets=jnp.asarray(t, dtype),
            test_inputs=jnp.asarray(x2, dtype),
            test_targets=jnp.asarray(t2, dtype),
            batch=n * cost.group,
            cost=cost,
            score=RelativeError(cost.group),
            score_name=RELATIVE,
            sampler=self.sampler,
            group=cost.group,
            grid=(self.points,) * d,
            order=self.order,
        )

    def _groups(
        self, points: Float[np.ndarray, "n d"]
    ) -> tuple[Float[np.ndarray, "B d"], Float[np.ndarray, "B 2"]]:
        """Inputs: the stencil of each point and its boundary point. Targets: given values, and u*.

        The given values are the source at the point and the value on the boundary.
        """
        stencil, edge = self.derivatives.points(len(self.domain)), self._boundary(len(points))
        x = np.concatenate([points[:, None] + stencil.offsets, edge[:, None]], axis=1)
        given = np.zeros(x.shape[:2])
        given[:, 0], given[:, -1] = self.source(points), self.solution(edge)
        solved = np.repeat(self.solution(points), x.shape[1])
        return x.reshape(-1, x.shape[2]), np.stack([given.ravel(), solved], axis=1)

    def _boundary(self, n: int) -> Float[np.ndarray, "n d"]:
        """Points on the faces in turn, evenly distributed over each."""
        low, high = np.array(self.domain).T
        turn, face = np.divmod(np.arange(n), len(self.faces))
        along = (GOLDEN * (turn + 1)) % 1
        x: Float[np.ndarray, ...] = low + along[:, None] * (high - low)
        for number, (axis, end) in enumerate(self.faces):
            x[face == number, axis] = self.domain[axis][end]
        return x


@dataclass(frozen=True)
class Residual:
    """The cost of an equation: the squared residual and the boundary term of each point.

    The first sample of a group has the residual, the last the boundary term, each times the number
    of samples, so that the mean over all samples is the cost of the points.
    """

    equation: AbstractEquation

    @cached_property
    def group(self) -> int:
        """The samples per point."""
        return len(self.equation.derivatives.points(len(self.equation.domain)).offsets) + 1

    def __call__(
        self, outputs: Float[Array, "B 1"], targets: Float[Array, "B 2"]
    ) -> Float[Array, " B"]:
        stencil = self.equation.derivatives.points(len(self.equation.domain))
        u, given = outputs.reshape(-1, self.group), targets[:, 0].reshape(-1, self.group)
        r = self.equation.residual(derivatives(stencil, u[:, :-1]), given[:, 0])
        edge = self.equation.boundary * (u[:, -1] - given[:, -1]) ** 2
        costs = jnp.zeros_like(u).at[:, 0].set(r**2).at[:, -1].set(edge)
        return self.group * costs.ravel()


def _grid(domain: tuple[tuple[float, float], ...], n: int) -> Float[np.ndarray, "N d"]:
    """The midpoints of n cells along each axis."""
    axes = [low + (high - low) * (np.arange(n) + 0.5) / n for low, high in domain]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(domain))
