"""Rules that propagate errors backward through weights other than the device's."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import Field

from dither._errors import RequestError
from dither.algorithms import nodes
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.algorithms.twin import AbstractTwinRule, output_errors
from dither.contract import AccessLevel, Layer, Parameters, Problem
from dither.networks import AnyNetwork


class AbstractFeedbackRule(AbstractTwinRule):
    """Read every layer's inputs and the outputs; backpropagate the errors off the device.

    ```
    measured:      x_lb of every layer, y_b             z_l = z_l(θ, x_l)
    last layer:    e_L = (∂y/∂z_L)ᵀ ∂C_b/∂y_b
    layers below:  e_l = (∂x_{l+1}/∂z_l)ᵀ f_l,   f_l: feedback to the layer's output
    G_l = mean_b (∂z_l/∂θ_l)ᵀ e_lb,   θ ← θ − eta G   (or an Optax update)
    ```

    `x_{l+1}(z_l)` is the layer's activation, followed by any pooling. Nothing is perturbed.

    Arguments: `twin`, a network with the device's layers; its activations and pooling are used, not
    its weights; the others as for `AbstractTwinRule`.
    Errors: `RequestError` for a device that does not show its layers' inputs, or whose layers
    differ from the twin's.
    """

    access_level: ClassVar[AccessLevel] = AccessLevel.SITES
    twin: Annotated[AnyNetwork | None, Field(examples=[{"kind": "mlp", "widths": (3, 2, 2)}])] = (
        None
    )

    def layers(self, problem: Problem) -> Sequence[Layer]:
        """The layers, with their activations."""
        found: Sequence[Layer] = self.network(problem).layers
        return found

    def check(self, problem: Problem) -> None:
        super().check(problem)
        nodes.check_linear(problem, self.kind)
        twins, own = ([x.name for x in some] for some in (self.layers(problem), problem.layers))
        if twins != own:
            raise RequestError(
                f"The twin has the layers {', '.join(twins) or 'none'}, but the device has "
                f"{', '.join(own)}; give algorithm.twin the device's layers."
            )

    def perturb(self, state: GradientState, at: At) -> tuple[Float[Array, " P"], dict[str, Array]]:
        """θ unchanged, and zero perturbations at the sites, so that the layers are read."""
        zeros = {one.name: jnp.zeros(one.nodes, at.theta.dtype) for one in state.problem.layers}
        return at.theta, nodes.at_sites(zeros)

    def model(self, state: GradientState, told: Told) -> Parameters:
        """The parameters from which z is computed: the programmed ones."""
        return dict(state.problem.space.unravel(told.theta))

    @abstractmethod
    def fed_back(
        self,
        state: GradientState,
        told: Told,
        layers: Sequence[Layer],
        errors: dict[str, Float[Array, "B ..."]],
    ) -> Float[Array, "B ..."]:
        """`f_l`, from the errors of the layers above; `layers[0]` is the next layer."""

    def errors(self, state: GradientState, told: Told) -> dict[str, Float[Array, "B ..."]]:
        """`e_lb` by layer."""
        layers, model = self.layers(state.problem), self.model(state, told)
        x, e = told.measurement.sites.inputs, dict[str, Array]()
        fed = output_errors(state.problem, told.measurement)
        for number, layer in reversed(list(enumerate(layers))):
            if above := layers[number + 1 :]:
                fed = self.fed_back(state, told, above, e)
            e[layer.name] = through_activation(layer, layer(model, x[layer.name]), fed)
        return e

    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        """`mean_b (∂z/∂θ)ᵀ e_b`."""
        problem, x = state.problem, told.measurement.sites.inputs
        e = self.errors(state, told)
        return nodes.pull_back(problem.layers, problem.space, told.theta, x, e)


def output_of(layer: Layer, z: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    """`x_{l+1}`, a layer's output and the next layer's input."""
    return layer.onward(layer.activation(z))


def through_activation(
    layer: Layer, z: Float[Array, "B ..."], fed: Float[Array, "B ..."]
) -> Float[Array, "B ..."]:
    """`(∂x_{l+1}/∂z_l)ᵀ f_l`."""
    (errors,) = jax.vjp(lambda z: output_of(layer, z), z)[1](fed)
    back: Float[Array, "B ..."] = errors
    return back


def through_weights(
    layer: Layer, weights: Parameters, x: Float[Array, "B ..."], e: Float[Array, "B ..."]
) -> Float[Array, "B ..."]:
    """`(∂z_l/∂x_l)ᵀ e_l` at some weights: `e Wᵀ`, or the transposed convolution."""
    (errors,) = jax.vjp(lambda x: layer(weights, x), x)[1](e)
    back: Float[Array, "B ..."] = errors
    return back
