"""Amplitude-weighted selection: mirrors with a large effect on the output are tested often."""

from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from pydantic import Field

from dither._errors import RequestError
from dither.algorithms.selection.selection import AbstractSelection


class AmplitudeMemory(eqx.Module):
    """The known or estimated amplitudes, and the number of tests of each mirror."""

    amplitudes: Float[Array, " N"]
    tests: Int[Array, " N"]


class AmplitudeWeighted(AbstractSelection):
    """A random mirror, with a probability that increases with its amplitude.

    `P(i) ∝ a_i^power`

    Without given amplitudes, a_i is the running mean of `|fall|` over the mirror's own tests, and
    untested mirrors come first, in random order. Mirrors with zero amplitude are skipped unless
    there are no others.

    Arguments: `power`, 0 for uniform; `amplitudes`, one for each of the N mirrors.
    Errors: `RequestError` unless there are N amplitudes.
    Source: derived here, checked by the tests.
    """

    kind: Literal["amplitude-weighted"] = "amplitude-weighted"
    power: Annotated[float, Field(ge=0)] = 1.0
    amplitudes: tuple[Annotated[float, Field(ge=0)], ...] | None = None

    def init(self, size: int) -> AmplitudeMemory:
        known = self.amplitudes
        if known is not None and len(known) != size:
            raise RequestError(
                f"The selection has {len(known)} amplitudes for {size} mirrors; "
                "give one for each, or none."
            )
        start = jnp.zeros(size) if known is None else jnp.asarray(known, float)
        return AmplitudeMemory(start, jnp.zeros(size, jnp.int32))

    def choose(self, memory: AmplitudeMemory, key: Key[Array, ""]) -> Int[Array, ""]:
        a, untested = memory.amplitudes, memory.tests == 0
        logits = self.power * jnp.log(a + np.finfo(a.dtype).tiny)
        if self.amplitudes is None:
            first = jnp.where(untested, 0.0, -jnp.inf)
            logits = jnp.where(jnp.any(untested), first, logits)
        return jax.random.categorical(key, logits)

    def learn(
        self,
        memory: AmplitudeMemory,
        key: Key[Array, ""],
        place: Int[Array, ""],
        fall: Float[Array, ""],
        kept: Bool[Array, ""],
    ) -> AmplitudeMemory:
        del key, kept
        tests = memory.tests.at[place].add(1)
        if self.amplitudes is not None:
            return AmplitudeMemory(memory.amplitudes, tests)
        change = jnp.abs(fall) - memory.amplitudes[place]
        mean = memory.amplitudes.at[place].add(change / tests[place])
        return AmplitudeMemory(mean, tests)
