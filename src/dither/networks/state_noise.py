"""Noise on the measured states of a reservoir."""

from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither._configuration import Configuration

Sigma = Annotated[float, Field(ge=0)]


class StateNoise(Configuration):
    """Gaussian noise on measured states, drawn at every step n.

    `x_i(n) ← x_i(n) (1 + σ_m ξ_i(n) + σ_mc ξ(n)) + σ_a η_i(n) + σ_ac η(n)`

    ξ_i, η_i are drawn for every neuron; ξ, η are common to all neurons (a laser's power, a
    camera's offset).

    Arguments: the standard deviations `additive`, σ_a, and `additive_common`, σ_ac, in units of x;
    `multiplicative`, σ_m, and `multiplicative_common`, σ_mc, relative to x.
    Source: Semenova et al. (2019), recalled, for the four kinds of noise.
    """

    additive: Sigma = 0.0
    additive_common: Sigma = 0.0
    multiplicative: Sigma = 0.0
    multiplicative_common: Sigma = 0.0

    def __call__(self, key: Key[Array, ""], states: Float[Array, "T N"]) -> Float[Array, "T N"]:
        """The noisy states of one measurement, from the key and the noiseless states."""
        T, N = states.shape

        def draw(place: int, *shape: int) -> Float[Array, "..."]:
            return jax.random.normal(jax.random.fold_in(key, place), shape, states.dtype)

        factor = self.multiplicative * draw(0, T, N) + self.multiplicative_common * draw(1, T, 1)
        offset = self.additive * draw(2, T, N) + self.additive_common * draw(3, T, 1)
        return jnp.asarray(states * (1 + factor) + offset)
