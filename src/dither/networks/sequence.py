"""Layers in sequence, by a compiled kernel if there is one, else layer by layer."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dither._kernels import call, loaded
from dither.contract import Layer, Parameters, keep
from dither.networks.convolution import (
    KERNEL,
    convolve_same,
    convolve_valid,
    pool,
    pool_and_flatten,
)
from dither.networks.network import ACTIVATIONS, dense, through

CONVOLUTIONS: dict[Callable[..., Array], int] = {convolve_valid: 0, convolve_same: KERNEL // 2}
"""The padding of each convolution."""

POOLS: dict[Callable[..., Array], int] = {keep: 0, pool: 1, pool_and_flatten: 1}

MONOTONE = {ACTIVATIONS[name]: n for n, name in enumerate(("identity", "relu", "tanh", "sigmoid"))}
"""Activations that the kernel computes after pooling, with which they commute."""


def sequence(
    layers: Sequence[Layer],
    parameters: Parameters,
    x: Float[Array, "B ..."],
    added: Float[Array, "..."] | None = None,
) -> Float[Array, "B ..."]:
    """The last layer's output, from the input x of the first.

    Arguments: the layers; a network's parameters; x; the perturbation of the first layer's z,
    common to all examples.
    """
    weights = [layer.own(parameters) for layer in layers]
    shared = added is None or added.shape == layers[0].nodes
    if loaded() and shared and _computed(layers, [x, *jax.tree.leaves(weights)]):
        return _compiled(tuple(layers), x, added, weights)
    return _plain(tuple(layers), x, added, weights)


def _plain(
    layers: tuple[Layer, ...], x: Array, added: Array | None, weights: list[Parameters]
) -> Array:
    parameters = {
        f"{layer.name}/{short}": value
        for layer, own in zip(layers, weights)
        for short, value in own.items()
    }
    site = f"{layers[0].name}/z"
    if added is None:
        return through(layers, parameters, x)
    return through(layers, parameters, x, lambda at, v: v + added if at == site else v)


def _computed(layers: Sequence[Layer], arrays: list[Array]) -> bool:
    """Whether the kernel computes these layers."""
    return (
        all(layer.forward in (dense, *CONVOLUTIONS) for layer in layers)
        and all(layer.onward in POOLS and layer.activation in MONOTONE for layer in layers)
        and all(array.dtype == jnp.float32 for array in arrays)
    )


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _compiled(
    layers: tuple[Layer, ...], x: Array, added: Array | None, weights: list[Parameters]
) -> Array:
    plain = partial(_plain, layers)
    out: Array = jax.lax.platform_dependent(
        x, added, weights, cpu=partial(_kernel, layers), default=plain
    )
    return out


@_compiled.defjvp
def _derivative(layers: tuple[Layer, ...], primals: Any, tangents: Any) -> tuple[Array, Array]:
    found: tuple[Array, Array] = jax.jvp(partial(_plain, layers), primals, tangents)
    return found


def _kernel(
    layers: tuple[Layer, ...], x: Array, added: Array | None, weights: list[Parameters]
) -> Array:
    result = jax.eval_shape(partial(_plain, layers), x, added, weights)
    arrays = [own[short] for own in weights for short in ("weight", "bias")]
    nothing = jnp.zeros(0, x.dtype)
    fields = np.concatenate([_fields(*pair) for pair in zip(layers, weights)])
    kernel = call("Convolutions", jax.ShapeDtypeStruct(result.shape, result.dtype))
    out: Array = kernel(x, nothing if added is None else added, *arrays, fields=fields)
    return out


def _fields(layer: Layer, own: Parameters) -> Int[np.ndarray, " 8"]:
    """The description of a layer for the kernel; see its `Layer`."""
    *_, p, q = own["weight"].shape
    if layer.forward is dense:
        return np.array([0, 0, 0, p, q, 0, 0, MONOTONE[layer.activation]])
    height, width = (size + KERNEL - 1 for size in layer.nodes[:2])
    border, pools = CONVOLUTIONS[layer.forward], POOLS[layer.onward]
    return np.array([1, height, width, p, q, border, pools, MONOTONE[layer.activation]])
