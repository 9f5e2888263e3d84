"""Variance reduction with shuffled passes."""

from typing import Annotated, Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key
from pydantic import Field

from dither._errors import RequestError
from dither.algorithms.updates.update import AbstractUpdate, Descend
from dither.contract import Problem


class Pass(eqx.Module):
    """The state of a pass.

    Attributes: `order` of its batches; `place`, the present batch; `compares`, whether the next
    estimate is made at the snapshot; `first`, whether it is the first pass; `here`, the estimate at
    θ; `snapshot`, ω; `direction`, v; `mean`, of the estimates at θ so far; `key` of the orders.
    """

    order: Int[Array, " m"]
    place: Int[Array, ""]
    compares: Bool[Array, ""]
    first: Bool[Array, ""]
    here: Float[Array, " P"]
    snapshot: Float[Array, " P"]
    direction: Float[Array, " P"]
    mean: Float[Array, " P"]
    key: Key[Array, ""]


class Shuffled(AbstractUpdate):
    """Compare the estimate at θ with one at a snapshot ω, with equal batch and perturbation.

    The m batches of a pass are in a new random order in every pass. No full gradient is measured;
    the mean of a pass's estimates replaces it in the next pass.

    ```
    svrg    D = G_b(θ) − G_b(ω) + v           ω, v fixed during the pass
    sarah   v ← v + (G_b(θ) − G_b(ω)) / m,   D = v,   ω ← θ
    both    θ ← θ − eta D  (or an Optax update)
            after a pass  v ← mean of its G_b(θ),   ω ← θ
    ```

    In the first pass v is unknown and D = G_b(θ). A step takes two estimates, both counted. With
    h_b = g_b(θ) − g_b(ω) and a code with kappa, the difference of central pairs has the variance
    `(1 + kappa) mean |h_b|² − |mean h_b|²` on a quadratic cost, instead of that of g_b itself. The
    noise of the cost is independent in both and counts twice.

    Arguments: `form`, `svrg` or `sarah`; `batches`, m ≥ 1: training uses only the task's first m
    batches. Set m to the size of the training set over that of a batch, or to a multiple, since
    batches are drawn with replacement. The rule's tau_x must equal its tau_theta.

    Errors: `RequestError` for a device to which dither does not feed the batches.

    Source: *Variance reduction methods do not need to compute full gradients*, 2502.14648, No Full
    Grad SVRG and SARAH, recalled, not verified, in particular the 1/m of SARAH. The first pass is
    our own.
    """

    kind: Literal["shuffled"] = "shuffled"
    descends: ClassVar[bool] = False
    estimates: ClassVar[int] = 2
    shared: ClassVar[int] = 2
    form: Literal["svrg", "sarah"] = "svrg"
    batches: Annotated[int, Field(ge=1, examples=[4])]

    def check(self, problem: Problem, tau_x: int, tau_theta: int) -> None:
        if not problem.repeats_batches:
            raise RequestError(
                "The update shuffled measures every batch twice, but this device chooses its own "
                "inputs and cannot repeat a batch; use another update."
            )
        if tau_x != tau_theta:
            raise RequestError(
                "The update shuffled needs one batch per estimate, but here a batch lasts "
                f"{tau_x} ticks and an estimate {tau_theta}; set tau_x equal to tau_theta."
            )

    def init(self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem) -> Pass:
        del problem
        key, order = self._shuffled(key)
        none, no = jnp.zeros_like(theta), jnp.bool_(False)
        return Pass(order, jnp.int32(0), no, ~no, none, theta, none, none, key)

    def _shuffled(self, key: Key[Array, ""]) -> tuple[Key[Array, ""], Int[Array, " m"]]:
        key, mine = jax.random.split(key)
        return key, jax.random.permutation(mine, jnp.arange(self.batches, dtype=jnp.int32))

    def batch_index(self, memory: Pass, number: Int[Array, ""]) -> Int[Array, ""]:
        del number
        return memory.order[memory.place]

    def point(self, memory: Pass, theta: Float[Array, " P"]) -> Float[Array, " P"]:
        return jnp.where(memory.compares, memory.snapshot, theta)

    def step(
        self,
        memory: Pass,
        theta: Float[Array, " P"],
        direction: Float[Array, " P"],
        optimizer: Any,
        descend: Descend,
    ) -> tuple[Float[Array, " P"], Any, Pass]:
        def held() -> tuple[Float[Array, " P"], Any, Pass]:
            changed = (direction, ~memory.compares)
            after = eqx.tree_at(lambda s: (s.here, s.compares), memory, changed)
            return theta, optimizer, after

        def compared() -> tuple[Float[Array, " P"], Any, Pass]:
            return self._compared(memory, theta, direction, optimizer, descend)

        after: tuple[Float[Array, " P"], Any, Pass] = jax.lax.cond(memory.compares, compared, held)
        return after

    def _compared(
        self,
        now: Pass,
        theta: Float[Array, " P"],
        there: Float[Array, " P"],
        optimizer: Any,
        descend: Descend,
    ) -> tuple[Float[Array, " P"], Any, Pass]:
        """A step, after both estimates of a batch."""
        sarah = self.form == "sarah"
        difference = now.here - there
        D = now.direction + (difference / self.batches if sarah else difference)
        D = jnp.where(now.first, now.here, D)
        mean = now.mean + (now.here - now.mean) / (now.place + 1)
        after, optimizer = descend(theta, D, optimizer)
        ends = now.place + 1 == self.batches
        key, order = jax.lax.cond(
            ends, lambda: self._shuffled(now.key), lambda: (now.key, now.order)
        )
        snapshot = jnp.where(ends, after, theta if sarah else now.snapshot)
        v = jnp.where(ends, mean, D if sarah else now.direction)
        return (
            after,
            optimizer,
            Pass(
                order=order,
                place=jnp.where(ends, 0, now.place + 1),
                compares=~now.compares,
                first=now.first & ~ends,
                here=now.here,
                snapshot=snapshot,
                direction=v,
                mean=jnp.where(ends, 0.0, mean),
                key=key,
            ),
        )
