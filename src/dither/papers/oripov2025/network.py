"""The paper's networks, and the same layers arranged for a processor."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from dither.contract import Layer, Parameters, keep
from dither.networks import CNN
from dither.networks.network import ACTIVATIONS

BY_SHIFTS = 16
"""The most input channels of a convolution that is summed shift by shift."""

SHIFTS = [(i, j) for i in range(3) for j in range(3)]


def network_of(d: int) -> CNN:
    """Three stages of two 3×3 convolutions with d, 2d and 4d channels; dense 4d, 4d, 10; tanh."""
    return CNN(
        channels=(d, 2 * d, 4 * d), depth=2, padding="same", dense=(4 * d, 4 * d), activation="tanh"
    )


COMPILED_FOR_ONE_RUN = {"xla_backend_optimization_level": 0}
"""How to compile what runs once: optimising it takes several times as long as running it."""


@partial(jax.jit, static_argnums=0, compiler_options=COMPILED_FOR_ONE_RUN)
def initial_weights(d: int, key: Key[Array, ""]) -> Parameters:
    """The weights that a network of a size begins with."""
    return network_of(d).init(key)


def examples_last(network: CNN, by_shifts: int = BY_SHIFTS) -> tuple[Layer, ...]:
    """A network's layers on values `[channel, stream, height, width, example]`.

    The same functions of the same parameters, several times as fast on a processor with d up to 4:
    the long inner loop is over the examples. Pooling comes before the activation, which is monotone
    and so commutes with it, and has fewer values left to do. A stream is one copy of the batch.

    Arguments: the network; `by_shifts`, the most input channels of a convolution that is summed
    shift by shift, which is fast and takes seconds to compile: none for what is run only once.
    """
    f = ACTIVATIONS[network.activation]
    convolve = partial(_convolve, by_shifts=by_shifts)
    layers = []
    for number, layer in enumerate(network.layers):
        *image, q = layer.nodes
        if not image:
            activation = keep if number + 1 == len(network.layers) else f
            layers.append(Layer(layer.name, (q, 1, 1), _dense, activation))
            continue
        pooled = (number + 1) % network.depth == 0
        last = number + 1 == network.depth * len(network.channels)
        layers.append(
            Layer(
                layer.name,
                (q, 1, *image, 1),
                convolve,
                (lambda z: f(_pool(z))) if pooled else f,
                _flatten if last else keep,
            )
        )
    return tuple(layers)


def images_last(inputs: Float[Array, "B h w"]) -> Float[Array, "1 1 h w B"]:
    """A batch of grey images as the first layer's input, one stream."""
    return jnp.moveaxis(inputs, 0, -1)[None, None]


def _dense(own: Parameters, x: Float[Array, "p S B"]) -> Float[Array, "q S B"]:
    return jnp.tensordot(own["weight"], x, ((0,), (0,))) + own["bias"][:, None, None]


def _convolve(
    own: Parameters, x: Float[Array, "p S h w B"], by_shifts: int
) -> Float[Array, "q S h w B"]:
    """`z = x ∗ W + b`, padded by zeros."""
    return _correlate(x, own["weight"], by_shifts) + own["bias"][:, None, None, None, None]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _correlate(
    x: Float[Array, "p S h w B"], kernel: Float[Array, "3 3 p q"], by_shifts: int = BY_SHIFTS
) -> Float[Array, "q S h w B"]:
    p, _, height, width, _ = x.shape
    if p > by_shifts:
        return _correlate_at_once(x, kernel)
    padded = _padded(x)

    def one_channel(kernel: Float[Array, "3 3 p"]) -> Float[Array, "S h w B"]:
        z = jnp.zeros((), x.dtype)
        for c in range(p):
            for i, j in SHIFTS:
                z = z + kernel[i, j, c] * padded[c, :, i : i + height, j : j + width]
        return z

    z: Float[Array, "q S h w B"] = jax.lax.map(one_channel, jnp.moveaxis(kernel, 3, 0))
    return z


def kernel_gradient(
    x: Float[Array, "p S h w B"], e: Float[Array, "q S h w B"]
) -> Float[Array, "3 3 p q"]:
    """`Σ x(h + i − 1, w + j − 1) e(h, w)`, over streams and examples too."""
    height, width = x.shape[2:4]
    padded, flat = _padded(x), e.reshape(e.shape[0], -1)
    products = [
        padded[:, :, i : i + height, j : j + width].reshape(x.shape[0], -1) @ flat.T
        for i, j in SHIFTS
    ]
    return jnp.stack(products).reshape(3, 3, x.shape[0], e.shape[0])


def _padded(x: Float[Array, "p S h w B"]) -> Float[Array, "p S h2 w2 B"]:
    return jnp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))


def _correlate_and_keep(
    x: Array, kernel: Array, by_shifts: int
) -> tuple[Array, tuple[Array, Array]]:
    return _correlate(x, kernel, by_shifts), (x, kernel)


def _correlate_backward(by_shifts: int, kept: tuple[Array, Array], e: Array) -> tuple[Array, Array]:
    """The adjoint of a correlation is the correlation with the kernel turned round."""
    x, kernel = kept
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    return _correlate(e, turned, by_shifts), kernel_gradient(x, e)


_correlate.defvjp(_correlate_and_keep, _correlate_backward)


def _correlate_at_once(
    x: Float[Array, "p S h w B"], kernel: Float[Array, "3 3 p q"]
) -> Float[Array, "q S h w B"]:
    p, streams, height, width, batch = x.shape
    flat = jnp.moveaxis(x, 1, 3).reshape(p, height, width, streams * batch)
    z = jax.lax.conv_general_dilated(
        flat, kernel, (1, 1), "SAME", dimension_numbers=("CHWN", "HWIO", "CHWN")
    )
    return jnp.moveaxis(z.reshape(-1, height, width, streams, batch), 3, 1)


def _pool(z: Float[Array, "q S h w B"]) -> Float[Array, "q S h2 w2 B"]:
    """The largest of every 2×2 values."""
    z = z[:, :, : z.shape[2] // 2 * 2, : z.shape[3] // 2 * 2]
    rows = jnp.maximum(z[:, :, ::2], z[:, :, 1::2])
    return jnp.maximum(rows[:, :, :, ::2], rows[:, :, :, 1::2])


def _flatten(x: Float[Array, "q S h w B"]) -> Float[Array, "p S B"]:
    """In the order height, width, channel."""
    return jnp.transpose(x, (2, 3, 0, 1, 4)).reshape(-1, x.shape[1], x.shape[4])
