"""Parameters whose response to a change depends on their state and on its sign."""

from typing import Annotated, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field, model_validator

from dither.devices.imperfections.imperfection import AbstractImperfection, Blueprint, Write


class NonlinearUpdate(AbstractImperfection):
    """Distort every requested change: soft bounds, with different responses up and down.

    ```
    Δ = requested value − previous requested value      at every write, perturbed or not
    u = (2 g − low − high) / (high − low)                       position in the range, −1 to 1
    up:    g ← g + (1 + asymmetry) (1 − nonlinearity u) Δ
    down:  g ← g + (1 − asymmetry) (1 + nonlinearity u) Δ       and g is clipped to [low, high]
    ```

    The true value g is not read back: it deviates from the requested value, and only the cost shows
    it. Perturbations are changes like any others, and each leaves a small residue. A new instance
    starts at 0, or at the nearest bound.

    Arguments: `nonlinearity`, 0 (linear) to 1 (no response at the bounds); `asymmetry`, −1 to 1;
    `low` < `high`, in units of the parameters.
    Source: the soft-bounds model of resistive devices; with nonlinearity 1 and symmetric bounds
    `Δg = Δ (1 − g/g_max)`. Recalled.
    """

    kind: Literal["nonlinear-update"] = "nonlinear-update"
    nonlinearity: Annotated[float, Field(ge=0, le=1)] = 1.0
    asymmetry: Annotated[float, Field(ge=-1, le=1, examples=[0.1])] = 0.0
    low: Annotated[float, Field(examples=[-3.0])]
    high: Annotated[float, Field(examples=[4.0])]

    @model_validator(mode="after")
    def _ordered(self) -> "NonlinearUpdate":
        if self.low >= self.high:
            raise ValueError(f"a nonlinear update needs low < high, not {self.low} and {self.high}")
        return self

    def fabricate(self, key: Key[Array, ""], blueprint: Blueprint) -> Float[Array, " P"]:
        """The deviation of each parameter from its requested value, initially 0."""
        del key
        return jnp.full(blueprint.size, min(max(0.0, self.low), self.high))

    def written(
        self, instance: Float[Array, " P"], key: Key[Array, ""], write: Write
    ) -> Float[Array, " P"]:
        del key
        delta = write.after - write.before
        u = (2 * (write.before + instance) - self.low - self.high) / (self.high - self.low)
        sign = jnp.sign(delta)
        response = (1 + sign * self.asymmetry) * (1 - sign * self.nonlinearity * u)
        off = instance + (response - 1) * delta
        reached = write.after + off
        within = jnp.clip(reached, self.low, self.high)
        return jnp.where(within == reached, off, within - write.after)

    def parameters(
        self, instance: Float[Array, " P"], theta: Float[Array, " P"]
    ) -> Float[Array, " P"]:
        return theta + instance
