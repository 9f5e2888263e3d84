"""Convolutional network."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field, model_validator

from dither.contract import Layer, Parameters, keep
from dither.networks.convolution import (
    KERNEL,
    POOL,
    convolve_same,
    convolve_valid,
    patches,
    patches_same,
    pool,
    pool_and_flatten,
)
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
from dither.networks.sequence import sequence


class CNN(AbstractNetwork):
    """Stages of 3×3 convolutions and 2×2 max-pooling, followed by dense layers.

    `z = x ∗ W + b`, `x ← f(z)` for each convolution, `x ← pool x` after each stage; then
    `z = x W + b`, `x ← f(z)` for each hidden dense layer; the output is linear.

    With `image=(28, 28, 1), channels=(16, 32, 32)` it is the Fashion-MNIST network of
    McCaughan2023 (14 378 parameters), with `image=(32, 32, 3), channels=(16, 32, 64)` the
    CIFAR-10 network (26 154). With `channels=(d, 2d, 4d), depth=2, padding="same", dense=(4d, 4d),
    activation="tanh"` it is the family of Oripov2025 (520 parameters at d = 1).

    Arguments: `image`, height and width and channels of an input (inputs are reshaped to it);
    `channels` of each stage; `depth`, the convolutions in a stage; `padding`, `valid` (none) or
    `same` (zeros, which keep the size); `dense`, the widths of hidden dense layers; `classes`, the
    number of outputs; `activation`.
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
        x = inputs.reshape(inputs.shape[0], *self.image)
        if tap is no_tap:
            return sequence(self.layers, parameters, x)
        return through(self.layers, parameters, x, tap)

    @property
    def layers(self) -> tuple[Layer, ...]:
        f = ACTIVATIONS[self.activation]
        height, width = self.image[:2]
        layers = []
        same = self.padding == "same"
        convolve, features = (convolve_same, patches_same) if same else (convolve_valid, patches)
        for n, (name, (*_, q)) in enumerate(self._shapes().items()):
            if n < len(self.channels) * self.depth:
                if self.padding == "valid":
                    height, width = height - KERNEL + 1, width - KERNEL + 1
                onward = keep
                nodes = (height, width, q)
                if (n + 1) % self.depth == 0:
                    onward = pool if n + 1 < len(self.channels) * self.depth else pool_and_flatten
                    height, width = height // POOL, width // POOL
                layers.append(Layer(name, nodes, convolve, f, onward, features))
            else:
                layers.append(Layer(name, (q,), dense, f))
        layers[-1] = replace(layers[-1], activation=ACTIVATIONS["identity"])
        return tuple(layers)

    @property
    def sequential(self) -> bool:
        return True

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.image

    @property
    def outputs(self) -> int:
        return self.classes
