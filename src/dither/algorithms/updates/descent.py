"""The plain update."""

from typing import Any, Literal

from jaxtyping import Array, Float, Key

from dither.algorithms.updates.update import AbstractUpdateAtTheta, Descend
from dither.contract import Problem


class Descent(AbstractUpdateAtTheta):
    """Measure at θ, and step along the negative estimate: `θ ← θ − eta G` or an Optax update."""

    kind: Literal["descent"] = "descent"

    def init(self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem) -> tuple[()]:
        del key, theta, problem
        return ()

    def step(
        self,
        memory: tuple[()],
        theta: Float[Array, " P"],
        direction: Float[Array, " P"],
        optimizer: Any,
        descend: Descend,
    ) -> tuple[Float[Array, " P"], Any, tuple[()]]:
        return *descend(theta, direction, optimizer), memory
