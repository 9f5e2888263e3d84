"""Forward gradients of local losses, for simulations only."""

from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither._errors import RequestError
from dither.algorithms import nodes
from dither.algorithms.descent_rule import AbstractDescentRule
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.algorithms.local_parts import Parts
from dither.contract import AccessLevel, Layer, Parameters, Problem


class LocalForwardGradient(AbstractDescentRule):
    """Estimate the gradient from derivatives of every part of every block along random directions.

    ```
    block b:   h_b the outputs,  y_b = readout_b(h_b),  C_b = cost(y_b, t)
    part k:    Ċ_k = ⟨∂C_b/∂h_k, ḣ_k⟩   h_k: a group of channels, of one patch or of all
    activity:  ḣ along signs s for every node of every example;  e = s Σ Ċ_k,
               G_l = mean over the examples of (∂z_l/∂θ_l)ᵀ e
    weights:   ḣ along signs p for every parameter;  G = p Σ (mean over the examples of Ċ_k)
    backward:  G = Σ_b ∂C_b/∂θ, exact
    ```

    The sum of a node or parameter runs over the parts that it affects within its block and, if the
    blocks are not greedy, over all parts of later blocks. ∂C_b/∂h_k is that of replicated
    aggregation: each part is fed to the readout together with the others, which count as constants.
    The last block's readout is the network's last layer; the others are linear and random. All
    readouts follow their exact gradient, since ∂C_b/∂y_b follows from the readings.

    Arguments:
        directions: `activity`, `weights` or `backward`.
        block: layers in a block, ≥ 1, not counting the network's last layer; 0 for a single block.
        groups: groups of channels at the end of a block, ≥ 1.
        patches: whether each patch is a separate part.
        greedy: whether a block learns from its own cost only.
        readout_rate: learning rate of the random readouts, ≥ 0.
    The others as for `AbstractDescentRule`. One measurement per tick. The derivatives are those of
    the ideal network of the device, without its imperfections.
    Errors: `RequestError` for a device that does not show gradients, a network without blocks
    (fewer than two layers), groups that do not divide a block's channels, or patches in a network
    without them.

    Source: Ren2022; FG-W, FG-A with one block and one part, LG-FG-W, LG-FG-A with several.
    """

    kind: Literal["local-forward-gradient"] = "local-forward-gradient"
    access_level: ClassVar[AccessLevel] = AccessLevel.GRADIENTS
    exact: ClassVar[bool] = True
    directions: Literal["activity", "weights", "backward"] = "activity"
    block: Annotated[int, Field(ge=0)] = 0
    groups: Annotated[int, Field(ge=1)] = 1
    patches: bool = False
    greedy: bool = True
    readout_rate: Annotated[float, Field(ge=0)] = 0.3

    def check(self, problem: Problem) -> None:
        super().check(problem)
        if len(problem.layers) < 2:
            raise RequestError(
                f"The algorithm {self.kind} needs blocks of layers before the last one, but the "
                f"network names {len(problem.layers)} layers; use another network or "
                "forward-gradient."
            )
        for block in self._blocks(problem):
            self._parts.check(block[-1])

    @property
    def _parts(self) -> Parts:
        return Parts(self.groups, self.patches)

    def _blocks(self, problem: Problem) -> list[tuple[Layer, ...]]:
        inner = problem.layers[:-1]
        size = self.block or len(inner)
        return [inner[start : start + size] for start in range(0, len(inner), size)]

    def remember(
        self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem
    ) -> list[Float[Array, "_ K"]]:
        """The random readouts A, by block."""
        drawing, readouts = jax.random.split(key)[0], []
        for number, (*_, end) in enumerate(self._blocks(problem)[:-1]):
            z = jax.ShapeDtypeStruct((1, *end.nodes), theta.dtype)
            shape = (jax.eval_shape(end.onward, z).size, problem.layers[-1].nodes[-1])
            readouts.append(
                jax.random.normal(jax.random.fold_in(drawing, number), shape, theta.dtype)
            )
        return readouts

    def perturb(self, state: GradientState, at: At) -> tuple[Float[Array, " P"], None]:
        del state
        return at.theta, None

    def _features(
        self, problem: Problem, parameters: Parameters, added: dict[str, Array], x: Array
    ) -> tuple[list[Array], dict[str, Array]]:
        """h of every block, and the inputs of every layer, with perturbations of z."""
        found, inputs = [], {}
        for block in self._blocks(problem):
            x = jax.lax.stop_gradient(x) if self.greedy else x
            for layer in block:
                inputs[layer.name] = x
                x = layer.onward(layer.activation(layer(parameters, x) + added.get(layer.name, 0)))
            found.append(x)
        return found, inputs

    def _costs(
        self, problem: Problem, parameters: Parameters, A: list[Array], h: list[Array], told: Told
    ) -> list[Float[Array, " B"]]:
        """C_b of every block."""
        last, targets = problem.layers[-1], told.measurement.outputs.targets
        drawn = [jnp.dot(h_b.reshape(len(h_b), -1), A_b) for h_b, A_b in zip(h, A)]
        scaled = [y / A_b.shape[0] ** 0.5 for y, A_b in zip(drawn, A)]
        y = [*scaled, last.onward(last.activation(last(parameters, h[-1])))]
        return [problem.cost(y_b, targets) for y_b in y]

    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        problem, space, last = state.problem, state.problem.space, state.problem.layers[-1]
        parameters = space.unravel(told.theta)
        x = told.measurement.sites.inputs[problem.layers[0].name]

        def total(parameters: Parameters, h: list[Array]) -> Float[Array, ""]:
            costs = self._costs(problem, parameters, state.memory, h, told)
            return sum(map(jnp.sum, costs), jnp.zeros(()))

        if self.directions == "backward":

            def whole(parameters: Parameters) -> Float[Array, ""]:
                h, _ = self._features(problem, parameters, {}, x)
                return total(parameters, h) / problem.batch

            return space.ravel(jax.grad(whole)(parameters))
        key = jax.random.fold_in(state.key, state.clock.tick)
        inner = problem.layers[:-1]
        s = nodes.signs(key, inner, problem.batch)
        p = space.unravel(jax.random.rademacher(key, (space.size,), told.theta.dtype))
        of_theta, of_z = ({}, s) if self.directions == "activity" else (p, {})

        def moved(t: Float[Array, ""]) -> tuple[list[Array], dict[str, Array]]:
            theta = {k: v + t * of_theta.get(k, 0) for k, v in parameters.items()}
            return self._features(problem, theta, {k: t * v for k, v in of_z.items()}, x)

        h, h_dot, inputs = jax.jvp(moved, (0.0,), (1.0,), has_aux=True)
        by_readout, back = jax.grad(total, argnums=(0, 1))(parameters, h)
        blocks = self._blocks(problem)
        own = [
            jnp.sum(self._parts.cut(c * along, block[-1]), axis=(2, 4))
            for c, along, block in zip(back, h_dot, blocks)
        ]
        changes = self._parts.by_layer(blocks, own, self.greedy)
        if self.directions == "activity":
            e = {layer.name: Parts.per_node(changes[layer.name], layer) * s[layer.name]
                 for layer in inner}  # fmt: skip
            G = space.unravel(nodes.pull_back(inner, space, told.theta, inputs, e))
        else:
            G = {}
            for layer in inner:
                change = jnp.mean(jnp.sum(changes[layer.name], axis=1), axis=0)
                G |= {k: _along(change, p[k], layer) for k in p if k.startswith(f"{layer.name}/")}
        readout = {k: v / problem.batch for k, v in by_readout.items()
                   if k.startswith(f"{last.name}/")}  # fmt: skip
        return space.ravel(G | readout)

    def learn(self, state: GradientState, told: Told) -> list[Float[Array, "_ K"]]:
        A: list[Float[Array, "_ K"]] = state.memory
        if not (A and self.readout_rate):
            return A
        problem, space = state.problem, state.problem.space
        parameters = space.unravel(told.theta)
        x = told.measurement.sites.inputs[problem.layers[0].name]
        h, _ = self._features(problem, parameters, {}, x)

        def total(A: list[Array]) -> Float[Array, ""]:
            costs = self._costs(problem, parameters, A, h, told)[:-1]
            return sum(map(jnp.sum, costs), jnp.zeros(())) / problem.batch

        return [A_b - self.readout_rate * g for A_b, g in zip(A, jax.grad(total)(A))]


def _along(change: Float[Array, " g"], p: Array, layer: Layer) -> Array:
    """`p Ċ`, with Ċ of the channel's group if the last axis counts channels, else of all."""
    if p.shape[-1] != layer.nodes[-1]:
        return p * jnp.sum(change)
    return p * jnp.repeat(change, layer.nodes[-1] // change.size)
