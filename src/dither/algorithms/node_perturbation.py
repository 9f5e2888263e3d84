"""Multiplexed gradient descent by node perturbation."""

import math
from functools import partial
from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from pydantic import Field

from dither.algorithms import nodes, traps
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.algorithms.sketch import AbstractSketchedRule
from dither.contract import AccessLevel, Layer, Problem
from dither.laws.estimate import growth


class NodePerturbation(AbstractSketchedRule):
    """Perturb the neurons' inputs z, measure every sample's cost, correlate, integrate, update.

    ```
    z_l ← z_l + δ s,  s = ±1:   baseline  e_b = (C_b(δs) − C_b(0)) s / δ
                                central   e_b = (C_b(δs) − C_b(−δs)) s / (2 δ)
    G_l ← G_l + mean_b (∂z_l/∂θ_l)ᵀ e_b        dense: e_b x_bᵀ;  convolution: kernel gradient
    every tau_theta ticks:  θ ← θ − eta G / tau_theta (or an Optax update),  G ← 0
    ```

    `G / tau_theta` is the averaged, unbiased gradient estimate. A tick perturbs every layer: all at
    once, or each in turn on the same batch, with one perturbed measurement (or a central pair) per
    layer. The baseline is measured again, and counted, when the batch or the parameters have
    changed, and serves all layers of a tick; the paper measures it for each layer. With all layers
    at once, the x of later layers is perturbed, which causes a bias of order δ.

    Arguments:
        delta: amplitude δ > 0 of the perturbation, in units of z.
        layers: `all` at once or `each` in turn.
        per_example: whether perturbations are per example, or shared by the batch.
        pairs: `baseline` (one-sided) or `central`.
        normalise: whether, as in the paper, for N nodes perturbed together, δ is replaced by δ/√N
            and the averaged estimate is divided by its expected growth √(1 + (N − 1)/tau_theta).
    The others as for `AbstractSketchedRule`.
    Errors: `RequestError` for a device that does not show sites, or a network without named layers.

    Source: Oripov2025; perturbations per example: Ren2022.
    """

    kind: Literal["node-perturbation"] = "node-perturbation"
    access_level: ClassVar[AccessLevel] = AccessLevel.SITES
    per_example_costs: ClassVar[bool] = True
    delta: Annotated[float, Field(gt=0)] = 1e-2
    layers: Literal["all", "each"] = "all"
    per_example: bool = False
    pairs: Literal["baseline", "central"] = "baseline"
    normalise: bool = False

    def check(self, problem: Problem) -> None:
        super().check(problem)
        nodes.check_layers(problem, self.kind)

    @property
    def central(self) -> bool:
        return self.pairs == "central"

    def _together(self, problem: Problem) -> list[tuple[Layer, ...]]:
        """The layers that are perturbed together."""
        return [problem.layers] if self.layers == "all" else [(one,) for one in problem.layers]

    def turns(self, problem: Problem) -> int:
        return len(self._together(problem))

    def _amplitude(self, group: tuple[Layer, ...]) -> float:
        return self.delta / math.sqrt(nodes.count(group)) if self.normalise else self.delta

    def layer(self, state: GradientState) -> tuple[Int[Array, ""] | None, tuple[str, ...]] | None:
        names = tuple(layer.name for layer in state.problem.layers)
        turn, _ = self.times(state.problem).perturbed(state.clock.part)
        return turn if self.layers == "each" else None, names

    def perturb(self, state: GradientState, at: At) -> tuple[Float[Array, " P"], dict[str, Array]]:
        problem = state.problem
        samples = problem.batch if self.per_example else None
        p = nodes.signs(jax.random.fold_in(state.key, state.clock.tick), problem.layers, samples)
        for number, mine in enumerate(self._together(problem)):
            size = jnp.where(at.turn == number, at.side * self._amplitude(mine), 0.0)
            p |= {layer.name: size * p[layer.name] for layer in mine}
        return at.theta, nodes.at_sites(p)

    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        """`mean_b (∂z/∂θ)ᵀ e_b`, with `e_b = change_b p / δ²`."""
        problem, x = state.problem, self.inputs(state, told)

        def of(mine: tuple[Layer, ...]) -> Float[Array, " P"]:
            e = nodes.errors(mine, told.change / self._amplitude(mine) ** 2, told.probe)
            return nodes.pull_back(mine, problem.space, told.theta, x, e)

        turn, _ = self.times(problem).perturbed(state.clock.part)
        branches = [partial(of, mine) for mine in self._together(problem)]
        estimate: Float[Array, " P"] = jax.lax.switch(turn, branches)
        return estimate

    def precondition(
        self, state: GradientState, estimate: Float[Array, " P"]
    ) -> Float[Array, " P"]:
        return estimate / self._growth(state.problem) if self.normalise else estimate

    def _growth(self, problem: Problem) -> Float[Array, " P"]:
        """`√(1 + (N − 1)/tau_theta)` for every parameter, N the nodes perturbed together."""
        growth_of = {
            layer.name: growth(nodes.count(group) - 1.0, float(self.tau_theta))
            for group in self._together(problem)
            for layer in group
        }
        return problem.space.ravel(
            {
                p.name: jnp.full(p.shape, growth_of[p.name.rpartition("/")[0]])
                for p in problem.space.parameters
            }
        )

    def spread(self, problem: Problem) -> float | None:
        if self.per_example:
            return None
        N = 1 if self.normalise else max(map(nodes.count, self._together(problem)))
        return growth(N - 1.0, float(self.tau_theta))

    def warnings(self, problem: Problem, measurements: int | None) -> list[str]:
        return [*traps.of_float(self.delta), *super().warnings(problem, measurements)]
