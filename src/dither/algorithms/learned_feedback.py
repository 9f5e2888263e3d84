"""Backpropagation through measured activations and weights learned from them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
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


class Learned(eqx.Module):
    """D, by the parameters' names; A, by layer, of the batches `seen`."""

    D: Parameters
    A: dict[str, Float[Array, "_ _"]]
    seen: Int[Array, ""]


class LearnedFeedback(AbstractFeedbackRule):
    """Backpropagate errors through weights that are fitted to the layers' measured responses.

    ```
    model:     Ŵ = θ + D,    ẑ_l = x̄_l Ŵ_l,    x̄ = (features(x), 1)
    backward:  f_l = Ŵ_{l+1} e_{l+1}
    every measurement, for every layer:
               r_l = z_l − ẑ_l   or, if the device does not show z, with x_{L+1} = y,
               r_l = (∂x_{l+1}/∂ẑ_l)ᵀ (x_{l+1} − x_{l+1}(ẑ_l))
               D_l ← D_l + learning (X̄ᵀX̄ + damping ⟨diag X̄ᵀX̄⟩)⁻¹ X̄ᵀ r_l
    step:      (A + whitening ⟨diag A⟩)⁻¹ G,    A the running mean of x̄_bᵀ x̄_b
    ```

    The programmed weights θ are known; D is the device's deviation from them: gains, offsets,
    drift. Every reading of the layers shows the response of each layer to a batch, to which D is
    fitted off the device by normalised least mean squares, without extra measurements. If z is not
    shown, pooled layers are learned slowly, and a scale factor of an activation is learned with the
    weights.

    Arguments: `learning` in [0, 1], the step of the regression; at 0 errors are backpropagated
    through the programmed weights. `damping` > 0, against noise, in units of the mean diagonal.
    `whitening` > 0 whitens the layers' inputs as in `whitened-node-perturbation`; None for plain
    steps. The others as for `AbstractFeedbackRule`.
    Errors: as there, and `RequestError` for layers that are not `z = features(x) W + b`.

    Source: the regression is that of adaptive filters; weights learned for feedback: Akrout and
    others, *Deep learning without weight transport*, 2019 (arXiv 1904.05391). Their combination is
    derived here and checked by the tests.
    """

    kind: Literal["learned-feedback"] = "learned-feedback"
    learning: Annotated[float, Field(ge=0, le=1)] = 1.0
    damping: Annotated[float, Field(gt=0)] = 0.01
    whitening: Annotated[float, Field(gt=0)] | None = None

    def remember(self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem) -> Learned:
        del key
        D = {p.name: jnp.zeros(p.shape, theta.dtype) for p in problem.space.parameters}
        A = nodes.no_moments(problem.layers, problem.space)
        return Learned(D, {} if self.whitening is None else A, jnp.int32(0))

    def model(self, state: GradientState, told: Told) -> Parameters:
        theta = super().model(state, told)
        return {name: theta[name] + D for name, D in state.memory.D.items()}

    def fed_back(
        self,
        state: GradientState,
        told: Told,
        layers: Sequence[Layer],
        errors: dict[str, Float[Array, "B ..."]],
    ) -> Float[Array, "B ..."]:
        above, x = layers[0], told.measurement.sites.inputs
        return through_weights(above, self.model(state, told), x[above.name], errors[above.name])

    def learn(self, state: GradientState, told: Told) -> Learned:
        layers, model, now = self.layers(state.problem), self.model(state, told), state.memory
        shown = told.measurement.sites.preactivations
        inputs, D, seen = told.measurement.sites.inputs, dict(now.D), now.seen + 1
        x = [*(inputs[layer.name] for layer in layers), told.measurement.outputs.y]
        for layer, (before, after) in zip(layers, pairwise(x)):
            z = layer(model, before)
            if shown is None:
                r = through_activation(layer, z, after - output_of(layer, z))
            else:
                r = shown[layer.name] - z
            rows = nodes.with_one(nodes.rows(layer, before))
            step = self.learning * nodes.regressed(rows, r.reshape(len(rows), -1), self.damping)
            for name, part in (("weight", step[:-1]), ("bias", step[-1])):
                own = f"{layer.name}/{name}"
                D[own] = D[own] + part.reshape(D[own].shape)
        A = nodes.averaged(now.A, layers if now.A else (), inputs, jnp.minimum(seen, nodes.MEMORY))
        return Learned(D, A, seen)

    def precondition(
        self, state: GradientState, estimate: Float[Array, " P"]
    ) -> Float[Array, " P"]:
        if self.whitening is None:
            return estimate
        return nodes.whitened(state.problem.space, estimate, state.memory.A, self.whitening)
