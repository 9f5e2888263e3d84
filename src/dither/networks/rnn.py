"""Elman network."""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.contract import Layer, Parameters
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
from dither.networks.recurrent import inputs_over_time, last_step


class RNN(AbstractNetwork):
    """Neurons that receive the input and their own previous outputs, with a readout at the end.

    `z_t = (u_t, h_{t−1}) W + b`, `h_t = f(z_t)`, `h_{−1} = 0`; outputs `h_{T−1} V + c`

    Inputs of T steps are reshaped to it: an 8×8 image is 8 steps of 8. The layer `rnn` has sites of
    shapes x: (T, features + neurons), z and a: (T, neurons); the layer `readout` is dense. Initial
    weights are Glorot-uniform from the input, orthogonal from step to step; biases zero.

    Arguments: `steps`, T; `features` of a step; `neurons`; `classes`, the number of outputs;
    `activation`, f; `gain`, the factor on the orthogonal weights.
    """

    kind: Literal["rnn"] = "rnn"
    steps: Annotated[int, Field(ge=1, examples=[4])]
    features: Annotated[int, Field(ge=1, examples=[2])] = 1
    neurons: Annotated[int, Field(ge=1, examples=[3])] = 16
    classes: Annotated[int, Field(ge=1)] = 2
    activation: ActivationName = "tanh"
    gain: Annotated[float, Field(gt=0)] = 1.0

    def init(self, key: Key[Array, ""]) -> Parameters:
        into, again, out = jax.random.split(key, 3)
        n = self.neurons
        orthogonal = jax.nn.initializers.orthogonal(self.gain)(
            again, (n, n), jnp.result_type(float)
        )
        return {
            "rnn/weight": jnp.concatenate([glorot_uniform(into, (self.features, n)), orthogonal]),
            "rnn/bias": jnp.zeros(n),
            "readout/weight": glorot_uniform(out, (n, self.classes)),
            "readout/bias": jnp.zeros(self.classes),
        }

    def __call__(
        self, parameters: Parameters, inputs: Float[Array, "B ..."], tap: Tap = no_tap
    ) -> Float[Array, "B K"]:
        u = inputs.reshape(inputs.shape[0], *self.input_shape)
        x = inputs_over_time(self.layers[0], parameters, u, tap)
        return through(self.layers, parameters, x, tap)

    @property
    def layers(self) -> tuple[Layer, ...]:
        f = ACTIVATIONS[self.activation]
        return (
            Layer("rnn", (self.steps, self.neurons), _dense_steps, f, last_step),
            Layer("readout", (self.classes,), dense),
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.steps, self.features)

    @property
    def outputs(self) -> int:
        return self.classes


def _dense_steps(own: Parameters, x: Float[Array, "B T m"]) -> Float[Array, "B T n"]:
    """`z_t = x_t W + b`."""
    return jnp.dot(x, own["weight"]) + own["bias"]
