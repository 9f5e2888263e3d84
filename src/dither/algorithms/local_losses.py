"""Node perturbation by local losses: every block of layers has a cost of its own."""

from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither._errors import RequestError
from dither.algorithms import nodes, traps
from dither.algorithms.descent_rule import AbstractDescentRule
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.contract import AccessLevel, Layer, Measurement, Problem


class LocalLosses(AbstractDescentRule):
    """Node perturbation of greedy blocks: a block learns from its own cost and no other.

    ```
    h the outputs of a block, in groups of channels h_g:  C_bg = cost(h_bg A_g, t_b)
    last block:  C_b, the network's own cost
    clean pass:  C;    noisy pass, with δ s added to every z:  C̃
    e_b = (C̃_bg − C_bg) s / δ   for the nodes of group g; summed over g for a block's inner layers
    θ_l ← θ_l − eta mean_b (∂z_l/∂θ_l)ᵀ e_b   (or an Optax update)
    ```

    A_g are linear readouts to the classes, drawn at random, that exist off the device only. An
    unbiased estimate of every local cost's gradient with respect to its own block, though no
    longer of the gradient of the network's cost. All blocks are perturbed in one pass, so that a
    block's cost is disturbed by the nodes of its own and of earlier blocks, not of later ones.

    Arguments:
        delta: amplitude δ > 0 of the perturbation, in units of z.
        block: layers in a block, ≥ 1.
        groups: groups of channels (of neurons) at the end of a block, ≥ 1.
        readout_rate: step of the readouts down the gradient of their costs, ≥ 0; at 0 they stay
            as drawn.
    The others as for `AbstractDescentRule`. Perturbations are per example; two measurements a tick.
    Errors: refused for a device that does not show sites, a network that names no layers, groups
    that do not divide a block's channels.

    Source: Ren2022.
    """

    kind: Literal["local-losses"] = "local-losses"
    access_level: ClassVar[AccessLevel] = AccessLevel.SITES
    delta: Annotated[float, Field(gt=0)] = 1e-2
    block: Annotated[int, Field(ge=1)] = 1
    groups: Annotated[int, Field(ge=1)] = 1
    readout_rate: Annotated[float, Field(ge=0, examples=[0.1])] = 0.0

    def check(self, problem: Problem) -> None:
        super().check(problem)
        nodes.check_layers(problem, self.kind)
        for end in self._ends(problem):
            if end.nodes[-1] % self.groups:
                raise RequestError(
                    f"The {end.nodes[-1]} channels of layer '{end.name}' do not fall into "
                    f"{self.groups} groups; set groups to a divisor."
                )

    def _blocks(self, problem: Problem) -> list[tuple[Layer, ...]]:
        starts = range(0, len(problem.layers), self.block)
        return [problem.layers[start : start + self.block] for start in starts]

    def _ends(self, problem: Problem) -> list[Layer]:
        """The last layers of the blocks that have a local cost."""
        return [block[-1] for block in self._blocks(problem)[:-1]]

    def _widths(self, problem: Problem) -> list[int]:
        """How many costs each block has."""
        return [self.groups] * len(self._ends(problem)) + [1]

    def costs_shape(self, problem: Problem) -> tuple[int, int]:
        return problem.batch, sum(self._widths(problem))

    def remember(
        self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem
    ) -> list[Float[Array, "g _ K"]]:
        """The readouts A, by block."""
        drawing, readouts = jax.random.split(key)[0], []
        for number, end in enumerate(self._ends(problem)):
            z = jax.ShapeDtypeStruct((1, *end.nodes), theta.dtype)
            features = jax.eval_shape(end.onward, z).size // self.groups
            shape = (self.groups, features, problem.layers[-1].nodes[-1])
            A = jax.random.normal(jax.random.fold_in(drawing, number), shape, theta.dtype)
            readouts.append(A / features**0.5)
        return readouts

    def perturb(self, state: GradientState, at: At) -> tuple[Float[Array, " P"], dict[str, Array]]:
        problem, key = state.problem, jax.random.fold_in(state.key, state.clock.tick)
        return at.theta, nodes.perturbed(key, problem.layers, at.side * self.delta, problem.batch)

    def costs(self, state: GradientState, measurement: Measurement) -> Float[Array, "B _"]:
        """`C_bg` of all blocks, one behind the other."""
        local = self._local_costs(state.memory, state.problem, measurement)
        return jnp.concatenate([*local, measurement.sites.costs[:, None]], axis=1)

    def _local_costs(
        self, readouts: list[Float[Array, "g _ K"]], problem: Problem, measurement: Measurement
    ) -> list[Float[Array, "B g"]]:
        """`C_bg = cost(h_bg A_g, t_b)` for every block but the last."""
        B, targets, costs = problem.batch, measurement.outputs.targets, []
        of_each_group = jax.vmap(problem.cost, in_axes=(0, None), out_axes=1)
        heads = [block[0].name for block in self._blocks(problem)[1:]]
        for A, head, end in zip(readouts, heads, self._ends(problem)):
            channels = end.nodes[-1] // self.groups
            grouped = measurement.sites.inputs[head].reshape(B, -1, self.groups, channels)
            by_group = jnp.moveaxis(grouped, 2, 0).reshape(self.groups, B, -1)
            costs.append(of_each_group(jnp.einsum("gbf,gfk->gbk", by_group, A), targets))
        return costs

    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        """`mean_b (∂z/∂θ)ᵀ e_b`, with `e_b = change p / δ²` of the block's own cost."""
        problem, e, start = state.problem, {}, 0
        for block, width in zip(self._blocks(problem), self._widths(problem)):
            mine, start = told.change[:, start : start + width], start + width
            for layer in block:
                of_layer = nodes.per_node(jnp.sum(mine, axis=1), layer)
                if layer is block[-1]:
                    of_channel = jnp.repeat(mine, layer.nodes[-1] // width, axis=1)
                    between = (1 for _ in layer.nodes[1:])
                    of_layer = of_channel.reshape(problem.batch, *between, layer.nodes[-1])
                e[layer.name] = of_layer * told.probe.added[f"{layer.name}/z"] / self.delta**2
        x = told.measurement.sites.inputs
        return nodes.pull_back(problem.layers, problem.space, told.theta, x, e)

    def learn(self, state: GradientState, told: Told) -> list[Float[Array, "g _ K"]]:
        readouts: list[Float[Array, "g _ K"]] = state.memory
        if not (readouts and self.readout_rate):
            return readouts

        def total(readouts: list[Array]) -> Float[Array, ""]:
            costs = self._local_costs(readouts, state.problem, told.measurement)
            return jnp.sum(jnp.concatenate(costs, axis=1)) / state.problem.batch

        rate = jnp.where(told.refers, 0.0, self.readout_rate)
        return [A - rate * g for A, g in zip(readouts, jax.grad(total)(readouts))]

    def warnings(self, problem: Problem, measurements: int | None) -> list[str]:
        return [*traps.of_float(self.delta), *super().warnings(problem, measurements)]
