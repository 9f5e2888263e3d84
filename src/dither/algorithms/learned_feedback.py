"""Backpropagation through measured activations and weights that are learned from them."""

from collections.abc import Sequence
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.algorithms import nodes
from dither.algorithms.feedback import (
    AbstractFeedbackRule,
    output_of,
    through_activation,
    through_weights,
)
from dither.algorithms.gradient_state import GradientState, Told
from dither.contract import Layer, Parameters, Problem


class LearnedFeedback(AbstractFeedbackRule):
    """Feed errors back through the weights that explain what the layers were seen to do.

    ```
    twin:      Ŵ = θ + D,    ẑ_l = x̄_l Ŵ_l,    x̄ = (features(x), 1)
    backward:  f_l = Ŵ_{l+1} e_{l+1}
    every measurement, for every layer but the first:
               r_l = (∂x_{l+1}/∂ẑ_l)ᵀ (x_{l+1} − x_{l+1}(ẑ_l)),    x_{L+1} = y
               D_l ← D_l + learning (X̄ᵀX̄ + damping ⟨diag X̄ᵀX̄⟩)⁻¹ X̄ᵀ r_l
    ```

    What is programmed is known, what the device makes of it is D: a gain of every weight, an
    offset, drift. Each reading of a layer's inputs and of the next one's is a batch of examples of
    what the layer does, from which D is regressed, off the device, by normalised least mean squares
    (NLMS). No measurement is taken for it. The first layer needs no D, as nothing is fed back
    through it. It learns where the weights are wrong, and a factor that an activation has, not an
    activation of another form.

    Arguments: `learning` in [0, 1], the step of the regression; at 0 errors go back through the
    programmed weights. `damping` > 0, against noise, in units of the mean diagonal. The others as
    for `AbstractFeedbackRule`.
    Errors: as there, and for layers that are not `z = features(x) W + b`.

    Source: the regression is the classic one of adaptive filters; weights learned for feedback:
    Akrout and others, *Deep learning without weight transport*, 2019 (arXiv 1904.05391). Their use
    together derived here, checked by the tests.
    """

    kind: Literal["learned-feedback"] = "learned-feedback"
    learning: Annotated[float, Field(ge=0, le=1)] = 1.0
    damping: Annotated[float, Field(gt=0)] = 0.01

    def remember(
        self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem
    ) -> Parameters:
        """D, by the parameters' names."""
        del key
        return jax.tree.map(jnp.zeros_like, dict(problem.space.unravel(theta)))

    def model(self, state: GradientState, told: Told) -> Parameters:
        theta = super().model(state, told)
        return {name: theta[name] + D for name, D in state.memory.items()}

    def fed_back(
        self,
        state: GradientState,
        told: Told,
        layers: Sequence[Layer],
        errors: dict[str, Float[Array, "B ..."]],
    ) -> Float[Array, "B ..."]:
        above, x = layers[0], told.measurement.sites.inputs
        return through_weights(above, self.model(state, told), x[above.name], errors[above.name])

    def learn(self, state: GradientState, told: Told) -> Parameters:
        layers, model, D = self.layers(state.problem), self.model(state, told), dict(state.memory)
        x = [told.measurement.sites.inputs[layer.name] for layer in layers]
        x.append(told.measurement.outputs.y)
        for layer, seen, after in list(zip(layers, x, x[1:]))[1:]:
            z = layer(model, seen)
            r = through_activation(layer, z, after - output_of(layer, z))
            step = self.learning * self._regressed(layer, seen, r)
            for name, part in (("weight", step[:-1]), ("bias", step[-1])):
                own = f"{layer.name}/{name}"
                D[own] = D[own] + part.reshape(D[own].shape)
        return D

    def _regressed(
        self, layer: Layer, x: Float[Array, "B ..."], r: Float[Array, "B ..."]
    ) -> Float[Array, "_ _"]:
        """`(X̄ᵀX̄ + damping ⟨diag⟩)⁻¹ X̄ᵀ r`, a row for each weight of a neuron, its bias last."""
        rows = nodes.rows(layer, x)
        rows = jnp.concatenate([rows, jnp.ones((len(rows), 1), rows.dtype)], axis=1)
        A = rows.T @ rows
        A = A + self.damping * jnp.mean(jnp.diag(A)) * jnp.eye(len(A), dtype=A.dtype)
        step: Float[Array, "_ _"] = jax.scipy.linalg.solve(
            A, rows.T @ r.reshape(len(rows), -1), assume_a="pos"
        )
        return step
