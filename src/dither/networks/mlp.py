"""Multilayer perceptron."""

import math
from itertools import pairwise
from typing import Annotated, Literal

import jax
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.contract import Layer, Parameters
from dither.networks.network import (
    ACTIVATIONS,
    SMOOTHNESS,
    AbstractNetwork,
    ActivationName,
    Tap,
    dense,
    glorot_uniform,
    no_tap,
    through,
)


class MLP(AbstractNetwork):
    """Dense layers: `z = x W + b`, `x ← f(z)`.

    Arguments: `widths`, the layer sizes from input to output, such as (49, 4, 4); `activation` of
    the hidden layers and of the `output` layer; `gain`, the factor on the Glorot-uniform initial
    weights. Biases start at zero, or with `bias` above 0 at `U(−bias, bias)`.
    """

    kind: Literal["mlp"] = "mlp"
    widths: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=2, examples=[(4, 3)])
    ]
    activation: ActivationName = "tanh"
    output: ActivationName = "identity"
    gain: Annotated[float, Field(gt=0)] = 1.0
    bias: Annotated[float, Field(ge=0)] = 0.0

    def init(self, key: Key[Array, ""]) -> Parameters:
        parameters: Parameters = {}
        for layer, (p, q) in enumerate(pairwise(self.widths)):
            for_weight, for_bias = jax.random.split(jax.random.fold_in(key, layer))
            parameters[f"dense{layer}/weight"] = glorot_uniform(for_weight, (p, q), self.gain)
            parameters[f"dense{layer}/bias"] = self.bias * jax.random.uniform(
                for_bias, (q,), minval=-1.0
            )
        return parameters

    def __call__(
        self, parameters: Parameters, inputs: Float[Array, "B ..."], tap: Tap = no_tap
    ) -> Float[Array, "B K"]:
        return through(self.layers, parameters, inputs.reshape(inputs.shape[0], -1), tap)

    @property
    def layers(self) -> tuple[Layer, ...]:
        f = [ACTIVATIONS[self.activation]] * (len(self.widths) - 2) + [ACTIVATIONS[self.output]]
        return tuple(Layer(f"dense{n}", (q,), dense, f[n]) for n, q in enumerate(self.widths[1:]))

    @property
    def fed_first(self) -> bool:
        return True

    @property
    def smoothness(self) -> float:
        return min(SMOOTHNESS.get(name, math.inf) for name in (self.activation, self.output))

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.widths[0],)

    @property
    def outputs(self) -> int:
        return self.widths[-1]
