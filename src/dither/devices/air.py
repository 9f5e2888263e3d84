"""The channel for a fleet's costs that are summed over the air."""

import math
from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from pydantic import Field

from dither._configuration import Configuration


class AirState(eqx.Module):
    """The state of a channel: its key, the updates and the measurements so far."""

    key: Key[Array, ""]
    updates: Int[Array, ""]
    measured: Int[Array, ""]


class Air(Configuration):
    """Simultaneous transmission of costs: their sum is received, with fading and interference.

    `c = (1/N) Σ_n h_n c_n + ξ`, h_n Rayleigh of mean 1, drawn at every update and for every device;
    ξ symmetric α-stable, `E exp(iuξ) = exp(−|scale u|^α)`, drawn at every measurement

    All devices use the same perturbation, so that the sum of their estimates is the perturbation
    times the sum of their cost changes: each sends one number instead of P.

    Arguments: `alpha` in (1, 2], the tail index of the interference, 2 for Gaussian; `scale` ≥ 0,
    in units of the cost; `fading`, whether h is drawn, otherwise 1.
    Source: 2403.06823, where interference is drawn for each coordinate of the estimate; here it is
    common to a perturbation, with the same distribution per coordinate if the perturbation is ±1;
    recalled.
    """

    alpha: Annotated[float, Field(gt=1, le=2)] = 1.5
    scale: Annotated[float, Field(ge=0)] = 0.01
    fading: bool = True

    def open(self, key: Key[Array, ""]) -> AirState:
        """The initial state of a channel."""
        return AirState(key, jnp.int32(0), jnp.int32(0))

    def received(
        self, state: AirState, costs: Float[Array, " N"]
    ) -> tuple[Float[Array, ""], AirState]:
        """The received value for the transmitted costs."""
        fading, interference = (jax.random.fold_in(state.key, place) for place in (0, 1))
        if self.fading:
            costs = costs * rayleigh(jax.random.fold_in(fading, state.updates), costs.shape)
        noise = stable(jax.random.fold_in(interference, state.measured), self.alpha)
        after = AirState(state.key, state.updates, state.measured + 1)
        return jnp.mean(costs) + self.scale * noise, after


def rayleigh(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Rayleigh variables of mean 1: the lengths of normal vectors in the plane."""
    return jnp.hypot(*jax.random.normal(key, (2, *shape))) * math.sqrt(2 / math.pi)


def stable(key: Key[Array, ""], alpha: float, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
    """Symmetric α-stable variables of scale 1, `E exp(iuξ) = exp(−|u|^α)`.

    `ξ = sin(αV) / cos(V)^{1/α} · (cos((1 − α)V) / W)^{(1−α)/α}`, V uniform on (−π/2, π/2),
    W exponential

    Arguments: `alpha` in (0, 2], not 1, where ξ = tan V.
    Source: Chambers1976.
    """
    uniform, exponential = jax.random.split(key)
    # excluding −π/2, where rounding makes the cosine negative
    v = math.pi * (jax.random.uniform(uniform, shape, minval=2.0**-22) - 0.5)
    w = jax.random.exponential(exponential, shape)
    tail: Float[Array, ...] = (jnp.cos((1 - alpha) * v) / w) ** ((1 - alpha) / alpha)
    return jnp.sin(alpha * v) / jnp.cos(v) ** (1 / alpha) * tail
