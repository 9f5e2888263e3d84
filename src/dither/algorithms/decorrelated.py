"""Node perturbation with decorrelated layer inputs."""

from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.algorithms import nodes, traps
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.algorithms.sketch import AbstractSketchedRule
from dither.contract import AccessLevel, Problem


class DecorrelatedNodePerturbation(AbstractSketchedRule):
    """Node perturbation with steps as for decorrelated layer inputs.

    ```
    clean pass:  C_b;   x*_b = x_b R;   R ← R − epsilon R (⟨x*ᵀ x*⟩ − diag) / ⟨|x*|²⟩
    noisy pass, with δ s added to every z:  e_b = (C̃_b − C_b) s / δ
    W ← W − eta R Rᵀ mean_b x_bᵀ e_b,   b ← b − eta mean_b e_b   (or an Optax update)
    ```

    R is learned off the device from the layers' inputs. A step of W* in `z = x* W* + b` is a step
    `R Rᵀ x ᵀe` of the device's `W = R W*`: a change of R does not change what the layers compute,
    and only W is programmed. The division by ⟨|x*|²⟩ makes every epsilon below 1 stable for inputs
    of any size. A convolution has a row x for every patch.

    Arguments: `delta`, amplitude δ > 0 in units of z; `decorrelation`, epsilon in [0, 1); the
    others as for `AbstractSketchedRule`. Perturbations are per example; two measurements per tick.
    Errors: `RequestError` for a device that does not show sites, a network without named layers, or
    a layer that is not `z = features(x) W + b`.

    Source: Dalm and others, *Effective learning with node perturbation in multi-layer neural
    networks*, 2023, recalled and not verified; there R is part of the network itself.
    """

    kind: Literal["decorrelated-node-perturbation"] = "decorrelated-node-perturbation"
    access_level: ClassVar[AccessLevel] = AccessLevel.SITES
    per_example_costs: ClassVar[bool] = True
    delta: Annotated[float, Field(gt=0)] = 1e-2
    decorrelation: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def check(self, problem: Problem) -> None:
        super().check(problem)
        nodes.check_linear(problem, self.kind)

    def remember(
        self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem
    ) -> dict[str, Float[Array, "p p"]]:
        """R of every layer."""
        del key
        widths = nodes.features_of(problem.layers, problem.space)
        return {name: jnp.eye(p, dtype=theta.dtype) for name, p in widths.items()}

    def perturb(self, state: GradientState, at: At) -> tuple[Float[Array, " P"], dict[str, Array]]:
        problem, key = state.problem, jax.random.fold_in(state.key, state.clock.tick)
        return at.theta, nodes.perturbed(key, problem.layers, at.side * self.delta, problem.batch)

    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        problem, x = state.problem, self.inputs(state, told)
        e = nodes.errors(problem.layers, told.change / self.delta**2, told.probe)
        return nodes.pull_back(problem.layers, problem.space, told.theta, x, e)

    def learn(self, state: GradientState, told: Told) -> dict[str, Float[Array, "p p"]]:
        layers, R, x = state.problem.layers, state.memory, told.measurement.sites.inputs

        def learnt() -> dict[str, Float[Array, "p p"]]:
            after = {
                layer.name: self._decorrelate(R[layer.name], nodes.rows(layer, x[layer.name]))
                for layer in layers
            }
            return {name: jnp.where(told.again, R[name], after[name]) for name in after}

        after: dict[str, Float[Array, "p p"]] = jax.lax.cond(told.refers, learnt, lambda: R)
        return after

    def _decorrelate(self, R: Float[Array, "p p"], x: Float[Array, "n p"]) -> Float[Array, "p p"]:
        x = x @ R
        squares = jnp.mean(x**2, axis=0)
        off_diagonal = (R @ x.T) @ x / len(x) - R * squares
        size = jnp.sum(squares)
        # zero inputs need no decorrelation
        return R - self.decorrelation * off_diagonal / jnp.where(size > 0, size, 1.0)

    def precondition(
        self, state: GradientState, estimate: Float[Array, " P"]
    ) -> Float[Array, " P"]:
        """`R Rᵀ G` for every weight matrix's estimate G."""
        space = state.problem.space
        G = space.unravel(estimate)
        for name, R in state.memory.items():
            weight = G[f"{name}/weight"]
            G[f"{name}/weight"] = (R @ (R.T @ weight.reshape(len(R), -1))).reshape(weight.shape)
        return space.ravel(G)

    def warnings(self, problem: Problem, measurements: int | None) -> list[str]:
        return [*traps.of_float(self.delta), *super().warnings(problem, measurements)]
