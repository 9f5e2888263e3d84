"""Node perturbation with local losses: every block of layers has its own cost."""

import math
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.algorithms import nodes, traps
from dither.algorithms.descent_rule import AbstractDescentRule
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.algorithms.local_parts import Parts
from dither.contract import AccessLevel, Layer, Measurement, Problem


class LocalLosses(AbstractDescentRule):
    """Node perturbation of greedy blocks: each block learns from its own cost only.

    ```
    h the outputs of a block, in parts h_k:  C_bk = cost(h_bk A_k, t_b)
    last block:  C_b, the network's own cost
    clean pass:  C;    noisy pass, with δ s added to every z:  C̃
    e_b = Σ_k (C̃_bk − C_bk) s / δ   over the parts k that a node affects
    θ_l ← θ_l − eta mean_b (∂z_l/∂θ_l)ᵀ e_b   (or an Optax update)
    replicated:  C_bk = cost(Σ_j h_bj A_j, t_b),   C̃_bk: the same with h̃_bk in place of h_bk
    ```

    A part is a group of channels, of all patches or of one. Patches share A_k, divided by their
    number if replicated.

    A are random linear readouts to the classes, which exist only off the device. The estimate is
    unbiased for the gradient of each local cost with respect to its own block, but not for the
    gradient of the network's cost. All blocks are perturbed in one pass, so that a block's cost is
    perturbed by the nodes of its own and of earlier blocks, but not of later ones.

    Arguments:
        delta: amplitude δ > 0 of the perturbation, in units of z.
        block: layers in a block, ≥ 1.
        groups: groups of channels (of neurons) at the end of a block, ≥ 1.
        patches: whether each patch is a separate part.
        replicated: whether the cost of a part is computed from all parts together.
        greedy: whether a block learns from its own cost only.
        readout_rate: learning rate of the readouts, by their exact gradient, ≥ 0; at 0 they stay
            fixed.
    The others as for `AbstractDescentRule`. Perturbations are per example; two measurements per
    tick.

    Errors: `RequestError` for a device that does not show sites, a network without named layers,
    groups that do not divide a block's channels, or patches in a network without them.

    Source: Ren2022.
    """

    kind: Literal["local-losses"] = "local-losses"
    access_level: ClassVar[AccessLevel] = AccessLevel.SITES
    delta: Annotated[float, Field(gt=0)] = 1e-2
    block: Annotated[int, Field(ge=1)] = 1
    groups: Annotated[int, Field(ge=1)] = 1
    patches: bool = False
    replicated: bool = False
    greedy: bool = True
    readout_rate: Annotated[float, Field(ge=0, examples=[0.1])] = 0.0

    def check(self, problem: Problem) -> None:
        super().check(problem)
        nodes.check_layers(problem, self.kind)
        for end in self._ends(problem):
            self._parts.check(end)

    @property
    def _parts(self) -> Parts:
        return Parts(self.groups, self.patches)

    def _blocks(self, problem: Problem) -> list[tuple[Layer, ...]]:
        starts = range(0, len(problem.layers), self.block)
        return [problem.layers[start : start + self.block] for start in starts]

    def _ends(self, problem: Problem) -> list[Layer]:
        """The last layers of the blocks that have a local cost."""
        return [block[-1] for block in self._blocks(problem)[:-1]]

    def _widths(self, problem: Problem) -> list[int]:
        """The number of costs of each block."""
        return [math.prod(self._parts.shape(end)) for end in self._ends(problem)] + [1]

    def costs_shape(self, problem: Problem) -> tuple[int, int]:
        return problem.batch, sum(self._widths(problem))

    def remember(self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem) -> Any:
        """The readouts A, by block; if replicated, also their outputs in the clean pass."""
        drawing, readouts, clean = jax.random.split(key)[0], [], []
        K = problem.layers[-1].nodes[-1]
        for number, end in enumerate(self._ends(problem)):
            patches, groups = self._parts.shape(end)
            z = jax.ShapeDtypeStruct((1, *end.nodes), theta.dtype)
            features = jax.eval_shape(end.onward, z).size // (patches * groups)
            shape = (groups, features, K)
            A = jax.random.normal(jax.random.fold_in(drawing, number), shape, theta.dtype)
            readouts.append(A / features**0.5)
            clean.append(jnp.zeros((problem.batch, patches, groups, K), theta.dtype))
        return (readouts, clean) if self.replicated else readouts

    def perturb(self, state: GradientState, at: At) -> tuple[Float[Array, " P"], dict[str, Array]]:
        problem, key = state.problem, jax.random.fold_in(state.key, state.clock.tick)
        return at.theta, nodes.perturbed(key, problem.layers, at.side * self.delta, problem.batch)

    def _readouts(self, state: GradientState) -> list[Float[Array, "g _ K"]]:
        found: list[Array] = state.memory[0] if self.replicated else state.memory
        return found

    def costs(self, state: GradientState, measurement: Measurement) -> Float[Array, "B _"]:
        """`C_bk` of all blocks, concatenated."""
        problem, targets = state.problem, measurement.outputs.targets
        y = self._outputs(self._readouts(state), problem, measurement)
        if self.replicated:
            refers = self.times(problem).refers(state.clock.part)
            clean = [jnp.where(refers, now, old) for now, old in zip(y, state.memory[1])]
            y = [_together(old) + (now - old) / old.shape[1] for now, old in zip(y, clean)]
        of_each = jax.vmap(problem.cost, in_axes=(1, None), out_axes=1)
        local = [of_each(now.reshape(len(now), -1, now.shape[-1]), targets) for now in y]
        return jnp.concatenate([*local, measurement.sites.costs[:, None]], axis=1)

    def _outputs(
        self, readouts: list[Float[Array, "g _ K"]], problem: Problem, measurement: Measurement
    ) -> list[Float[Array, "B p g K"]]:
        """`h_bk A_k` for every block but the last."""
        found = []
        heads = [block[0].name for block in self._blocks(problem)[1:]]
        for A, head, end in zip(readouts, heads, self._ends(problem)):
            patches, groups = self._parts.shape(end)
            h, channels = measurement.sites.inputs[head], end.nodes[-1] // groups
            grouped = h.reshape(problem.batch * patches, -1, groups, channels)
            by_group = jnp.moveaxis(grouped, 2, 0).reshape(groups, len(grouped), -1)
            y = jnp.einsum("gbf,gfk->bgk", by_group, A)
            found.append(y.reshape(problem.batch, patches, groups, -1))
        return found

    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        """`mean_b (∂z/∂θ)ᵀ e_b`, with `e_b = change p / δ²` of the parts that a node affects."""
        problem, blocks = state.problem, self._blocks(state.problem)
        shapes = [self._parts.shape(end) for end in self._ends(problem)] + [(1, 1)]
        ends = np.cumsum(self._widths(problem))[:-1]
        own = [
            mine.reshape(problem.batch, *shape)
            for mine, shape in zip(jnp.split(told.change, ends, axis=1), shapes)
        ]
        changes, e = self._parts.by_layer(blocks, own, self.greedy), {}
        for layer in problem.layers:
            of_layer = Parts.per_node(changes[layer.name], layer)
            e[layer.name] = of_layer * told.probe.added[f"{layer.name}/z"] / self.delta**2
        x = told.measurement.sites.inputs
        return nodes.pull_back(problem.layers, problem.space, told.theta, x, e)

    def learn(self, state: GradientState, told: Told) -> Any:
        problem, readouts = state.problem, self._readouts(state)
        if not readouts:
            return state.memory

        def total(readouts: list[Array]) -> Float[Array, ""]:
            y = self._outputs(readouts, problem, told.measurement)
            if self.replicated:
                y = [_together(now) for now in y]
            flat = [now.reshape(len(now), -1, now.shape[-1]) for now in y]
            of_each = jax.vmap(problem.cost, in_axes=(1, None), out_axes=1)
            costs = [of_each(now, told.measurement.outputs.targets) for now in flat]
            return jnp.sum(jnp.concatenate(costs, axis=1)) / problem.batch

        after = readouts
        if self.readout_rate:
            rate = jnp.where(told.refers, 0.0, self.readout_rate)
            after = [A - rate * g for A, g in zip(readouts, jax.grad(total)(readouts))]
        if not self.replicated:
            return after
        y = self._outputs(readouts, problem, told.measurement)
        clean = [jnp.where(told.refers, now, old) for now, old in zip(y, state.memory[1])]
        return after, clean

    def warnings(self, problem: Problem, measurements: int | None) -> list[str]:
        return [*traps.of_float(self.delta), *super().warnings(problem, measurements)]


def _together(y: Float[Array, "B p g K"]) -> Float[Array, "B 1 1 K"]:
    """The joint output of all parts: summed over the groups, averaged over the patches."""
    return jnp.mean(jnp.sum(y, axis=2, keepdims=True), axis=1, keepdims=True)
