"""Physics-aware training: forward pass on the device, backward pass through a digital twin."""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from pydantic import Field

from dither._errors import RequestError
from dither.algorithms import nodes
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.algorithms.twin import AbstractTwinRule, output_errors
from dither.contract import AccessLevel, Problem
from dither.networks import AnyNetwork


class Twin(eqx.Module):
    """The twin's gains `1 + mismatch n`; A, by layer, of the batches `seen`."""

    gains: Float[Array, " P"]
    A: dict[str, Float[Array, "_ _"]]
    seen: Int[Array, ""]


class PhysicsAware(AbstractTwinRule):
    """Measure the outputs on the device; differentiate a digital twin at the same inputs.

    ```
    measured:   y_b = device(θ, input_b)
    G = mean_b (∂twin(θ̂, input_b)/∂θ̂)ᵀ ∂C_b/∂y_b,    θ̂ = (1 + mismatch n) θ,   n ~ N(0, 1)
    θ ← θ − eta G   (or an Optax update)
    or with (A + whitening ⟨diag A⟩)⁻¹ G,   A the running mean of x̄_bᵀ x̄_b of the twin's layers
    ```

    The output error is the device's; its dependence on the parameters is the twin's. The layers are
    not read. With a perfect twin the rule is backpropagation.

    Arguments: `mismatch` ≥ 0, a relative error of the twin's parameters, drawn once per run, for
    studies of the required accuracy of a twin; `whitening` > 0, which whitens the twin's layer
    inputs as `learned-feedback` does the measured ones, None for plain steps; the others as for
    `AbstractTwinRule`.
    Errors: `RequestError` for a device that does not show outputs, or that chooses its own inputs;
    with whitening, for layers that are not `z = features(x) W + b`.

    Source: Wright and others, *Deep physical neural networks trained with backpropagation*, 2022
    (arXiv 2104.13386).
    """

    kind: Literal["physics-aware"] = "physics-aware"
    access_level: ClassVar[AccessLevel] = AccessLevel.OUTPUTS
    twin: Annotated[AnyNetwork | None, Field(examples=[{"kind": "mlp", "widths": (3, 2, 2)}])] = (
        None
    )
    mismatch: Annotated[float, Field(ge=0)] = 0.0
    whitening: Annotated[float, Field(gt=0)] | None = None

    def check(self, problem: Problem) -> None:
        super().check(problem)
        if not problem.repeats_batches:
            raise RequestError(
                f"The algorithm {self.kind} feeds the device's inputs to its twin, but this device "
                "chooses its own inputs; use weight-mgd."
            )
        if self.whitening is not None:
            layers, space = self.network(problem).layers, self.twin_space(problem)
            if not layers:
                raise RequestError(
                    f"The algorithm {self.kind} whitens the inputs of layers, but the twin names "
                    "no layers; remove algorithm.whitening."
                )
            nodes.check_linear(replace(problem, layers=layers, space=space), self.kind)

    def remember(self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem) -> Twin:
        gains = 1 + self.mismatch * jax.random.normal(key, theta.shape, theta.dtype)
        layers = () if self.whitening is None else self.network(problem).layers
        A = nodes.no_moments(layers, self.twin_space(problem))
        return Twin(gains, A, jnp.int32(0))

    def perturb(self, state: GradientState, at: At) -> tuple[Float[Array, " P"], None]:
        del state
        return at.theta, None

    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        """`mean_b (∂twin/∂θ̂)ᵀ ∂C_b/∂y_b`."""
        problem, inputs = state.problem, told.measurement.outputs.inputs
        network, space = self.network(problem), self.twin_space(problem)

        def forward(theta: Float[Array, " P"]) -> Float[Array, "B K"]:
            outputs: Float[Array, "B K"] = network(space.unravel(theta), inputs)
            return outputs

        back = jax.vjp(forward, state.memory.gains * told.theta)[1]
        (gradient,) = back(output_errors(problem, told.measurement))
        estimate: Float[Array, " P"] = gradient / problem.batch
        return estimate

    def learn(self, state: GradientState, told: Told) -> Twin:
        problem, now = state.problem, state.memory
        if not now.A:
            kept: Twin = now
            return kept
        network, x = self.network(problem), dict[str, Array]()

        def read(site: str, value: Array) -> Array:
            x[site] = value
            return value

        theta = self.twin_space(problem).unravel(now.gains * told.theta)
        network(theta, told.measurement.outputs.inputs, read)
        seen, inputs = now.seen + 1, {one.name: x[f"{one.name}/x"] for one in network.layers}
        A = nodes.averaged(now.A, network.layers, inputs, jnp.minimum(seen, nodes.MEMORY))
        return Twin(now.gains, A, seen)

    def precondition(
        self, state: GradientState, estimate: Float[Array, " P"]
    ) -> Float[Array, " P"]:
        if self.whitening is None:
            return estimate
        space = self.twin_space(state.problem)
        return nodes.whitened(space, estimate, state.memory.A, self.whitening)
