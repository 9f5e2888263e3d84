"""Extrapolation by the last estimate."""

from typing import Annotated, Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import Field

from dither.algorithms.updates.update import AbstractUpdate, Descend


class Extrapolated(AbstractUpdate):
    """Measure where the last estimate leads to, and step from θ.

    ```
    G_t measured at θ_t − gamma G_{t−1};   θ_{t+1} = θ_t − eta G_t  (or an Optax update)
    ```

    No measurement is added: the past estimate is at hand. At gamma = eta this is the optimistic
    form of the extragradient step.

    Arguments: `gamma` ≥ 0, the length of the extrapolation; at 0 it is plain descent.

    Source: Lin, Kong, Stich and Jaggi, *Extrapolation for large-batch training*, 2006.05720, the
    form that extrapolates by the past gradient.
    """

    kind: Literal["extrapolated"] = "extrapolated"
    gamma: Annotated[float, Field(ge=0, examples=[0.02])]

    def init(self, theta: Float[Array, " P"]) -> Float[Array, " P"]:
        return jnp.zeros_like(theta)

    def point(self, memory: Float[Array, " P"], theta: Float[Array, " P"]) -> Float[Array, " P"]:
        return theta - self.gamma * memory

    def step(
        self,
        memory: Float[Array, " P"],
        theta: Float[Array, " P"],
        direction: Float[Array, " P"],
        optimizer: Any,
        descend: Descend,
    ) -> tuple[Float[Array, " P"], Any, Float[Array, " P"]]:
        del memory
        return *descend(theta, direction, optimizer), direction
