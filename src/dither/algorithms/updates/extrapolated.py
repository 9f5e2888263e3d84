"""Extrapolation: measure away from θ, and step from θ."""

from typing import Annotated, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key
from pydantic import Field

from dither.algorithms.updates.update import AbstractUpdate, Descend
from dither.contract import Problem


class Lookahead(eqx.Module):
    """The velocity V; ζ; whether the next estimate is made at θ − gamma ζ; the key of ζ."""

    velocity: Float[Array, " P"]
    zeta: Float[Array, " P"]
    ahead: Bool[Array, ""]
    key: Key[Array, ""]


class Extrapolated(AbstractUpdate):
    """Measure at an extrapolated point, and step from θ.

    ```
    G_t measured at θ_t − gamma ζ_t
    V_t = momentum V_{t−1} + G_t,   θ_{t+1} = θ_t − eta V_t  (or an Optax update)
    past    ζ_t = V_{t−1}           no extra measurements
    fresh   ζ_t measured at θ_t     on its own batch: twice the measurements
    noise   ζ_t ~ N(0, 1)           drawn for every parameter and step
    ```

    At gamma = eta without momentum, `past` is the optimistic form of the extragradient step, and
    `fresh` the extragradient step. At gamma = eta momentum, `past` is Nesterov's momentum. `noise`
    descends the cost smoothed by a Gaussian of width gamma.

    Arguments: `gamma` ≥ 0, the length of the extrapolation in units of eta, or of the parameters
    for `noise`; 0 is plain descent; `along`, the choice of ζ; `momentum` in [0, 1).

    Source: Lin, Kong, Stich and Jaggi, *Extrapolation for large-batch training*, 2006.05720; the
    position of the momentum recalled, not verified.
    """

    kind: Literal["extrapolated"] = "extrapolated"
    gamma: Annotated[float, Field(ge=0, examples=[0.02])]
    along: Literal["past", "fresh", "noise"] = "past"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def descends(self) -> bool:
        return self.along != "fresh" and self.momentum == 0

    @property
    def estimates(self) -> int:
        return 2 if self.along == "fresh" else 1

    def init(self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem) -> Lookahead:
        del problem
        none = jnp.zeros_like(theta)
        key, zeta = self._drawn(key, theta) if self.along == "noise" else (key, none)
        return Lookahead(none, zeta, jnp.asarray(self.along != "fresh"), key)

    def _drawn(
        self, key: Key[Array, ""], theta: Float[Array, " P"]
    ) -> tuple[Key[Array, ""], Float[Array, " P"]]:
        key, mine = jax.random.split(key)
        return key, jax.random.normal(mine, theta.shape, theta.dtype)

    def point(self, memory: Lookahead, theta: Float[Array, " P"]) -> Float[Array, " P"]:
        return theta - self.gamma * memory.zeta

    def step(
        self,
        memory: Lookahead,
        theta: Float[Array, " P"],
        direction: Float[Array, " P"],
        optimizer: Any,
        descend: Descend,
    ) -> tuple[Float[Array, " P"], Any, Lookahead]:
        def looked() -> tuple[Float[Array, " P"], Any, Lookahead]:
            ahead = Lookahead(memory.velocity, direction, ~memory.ahead, memory.key)
            return theta, optimizer, ahead

        def stepped() -> tuple[Float[Array, " P"], Any, Lookahead]:
            V, key, zeta = direction, memory.key, memory.zeta
            if self.momentum > 0:
                V = V + self.momentum * memory.velocity
            if self.along == "past":
                zeta = V
            elif self.along == "fresh":
                zeta = jnp.zeros_like(theta)
            else:
                key, zeta = self._drawn(key, theta)
            fresh = jnp.asarray(self.along == "fresh")
            return *descend(theta, V, optimizer), Lookahead(V, zeta, memory.ahead ^ fresh, key)

        if self.along != "fresh":
            return stepped()
        after: tuple[Float[Array, " P"], Any, Lookahead] = jax.lax.cond(
            memory.ahead, stepped, looked
        )
        return after
