"""Feedback alignment: errors propagate backward through fixed random weights."""

from collections.abc import Sequence
from typing import Literal

import jax
from jaxtyping import Array, Float, Key

from dither.algorithms.feedback import AbstractFeedbackRule, through_weights
from dither.algorithms.gradient_state import GradientState, Told
from dither.contract import Layer, Parameters, Problem
from dither.networks.network import glorot_uniform


class FeedbackAlignment(AbstractFeedbackRule):
    """Backpropagation with fixed random weights in place of the transposed weights.

    ```
    f_l = B_{l+1} e_{l+1},    B of W's shape, drawn once like W: Glorot-uniform
    ```

    With `B = Wᵀ` the rule is backpropagation. For a convolution B is a random kernel.

    Arguments: as for `AbstractFeedbackRule`.

    Source: Lillicrap and others, *Random synaptic feedback weights support error backpropagation
    for deep learning*, 2016 (arXiv 1411.0247).
    """

    kind: Literal["feedback-alignment"] = "feedback-alignment"

    def remember(
        self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem
    ) -> Parameters:
        """B by layer, under the weights' names; biases have no feedback."""
        own, B = dict(problem.space.unravel(theta)), {}
        for number, layer in enumerate(problem.layers):
            name = f"{layer.name}/weight"
            drawn = glorot_uniform(jax.random.fold_in(key, number), own[name].shape)
            B[name] = drawn.astype(theta.dtype)
        return own | B

    def fed_back(
        self,
        state: GradientState,
        told: Told,
        layers: Sequence[Layer],
        errors: dict[str, Float[Array, "B ..."]],
    ) -> Float[Array, "B ..."]:
        above, x = layers[0], told.measurement.sites.inputs
        return through_weights(above, state.memory, x[above.name], errors[above.name])
