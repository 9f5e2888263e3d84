"""Convolutional network."""

import math
from itertools import pairwise
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field, model_validator

from dither.networks.network import (
    ACTIVATIONS,
    AbstractNetwork,
    ActivationName,
    Layer,
    Parameters,
    Tap,
    dense,
    glorot_uniform,
    no_tap,
)

KERNEL = 3
POOL = 2


class CNN(AbstractNetwork):
    """Stages of 3×3 convolution, activation and 2×2 max-pooling; then one dense layer.

    `z = x ∗ W + b` without padding, `x ← pool f(z)` for each stage; the output is linear.

    With `image=(28, 28, 1), channels=(16, 32, 32)` it is the Fashion-MNIST network of
    McCaughan2023 (14 378 parameters), with `image=(32, 32, 3), channels=(16, 32, 64)` the
    CIFAR-10 network (26 154).

    Arguments: `image`, height, width and channels of an input (inputs are reshaped to it);
    `channels` of each stage; `classes`, the number of outputs; `activation`.
    """

    kind: Literal["cnn"] = "cnn"
    image: tuple[int, int, int] = (28, 28, 1)
    channels: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (16, 32, 32)
    classes: Annotated[int, Field(ge=1)] = 10
    activation: ActivationName = "relu"

    @model_validator(mode="after")
    def _every_stage_has_room(self) -> "CNN":
        if min(self._sizes()[-1]) < 1:
            raise ValueError(f"{len(self.channels)} stages do not fit an image of {self.image[:2]}")
        return self

    def _sizes(self) -> list[tuple[int, int]]:
        sizes = [self.image[:2]]
        for _ in self.channels:
            height, width = sizes[-1]
            sizes.append(((height - KERNEL + 1) // POOL, (width - KERNEL + 1) // POOL))
        return sizes

    def init(self, key: Key[Array, ""]) -> Parameters:
        parameters: Parameters = {}
        inner = (self.image[2], *self.channels)
        for stage, (p, q) in enumerate(pairwise(inner)):
            now = jax.random.fold_in(key, stage)
            parameters[f"conv{stage}/weight"] = glorot_uniform(now, (KERNEL, KERNEL, p, q))
            parameters[f"conv{stage}/bias"] = jnp.zeros(q)
        flat = math.prod(self._sizes()[-1]) * self.channels[-1]
        last = jax.random.fold_in(key, len(self.channels))
        parameters["dense/weight"] = glorot_uniform(last, (flat, self.classes))
        parameters["dense/bias"] = jnp.zeros(self.classes)
        return parameters

    def __call__(
        self, parameters: Parameters, inputs: Float[Array, "B ..."], tap: Tap = no_tap
    ) -> Float[Array, "B K"]:
        x = inputs.reshape(inputs.shape[0], *self.image)
        *stages, last = self.layers
        for stage in stages:
            x = tap(f"{stage.name}/x", x)
            z = tap(f"{stage.name}/z", stage(parameters, x))
            x = _pool(tap(f"{stage.name}/a", ACTIVATIONS[self.activation](z)))
        x = tap("dense/x", x.reshape(x.shape[0], -1))
        z = tap("dense/z", last(parameters, x))
        return tap("dense/a", z)

    @property
    def layers(self) -> tuple[Layer, ...]:
        stages = (
            Layer(f"conv{stage}", (height - KERNEL + 1, width - KERNEL + 1, q), _convolve)
            for stage, ((height, width), q) in enumerate(zip(self._sizes(), self.channels))
        )
        return (*stages, Layer("dense", (self.classes,), dense))

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.image

    @property
    def outputs(self) -> int:
        return self.classes


def _convolve(own: Parameters, x: Float[Array, "B h w p"]) -> Float[Array, "B h2 w2 q"]:
    z: Float[Array, "B h2 w2 q"] = jax.lax.conv_general_dilated(
        x, own["weight"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return z + own["bias"]


def _pool(x: Float[Array, "B h w q"]) -> Float[Array, "B h2 w2 q"]:
    window = (1, POOL, POOL, 1)
    pooled: Float[Array, "B h2 w2 q"] = jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, window, window, "VALID"
    )
    return pooled
