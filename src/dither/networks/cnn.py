"""Convolutional network."""

import math
from dataclasses import replace
from itertools import pairwise, product
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field, model_validator

from dither.contract import Layer, Parameters, keep
from dither.networks.network import (
    ACTIVATIONS,
    AbstractNetwork,
    ActivationName,
    Tap,
    dense,
    glorot_uniform,
    no_tap,
    through,
)

KERNEL = 3
POOL = 2

FEW, SEVERAL = 3, 8
"""Input channels up to which a processor convolves by shifts, and by products (measured)."""


class CNN(AbstractNetwork):
    """Stages of 3×3 convolutions and 2×2 max-pooling; then dense layers.

    `z = x ∗ W + b`, `x ← f(z)` for each convolution, `x ← pool x` after each stage; then
    `z = x W + b`, `x ← f(z)` for each hidden dense layer; the output is linear.

    With `image=(28, 28, 1), channels=(16, 32, 32)` it is the Fashion-MNIST network of
    McCaughan2023 (14 378 parameters), with `image=(32, 32, 3), channels=(16, 32, 64)` the
    CIFAR-10 network (26 154). With `channels=(d, 2d, 4d), depth=2, padding="same", dense=(4d, 4d),
    activation="tanh"` it is the family of Oripov2025 (520 parameters at d = 1).

    Arguments: `image`, height and width and channels of an input (inputs are reshaped to it);
    `channels` of each stage; `depth`, the convolutions in a stage; `padding`, `valid` (none) or
    `same` (zeros, so that a convolution keeps the size); `dense`, the widths of hidden dense
    layers; `classes`, the number of outputs; `activation`.
    """

    kind: Literal["cnn"] = "cnn"
    image: Annotated[tuple[int, int, int], Field(examples=[(6, 6, 1)])] = (28, 28, 1)
    channels: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, examples=[(2,)])
    ] = (16, 32, 32)
    depth: Annotated[int, Field(ge=1)] = 1
    padding: Literal["valid", "same"] = "valid"
    dense: tuple[Annotated[int, Field(ge=1)], ...] = ()
    classes: Annotated[int, Field(ge=1, examples=[3])] = 10
    activation: ActivationName = "relu"

    @model_validator(mode="after")
    def _every_stage_has_room(self) -> "CNN":
        if min(self._size()) < 1:
            raise ValueError(f"{len(self.channels)} stages do not fit an image of {self.image[:2]}")
        return self

    def _size(self) -> tuple[int, int]:
        """Height and width after the last stage."""
        height, width = self.image[:2]
        lost = (KERNEL - 1) * self.depth if self.padding == "valid" else 0
        for _ in self.channels:
            height, width = (height - lost) // POOL, (width - lost) // POOL
        return height, width

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The weights of every layer, in order."""
        inner = [self.image[2]] + [q for q in self.channels for _ in range(self.depth)]
        shapes: dict[str, tuple[int, ...]] = {
            f"conv{layer}": (KERNEL, KERNEL, p, q) for layer, (p, q) in enumerate(pairwise(inner))
        }
        widths = (math.prod(self._size()) * inner[-1], *self.dense, self.classes)
        names = [f"dense{layer}" for layer in range(len(widths) - 1)] if self.dense else ["dense"]
        return shapes | dict(zip(names, pairwise(widths)))

    def init(self, key: Key[Array, ""]) -> Parameters:
        parameters: Parameters = {}
        for layer, (name, shape) in enumerate(self._shapes().items()):
            parameters[f"{name}/weight"] = glorot_uniform(jax.random.fold_in(key, layer), shape)
            parameters[f"{name}/bias"] = jnp.zeros(shape[-1])
        return parameters

    def __call__(
        self, parameters: Parameters, inputs: Float[Array, "B ..."], tap: Tap = no_tap
    ) -> Float[Array, "B K"]:
        return through(self.layers, parameters, inputs.reshape(inputs.shape[0], *self.image), tap)

    @property
    def layers(self) -> tuple[Layer, ...]:
        f = ACTIVATIONS[self.activation]
        height, width = self.image[:2]
        layers = []
        same = self.padding == "same"
        convolve, patches = (_convolve_same, _patches_same) if same else (_convolve_valid, _patches)
        for n, (name, (*_, q)) in enumerate(self._shapes().items()):
            if n < len(self.channels) * self.depth:
                if self.padding == "valid":
                    height, width = height - KERNEL + 1, width - KERNEL + 1
                onward = keep
                nodes = (height, width, q)
                if (n + 1) % self.depth == 0:
                    onward = _pool if n + 1 < len(self.channels) * self.depth else _pool_and_flatten
                    height, width = height // POOL, width // POOL
                layers.append(Layer(name, nodes, convolve, f, onward, patches))
            else:
                layers.append(Layer(name, (q,), dense, f))
        layers[-1] = replace(layers[-1], activation=ACTIVATIONS["identity"])
        return tuple(layers)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.image

    @property
    def outputs(self) -> int:
        return self.classes


def _convolve_same(own: Parameters, x: Float[Array, "B h w p"]) -> Float[Array, "B h w q"]:
    return _convolve_valid(own, _padded(x))


def _padded(x: Float[Array, "B h w p"]) -> Float[Array, "B h2 w2 p"]:
    one = KERNEL // 2
    return jnp.pad(x, ((0, 0), (one, one), (one, one), (0, 0)))


def _patches_same(x: Float[Array, "B h w p"]) -> Float[Array, "B h w m"]:
    return _patches(_padded(x))


def _patches(x: Float[Array, "B h w p"]) -> Float[Array, "B h2 w2 m"]:
    """The 3×3 patches, their values in the order of a kernel's: row, column, channel."""
    rows, columns = (size - KERNEL + 1 for size in x.shape[1:3])
    shifts = product(range(KERNEL), repeat=2)
    return jnp.concatenate([x[:, i : i + rows, j : j + columns] for i, j in shifts], axis=-1)


def _convolve_valid(own: Parameters, x: Float[Array, "B h w p"]) -> Float[Array, "B h2 w2 q"]:
    """`z = x ∗ W + b`."""
    return _correlate(x, own["weight"]) + own["bias"]


@jax.custom_jvp
def _correlate(
    x: Float[Array, "B h w p"], kernel: Float[Array, "3 3 p q"]
) -> Float[Array, "B h2 w2 q"]:
    """`z(h, w) = Σ_ij x(h + i, w + j) W_ij`."""
    p, q = kernel.shape[-2:]
    if p > SEVERAL:
        return _correlate_at_once(x, kernel)
    by_shifts = p <= FEW or p * q <= 2 * SEVERAL
    z: Float[Array, "B h2 w2 q"] = jax.lax.platform_dependent(
        x,
        kernel,
        cpu=_correlate_by_shifts if by_shifts else _correlate_by_products,
        default=_correlate_at_once,
    )
    return z


def _correlate_at_once(
    x: Float[Array, "B h w p"], kernel: Float[Array, "3 3 p q"]
) -> Float[Array, "B h2 w2 q"]:
    z: Float[Array, "B h2 w2 q"] = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return z


def _correlate_by_shifts(
    x: Float[Array, "B h w p"], kernel: Float[Array, "3 3 p q"]
) -> Float[Array, "B h2 w2 q"]:
    """The examples last: the long inner loop is over them."""
    rows, columns = (size - KERNEL + 1 for size in x.shape[1:3])
    channels = jnp.moveaxis(x, (3, 0), (0, 3))
    shifts = list(product(range(x.shape[-1]), range(KERNEL), range(KERNEL)))

    def one(kernel: Float[Array, "3 3 p"]) -> Float[Array, "h2 w2 B"]:
        z = jnp.zeros((), x.dtype)
        for c, i, j in shifts:
            z = z + kernel[i, j, c] * channels[c, i : i + rows, j : j + columns]
        return z

    z: Float[Array, "q h2 w2 B"] = jax.lax.map(one, jnp.moveaxis(kernel, 3, 0))
    return jnp.moveaxis(z, (0, 3), (3, 0))


def _correlate_by_products(
    x: Float[Array, "B h w p"], kernel: Float[Array, "3 3 p q"]
) -> Float[Array, "B h2 w2 q"]:
    """The same by three matrix products, whose derivatives are matrix products too."""
    rows, columns = (size - KERNEL + 1 for size in x.shape[1:3])
    beside = jnp.concatenate([x[:, :, j : j + columns] for j in range(KERNEL)], axis=-1)
    flat = kernel.reshape(KERNEL, -1, kernel.shape[-1])
    products = [jnp.dot(beside[:, i : i + rows], flat[i]) for i in range(KERNEL)]
    return products[0] + products[1] + products[2]


_correlate.defjvps(
    lambda change, _, __, kernel: _correlate_by_products(change, kernel),
    lambda change, _, x, __: _correlate_by_products(x, change),
)


def _pool(x: Float[Array, "B h w q"]) -> Float[Array, "B h2 w2 q"]:
    """The largest of every 2×2 values; equal ones share its derivative."""
    height, width = (size // POOL * POOL for size in x.shape[1:3])
    x = x[:, :height, :width]
    rows = jnp.maximum(x[:, ::POOL], x[:, 1::POOL])
    return jnp.maximum(rows[:, :, ::POOL], rows[:, :, 1::POOL])


def _pool_and_flatten(x: Float[Array, "B h w q"]) -> Float[Array, "B p"]:
    return _pool(x).reshape(x.shape[0], -1)
