"""A network of radial basis functions."""

from typing import Annotated

import jax
import jax.numpy as jnp
from pydantic import Field

from dither.networks import AbstractNetwork, no_tap


class Bumps(AbstractNetwork):
    """`y = exp(−|x − c_n|² / (2 width²)) W + b`, with centres c, weights W and biases b to learn.

    Arguments: `inputs`, `bumps`, how many; `width` of each; `classes`, the number of outputs.
    """

    inputs: Annotated[int, Field(ge=1)] = 2
    bumps: Annotated[int, Field(ge=1)] = 12
    width: Annotated[float, Field(gt=0)] = 0.4
    classes: Annotated[int, Field(ge=1)] = 2

    def init(self, key):
        for_centres, for_weights = jax.random.split(key)
        return {
            "centres": jax.random.uniform(for_centres, (self.bumps, self.inputs), minval=-1.0),
            "weights": 0.3 * jax.random.normal(for_weights, (self.bumps, self.classes)),
            "bias": jnp.zeros(self.classes),
        }

    def __call__(self, parameters, inputs, tap=no_tap):
        away = inputs[:, None, :] - parameters["centres"]
        heights = jnp.exp(-jnp.sum(away**2, axis=-1) / (2 * self.width**2))
        return heights @ parameters["weights"] + parameters["bias"]

    @property
    def input_shape(self):
        return (self.inputs,)

    @property
    def outputs(self):
        return self.classes
