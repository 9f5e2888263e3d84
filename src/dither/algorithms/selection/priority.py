"""Priority selection: first the mirrors with a nearly successful or long past test."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from dither.algorithms.selection.selection import AbstractSelection


class PriorityMemory(eqx.Module):
    """The knowledge about every mirror, and the rate at which it becomes obsolete.

    Attributes: `falls`, g, the decrease of the error at the mirror's last test; `moved`, m, the
    decrease of the error since then; `waited`, the tests since then; `tested`, whether it was ever
    tested; `squares` and `moves`, the sums whose ratio is kappa².
    """

    falls: Float[Array, " N"]
    moved: Float[Array, " N"]
    waited: Int[Array, " N"]
    tested: Bool[Array, " N"]
    squares: Float[Array, ""]
    moves: Float[Array, ""]


class Priority(AbstractSelection):
    """Thompson sampling of the decrease of the error, from each mirror's last test and its age.

    `argmax_i [g_i + kappa √m_i n_i]`, `n_i ~ N(0, 1)`

    g_i is the decrease measured in mirror i's last test, with the sign reversed if the flip was
    kept, because flipping back would undo it. Since then the error has fallen by m_i in total, and
    the residual has moved by √m_i. The true decrease therefore diffuses away from g_i at a rate
    kappa, which is common to all mirrors and estimated from pairs of successive tests of a mirror:
    `kappa² = Σ (g_now − g_last)² / Σ m`.

    First every mirror is tested once, in random order. A mirror with m_i = 0 cannot have changed
    and waits for the others; if nothing has changed at all, the mirror that has waited longest is
    tested.

    Source: derived here, checked by the tests; Thompson (1933) for the sampling.
    """

    kind: Literal["priority"] = "priority"

    def init(self, size: int) -> PriorityMemory:
        zeros = jnp.zeros(size)
        return PriorityMemory(
            falls=zeros,
            moved=zeros,
            waited=jnp.zeros(size, jnp.int32),
            tested=jnp.zeros(size, bool),
            squares=jnp.zeros(()),
            moves=jnp.zeros(()),
        )

    def choose(self, memory: PriorityMemory, key: Key[Array, ""]) -> Int[Array, ""]:
        n = jax.random.normal(key, memory.falls.shape)
        kappa = jnp.sqrt(memory.squares / jnp.where(memory.moves > 0, memory.moves, 1.0))
        sample = memory.falls + kappa * jnp.sqrt(memory.moved) * n
        new, changed = ~memory.tested, memory.moved > 0
        return jnp.select(
            [jnp.any(new), jnp.any(changed)],
            [
                jnp.argmax(jnp.where(new, n, -jnp.inf)),
                jnp.argmax(jnp.where(changed, sample, -jnp.inf)),
            ],
            jnp.argmax(memory.waited),
        )

    def learn(
        self,
        memory: PriorityMemory,
        key: Key[Array, ""],
        place: Int[Array, ""],
        fall: Float[Array, ""],
        kept: Bool[Array, ""],
    ) -> PriorityMemory:
        del key
        known = memory.tested[place] & (memory.moved[place] > 0)
        change = jnp.where(known, fall - memory.falls[place], 0.0)
        moved = memory.moved + jnp.where(kept, jnp.abs(fall), 0.0)
        return PriorityMemory(
            falls=memory.falls.at[place].set(jnp.where(kept, -fall, fall)),
            moved=moved.at[place].set(0.0),
            waited=(memory.waited + 1).at[place].set(0),
            tested=memory.tested.at[place].set(True),
            squares=memory.squares + change**2,
            moves=memory.moves + jnp.where(known, memory.moved[place], 0.0),
        )
