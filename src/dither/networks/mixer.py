"""Mixer network with patches and groups of channels."""

import math
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field, model_validator

from dither.contract import Layer, Parameters
from dither.networks.network import (
    ACTIVATIONS,
    SMOOTHNESS,
    AbstractNetwork,
    ActivationName,
    Tap,
    glorot_uniform,
    no_tap,
    through,
)

Count = Annotated[int, Field(ge=1)]

EPSILON = 1e-5
"""A constant added to a variance, to avoid division by zero for a patch without contrast."""


class Mixer(AbstractNetwork):
    """Blocks that mix all channels of a patch, then patches, then each group of channels.

    ```
    mix0:       z = x W + b           x the pixels of a patch;  mix1, …:  z = norm(x) W + b
    tokens0:    z = x + T norm(x) + t   over the patches, the same T for all channels
    channels0:  z = x + f(norm(x)) V_g + b   for each group g of channels
    readout:    z = mean over patches of norm(x), W + b
    ```

    `norm` subtracts the mean of each group of channels in a patch and divides by the standard
    deviation. With a single patch there is no `tokens` layer. The networks S/1/1 and M/1/16 of
    Ren2022 have one patch, one block, and 256 and 512 channels in 1 and 16 groups.

    Arguments: `image`, height and width and channels of an input (inputs are reshaped to it);
    `patches` along a side; `channels` of a patch; `groups` of channels; `blocks`; `classes`, the
    number of outputs; `activation`, f.
    Source: Ren2022, for the kinds of layers and their sizes; their order, the position of f and the
    norm without a learned scale are recalled, not verified.
    """

    kind: Literal["mixer"] = "mixer"
    image: Annotated[tuple[Count, Count, Count], Field(examples=[(4, 4, 1)])] = (28, 28, 1)
    patches: Annotated[Count, Field(examples=[2])] = 1
    channels: Annotated[Count, Field(examples=[8])] = 256
    groups: Annotated[Count, Field(examples=[2])] = 1
    blocks: Count = 1
    classes: Annotated[Count, Field(examples=[3])] = 10
    activation: ActivationName = "relu"

    @model_validator(mode="after")
    def _divides(self) -> "Mixer":
        if any(size % self.patches for size in self.image[:2]):
            raise ValueError(
                f"{self.patches} patches per side do not divide an image of {self.image[:2]}"
            )
        if self.channels % self.groups:
            raise ValueError(f"{self.groups} groups do not divide {self.channels} channels")
        return self

    def init(self, key: Key[Array, ""]) -> Parameters:
        P, C, G = self.patches**2, self.channels, self.groups
        height, width, colours = self.image
        keys = iter(jax.random.split(key, 3 * self.blocks + 1))
        parameters: Parameters = {}
        for n in range(self.blocks):
            features = height * width * colours // P if n == 0 else C
            parameters[f"mix{n}/weight"] = glorot_uniform(next(keys), (features, C))
            parameters[f"mix{n}/bias"] = jnp.zeros(C)
            if P > 1:
                parameters[f"tokens{n}/weight"] = glorot_uniform(next(keys), (P, P))[..., None]
                parameters[f"tokens{n}/bias"] = jnp.zeros((P, 1))
            of_groups = [
                glorot_uniform(k, (C // G, C // G)) for k in jax.random.split(next(keys), G)
            ]
            parameters[f"channels{n}/weight"] = jnp.concatenate(of_groups, axis=1)
            parameters[f"channels{n}/bias"] = jnp.zeros(C)
        parameters["readout/weight"] = glorot_uniform(next(keys), (C, self.classes))
        parameters["readout/bias"] = jnp.zeros(self.classes)
        return parameters

    def __call__(
        self, parameters: Parameters, inputs: Float[Array, "B ..."], tap: Tap = no_tap
    ) -> Float[Array, "B K"]:
        return through(self.layers, parameters, inputs.reshape(-1, *self.image), tap)

    @property
    def layers(self) -> tuple[Layer, ...]:
        nodes, G, found = (self.patches**2, self.channels), self.groups, []
        for n in range(self.blocks):
            mix = self._mix if n else self._embed
            found.append(Layer(f"mix{n}", nodes, mix, patchwise=n > 0))
            if self.patches > 1:
                found.append(Layer(f"tokens{n}", nodes, self._tokens, groups=G))
            found.append(Layer(f"channels{n}", nodes, self._channels, groups=G, patchwise=True))
        return (*found, Layer("readout", (self.classes,), self._readout))

    def _embed(self, own: Parameters, x: Float[Array, "B h w p"]) -> Float[Array, "B P C"]:
        B, (height, width, colours), n = x.shape[0], self.image, self.patches
        tiles = x.reshape(B, n, height // n, n, width // n, colours).swapaxes(2, 3)
        return jnp.dot(tiles.reshape(B, n * n, -1), own["weight"]) + own["bias"]

    def _mix(self, own: Parameters, x: Float[Array, "B P C"]) -> Float[Array, "B P C"]:
        return jnp.dot(self._norm(x), own["weight"]) + own["bias"]

    def _tokens(self, own: Parameters, x: Float[Array, "B P C"]) -> Float[Array, "B P C"]:
        mixed = jnp.einsum("bqc,qp->bpc", self._norm(x), own["weight"][..., 0])
        return x + mixed + own["bias"]

    def _channels(self, own: Parameters, x: Float[Array, "B P C"]) -> Float[Array, "B P C"]:
        c = self.channels // self.groups
        inside = ACTIVATIONS[self.activation](self._norm(x)).reshape(*x.shape[:2], -1, c)
        V = own["weight"].reshape(c, self.groups, c)
        return x + jnp.einsum("bpgi,igj->bpgj", inside, V).reshape(x.shape) + own["bias"]

    def _readout(self, own: Parameters, x: Float[Array, "B P C"]) -> Float[Array, "B K"]:
        return jnp.dot(jnp.mean(self._norm(x), axis=1), own["weight"]) + own["bias"]

    def _norm(self, x: Float[Array, "B P C"]) -> Float[Array, "B P C"]:
        grouped = x.reshape(*x.shape[:2], self.groups, -1)
        grouped = grouped - jnp.mean(grouped, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(grouped), axis=-1, keepdims=True)
        return (grouped / jnp.sqrt(variance + EPSILON)).reshape(x.shape)

    @property
    def smoothness(self) -> float:
        return SMOOTHNESS.get(self.activation, math.inf)

    @property
    def sequential(self) -> bool:
        return True

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.image

    @property
    def outputs(self) -> int:
        return self.classes
