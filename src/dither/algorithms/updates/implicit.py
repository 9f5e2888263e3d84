"""Implicit steps."""

from typing import Annotated, Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from pydantic import Field

from dither.algorithms.updates.update import AbstractUpdateAtTheta, Descend
from dither.contract import Problem


class Anchor(eqx.Module):
    """θ_t, the start of the implicit step, and the number of inner steps so far."""

    theta: Float[Array, " P"]
    made: Int[Array, ""]


class Implicit(AbstractUpdateAtTheta):
    """Step by the gradient at the end of the step: `θ_{t+1} = θ_t − λ g(θ_{t+1})`.

    θ_{t+1} is the minimum of `C(θ) + |θ − θ_t|² / 2λ`, approached from θ_t by the rule's optimiser
    at its rate eta. The second term is known and needs no measurements.

    ```
    R = G + (θ − θ_t) / λ,   θ ← θ − eta R  (or an Optax update)
    θ_t ← θ   after `inner` estimates, or once |R| ≤ tolerance |G|
    ```

    The inner steps converge for `eta (L + 1/λ) < 2`, L the largest curvature, for any λ. With inner
    = 1 the update is plain descent.

    Arguments: `prox_step`, λ > 0, in the units of eta; `inner`, K ≥ 1, the maximum number of
    estimates per step; `tolerance` ≥ 0; 0 uses all K.

    Source: *Implicit stochastic gradient descent for training physics-informed neural networks*,
    2303.01767, recalled, not verified; the stop rule is our own.
    """

    kind: Literal["implicit"] = "implicit"
    descends: ClassVar[bool] = False
    prox_step: Annotated[float, Field(gt=0, examples=[0.1])]
    inner: Annotated[int, Field(ge=1)] = 5
    tolerance: Annotated[float, Field(ge=0)] = 0.0

    def init(self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem) -> Anchor:
        del key, problem
        return Anchor(theta, jnp.int32(0))

    def step(
        self,
        memory: Anchor,
        theta: Float[Array, " P"],
        direction: Float[Array, " P"],
        optimizer: Any,
        descend: Descend,
    ) -> tuple[Float[Array, " P"], Any, Anchor]:
        R = direction + (theta - memory.theta) / self.prox_step
        theta, optimizer = descend(theta, R, optimizer)
        made = memory.made + 1
        near = jnp.linalg.norm(R) <= self.tolerance * jnp.linalg.norm(direction)
        done = (made >= self.inner) | near
        anchor = jnp.where(done, theta, memory.theta)
        return theta, optimizer, Anchor(anchor, jnp.where(done, 0, made))
