"""Physics-aware training: forward pass on the device, backward pass through a digital twin."""

from typing import Annotated, ClassVar, Literal

import jax
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither._errors import RequestError
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.algorithms.twin import AbstractTwinRule, output_errors
from dither.contract import AccessLevel, Problem
from dither.networks import AnyNetwork


class PhysicsAware(AbstractTwinRule):
    """Measure the outputs on the device; differentiate a digital twin at the same inputs.

    ```
    measured:   y_b = device(θ, input_b)
    G = mean_b (∂twin(θ̂, input_b)/∂θ̂)ᵀ ∂C_b/∂y_b,    θ̂ = (1 + mismatch n) θ,   n ~ N(0, 1)
    θ ← θ − eta G   (or an Optax update)
    ```

    The output error is the device's; its dependence on the parameters is the twin's. The layers are
    not read. With a perfect twin the rule is backpropagation.

    Arguments: `mismatch` ≥ 0, a relative error of the twin's parameters, drawn once per run, for
    studies of the required accuracy of a twin; the others as for `AbstractTwinRule`.
    Errors: `RequestError` for a device that does not show outputs, or that chooses its own inputs.

    Source: Wright and others, *Deep physical neural networks trained with backpropagation*, 2022
    (arXiv 2104.13386).
    """

    kind: Literal["physics-aware"] = "physics-aware"
    access_level: ClassVar[AccessLevel] = AccessLevel.OUTPUTS
    twin: Annotated[AnyNetwork | None, Field(examples=[{"kind": "mlp", "widths": (3, 2, 2)}])] = (
        None
    )
    mismatch: Annotated[float, Field(ge=0)] = 0.0

    def check(self, problem: Problem) -> None:
        super().check(problem)
        if not problem.repeats_batches:
            raise RequestError(
                f"The algorithm {self.kind} feeds the device's inputs to its twin, but this device "
                "chooses its own inputs; use weight-mgd."
            )

    def remember(
        self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem
    ) -> Float[Array, " P"]:
        """The twin's gains `1 + mismatch n`."""
        del problem
        return 1 + self.mismatch * jax.random.normal(key, theta.shape, theta.dtype)

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

        back = jax.vjp(forward, state.memory * told.theta)[1]
        (gradient,) = back(output_errors(problem, told.measurement))
        estimate: Float[Array, " P"] = gradient / problem.batch
        return estimate
