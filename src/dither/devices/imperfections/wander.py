"""The common base of drifts."""

import math
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from pydantic import Field

from dither.codes.signs import random_signs
from dither.devices.imperfections.imperfection import AbstractImperfection


class Wandering(eqx.Module):
    """The drift d, its limit n, the phase, and the measurements so far."""

    d: Float[Array, " N"]
    n: Float[Array, " N"]
    phase: Float[Array, ""]
    time: Int[Array, ""]


class AbstractWander(AbstractImperfection):
    """A drift d(t) of several quantities, with t in measurements.

    ```
    random-walk   d ← d + amount s / √over         at every measurement, s = ±1
    relaxation    d = amount n (1 − exp(−t/over))
    sinusoid      d = amount n sin(2π (t/over + phase))     one phase, U(0, 1), as for a temperature
    jumps         d ← d + amount s                 at random, on average once in `over`
    ```

    with n ~ N(0, 1) drawn once per quantity, and signs s drawn per quantity and time.

    Arguments: `form`; `amount` ≥ 0, the standard deviation after `over` measurements (random-walk),
    in the limit (relaxation), of the amplitude (sinusoid), or the size of a jump; `over` ≥ 1, in
    measurements; `common`, whether all drift together, with n = 1.
    """

    form: Annotated[
        Literal["random-walk", "relaxation", "sinusoid", "jumps"], Field(examples=["sinusoid"])
    ]
    amount: Annotated[float, Field(ge=0, examples=[0.1])]
    over: Annotated[int, Field(ge=1, examples=[50])]
    common: bool = False

    def start(self, key: Key[Array, ""], number: int) -> Wandering:
        """The initial state: no drift, except for the sinusoid, whose phase is random."""
        number = 1 if self.common else number
        for_size, for_phase = jax.random.split(key)
        n = jnp.ones(1) if self.common else jax.random.normal(for_size, (number,))
        phase = jax.random.uniform(for_phase)
        d = jnp.zeros(number)
        if self.form == "sinusoid":
            d = self.amount * n * jnp.sin(2 * math.pi * phase)
        return Wandering(d, n, phase, jnp.int32(0))

    def measured(
        self, instance: Wandering, key: Key[Array, ""], outputs: Float[Array, "B K"]
    ) -> Wandering:
        del outputs
        d, n, phase, time = instance.d, instance.n, instance.phase, instance.time + 1
        if self.form == "random-walk":
            d = d + self.amount / jnp.sqrt(self.over) * random_signs(key, d.size)
        elif self.form == "relaxation":
            d = self.amount * n * -jnp.expm1(-time / self.over)
        elif self.form == "sinusoid":
            d = self.amount * n * jnp.sin(2 * math.pi * (time % self.over / self.over + phase))
        else:
            whether, which = jax.random.split(key)
            jump = jax.random.bernoulli(whether, 1 / self.over)
            d = d + jnp.where(jump, self.amount, 0.0) * random_signs(which, d.size)
        return Wandering(d.astype(instance.d.dtype), n, phase, time)
