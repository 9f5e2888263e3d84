"""Recurrent layers."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dither.contract import Layer, Parameters
from dither.networks.network import Tap


def inputs_over_time(
    layer: Layer, parameters: Parameters, u: Float[Array, "B T p"], tap: Tap
) -> Float[Array, "B T m"]:
    """The inputs `x_t = (u_t, a_{t−1})` of a recurrent layer, `a_{−1} = 0`, computed step by step.

    Given these inputs, the layer is like any other: `z = forward(own, x)` for all steps at once.
    The effect of a perturbation of z_t on later steps is contained in x.

    Arguments: the layer, with `nodes` (T, n); all parameters; the inputs; a tap, which must act on
    each step independently of other steps.
    """
    B, T, _ = u.shape
    n = layer.nodes[1]

    def tapped(site: str, t: Int[Array, ""], value: Float[Array, "B m"]) -> Float[Array, "B m"]:
        series = jnp.zeros((B, T, value.shape[1]), value.dtype).at[:, t].set(value)
        return tap(f"{layer.name}/{site}", series)[:, t]

    def step(
        a: Float[Array, "B n"], now: tuple[Int[Array, ""], Float[Array, "B p"]]
    ) -> tuple[Float[Array, "B n"], Float[Array, "B m"]]:
        t, u_t = now
        raw = jnp.concatenate([u_t, a], axis=1)
        x = tapped("x", t, raw)
        z = tapped("z", t, layer(parameters, x[:, None])[:, 0])
        return tapped("a", t, layer.activation(z)), raw

    start = jnp.zeros((B, n), u.dtype)
    _, x = jax.lax.scan(step, start, (jnp.arange(T), jnp.moveaxis(u, 1, 0)))
    found: Float[Array, "B T m"] = jnp.moveaxis(x, 0, 1)
    return found


def last_step(a: Float[Array, "B T n"]) -> Float[Array, "B n"]:
    """The last step, the input of a readout."""
    return a[:, -1]
