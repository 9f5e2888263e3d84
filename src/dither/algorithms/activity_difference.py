"""Node perturbation with measured activity differences."""

from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from pydantic import Field

from dither.algorithms import nodes, traps
from dither.algorithms.descent_rule import AbstractDescentRule
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.contract import AccessLevel, Problem


class ActivityDifference(AbstractDescentRule):
    """Perturb every neuron's input z, and correlate the cost with the resulting changes of z.

    ```
    clean pass:  C_b, z_b;    noisy pass, with δ s added to every z:  C̃_b, z̃_b
    e_lb = N (C̃_b − C_b) Δ_lb / |Δ_b|²,   Δ_b = z̃_b − z_b over all N nodes
    θ_l ← θ_l − eta mean_b (∂z_l/∂θ_l)ᵀ e_lb   (or an Optax update)
    ```

    Δ contains the added perturbation and the change passed on by earlier layers. The perturbation
    itself need not be known: the device's own noise would do. The price is a bias. With J_lm =
    ∂z_l/∂z_m, to first order `E[(C̃ − C) Δ_l] = δ² (1 + Σ_{m<l} J_lm J_lmᵀ) ∂C/∂z_l`: still a
    descent direction, but the gradient only in the first layer. `node-perturbation` has no such
    bias.

    Arguments: `delta`, amplitude δ > 0 in units of z; the others as for `AbstractDescentRule`.
    Perturbations are per example; two measurements per tick.
    Errors: `RequestError` for a device that does not show sites, or a network without named layers.

    Source: Dalm and others, *Effective learning with node perturbation in multi-layer neural
    networks*, 2023, recalled and not verified; the bias derived here, checked by the tests.
    """

    kind: Literal["activity-difference"] = "activity-difference"
    access_level: ClassVar[AccessLevel] = AccessLevel.SITES
    per_example_costs: ClassVar[bool] = True
    delta: Annotated[float, Field(gt=0)] = 1e-2

    def check(self, problem: Problem) -> None:
        super().check(problem)
        nodes.check_layers(problem, self.kind)
        nodes.check_shows_z(problem, f"The algorithm {self.kind}")

    def remember(
        self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem
    ) -> dict[str, Float[Array, "B ..."]]:
        """The activities z of the clean pass, by layer."""
        del key
        shapes = {layer.name: (problem.batch, *layer.nodes) for layer in problem.layers}
        return {name: jnp.zeros(shape, theta.dtype) for name, shape in shapes.items()}

    def layer(self, state: GradientState) -> tuple[Int[Array, ""] | None, tuple[str, ...]] | None:
        return None, tuple(layer.name for layer in state.problem.layers)

    def perturb(self, state: GradientState, at: At) -> tuple[Float[Array, " P"], dict[str, Array]]:
        problem, key = state.problem, jax.random.fold_in(state.key, state.clock.tick)
        return at.theta, nodes.perturbed(key, problem.layers, at.side * self.delta, problem.batch)

    def learn(self, state: GradientState, told: Told) -> dict[str, Float[Array, "B ..."]]:
        now = told.measurement.sites.z
        return {name: jnp.where(told.refers, now[name], z) for name, z in state.memory.items()}

    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        """`mean_b (∂z/∂θ)ᵀ e_b`, with `e_lb = N change_b Δ_lb / |Δ_b|²`."""
        problem, z = state.problem, told.measurement.sites.z
        difference = {name: z[name] - clean for name, clean in state.memory.items()}
        squares = sum(
            jnp.sum(jnp.square(d).reshape(problem.batch, -1), axis=1) for d in difference.values()
        )
        factor = nodes.count(problem.layers) * told.change / squares
        e = {
            layer.name: nodes.per_node(factor, layer) * difference[layer.name]
            for layer in problem.layers
        }
        x = told.measurement.sites.inputs
        return nodes.pull_back(problem.layers, problem.space, told.theta, x, e)

    def warnings(self, problem: Problem, measurements: int | None) -> list[str]:
        return [*traps.of_float(self.delta), *super().warnings(problem, measurements)]
