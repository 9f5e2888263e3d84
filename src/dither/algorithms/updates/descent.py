"""The plain update."""

from typing import Any, Literal

from jaxtyping import Array, Float

from dither.algorithms.updates.update import AbstractUpdate, Descend


class Descent(AbstractUpdate):
    """Measure at θ, and step down the estimate from there: `θ ← θ − eta G` or an Optax update."""

    kind: Literal["descent"] = "descent"

    def init(self, theta: Float[Array, " P"]) -> tuple[()]:
        del theta
        return ()

    def point(self, memory: tuple[()], theta: Float[Array, " P"]) -> Float[Array, " P"]:
        del memory
        return theta

    def step(
        self,
        memory: tuple[()],
        theta: Float[Array, " P"],
        direction: Float[Array, " P"],
        optimizer: Any,
        descend: Descend,
    ) -> tuple[Float[Array, " P"], Any, tuple[()]]:
        return *descend(theta, direction, optimizer), memory
