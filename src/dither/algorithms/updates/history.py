"""Averages of the last estimates."""

from typing import Annotated, Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from pydantic import Field

from dither.algorithms.updates.update import AbstractUpdateAtTheta, Descend
from dither.contract import Problem


class Queue(eqx.Module):
    """The last estimates, the newest first, and their number."""

    estimates: Float[Array, "l P"]
    come: Int[Array, ""]

    @staticmethod
    def empty(length: int, theta: Float[Array, " P"]) -> "Queue":
        """An empty queue."""
        return Queue(jnp.zeros((length, theta.size), theta.dtype), jnp.int32(0))

    def after(self, estimate: Float[Array, " P"]) -> "Queue":
        """The queue with one more estimate, without the oldest."""
        return Queue(jnp.concatenate([estimate[None], self.estimates[:-1]]), self.come + 1)


class History(AbstractUpdateAtTheta):
    """Step by the mean of the last estimates: `θ ← θ − eta (G_t + … + G_{t−l+1}) / l`.

    The first steps use the mean of the available estimates.

    Arguments: `length`, l ≥ 1; 1 is plain descent.

    Source: the memory of past gradients of 2412.11777, which feeds networks there (`fast-slow`);
    equal weights recalled, not verified.
    """

    kind: Literal["history"] = "history"
    descends: ClassVar[bool] = False
    length: Annotated[int, Field(ge=1)] = 5

    def init(self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem) -> Queue:
        del key, problem
        return Queue.empty(self.length, theta)

    def step(
        self,
        memory: Queue,
        theta: Float[Array, " P"],
        direction: Float[Array, " P"],
        optimizer: Any,
        descend: Descend,
    ) -> tuple[Float[Array, " P"], Any, Queue]:
        queue = memory.after(direction)
        mean = jnp.sum(queue.estimates, axis=0) / jnp.minimum(queue.come, self.length)
        return *descend(theta, mean, optimizer), queue
