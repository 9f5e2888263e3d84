"""Direct feedback alignment: every layer receives the output error through random weights."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from dither.algorithms.feedback import AbstractFeedbackRule, output_of
from dither.algorithms.gradient_state import GradientState, Told
from dither.contract import Layer, Problem


class DirectFeedbackAlignment(AbstractFeedbackRule):
    """Feed the last layer's error to every other layer through a fixed random matrix.

    ```
    f_l = B_l e_L,    B_l ~ N(0, 1/K) of shape (K, size of x_{l+1}), drawn once
    ```

    Arguments: as for `AbstractFeedbackRule`.

    Source: Nøkland, *Direct feedback alignment provides learning in deep neural networks*, 2016
    (arXiv 1609.01596).
    """

    kind: Literal["direct-feedback-alignment"] = "direct-feedback-alignment"

    def remember(
        self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem
    ) -> dict[str, Float[Array, "K ..."]]:
        """B, by the layer that follows the receiving one."""
        layers = self.layers(problem)
        K, B = math.prod(layers[-1].nodes), {}
        for number, (layer, above) in enumerate(pairwise(layers)):
            z = jnp.zeros((K, *layer.nodes), theta.dtype)
            shape = jax.eval_shape(lambda z, layer=layer: output_of(layer, z), z).shape
            drawn = jax.random.normal(jax.random.fold_in(key, number), shape, theta.dtype)
            B[above.name] = drawn / math.sqrt(K)
        return B

    def fed_back(
        self,
        state: GradientState,
        told: Told,
        layers: Sequence[Layer],
        errors: dict[str, Float[Array, "B ..."]],
    ) -> Float[Array, "B ..."]:
        del told
        last = errors[layers[-1].name]
        return jnp.tensordot(last.reshape(len(last), -1), state.memory[layers[0].name], 1)
