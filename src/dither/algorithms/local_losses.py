"""Node perturbation by local losses: every block of layers has a cost of its own."""

from typing import Annotated, Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, Num
from pydantic import Field

from dither._errors import RequestError
from dither.algorithms import nodes
from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.algorithms.optimizer import AnyOptimizer, Optimizer
from dither.algorithms.weight_mgd import warn_of_float
from dither.contract import AccessLevel, Clock, Cost, Layer, Measurement, Probe, Space
from dither.devices.device import AbstractDevice
from dither.instruments.python import PythonDevice
from dither.tasks.scores import mse
from dither.tasks.task import Task


class LocalState(eqx.Module):
    """Where it stands: theta, the local costs of the clean pass, the readouts A, by block."""

    clock: Clock
    key: Key[Array, ""]
    theta: Float[Array, " P"]
    costs: list[Float[Array, "B _"]]
    readouts: list[Float[Array, "g _ K"]]
    optimizer: Any
    space: Space = eqx.field(static=True)


class LocalLosses(AbstractAlgorithm):
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
        learning_rate: eta ≥ 0.
        delta: amplitude δ > 0 of the perturbation, in units of z.
        block: layers in a block, ≥ 1.
        groups: groups of channels (of neurons) at the end of a block, ≥ 1.
        readout_rate: step of the readouts down the gradient of their costs, ≥ 0; at 0 they stay
            as drawn.
        optimizer: any Optax optimiser.
        samples, cost, perturbed: the samples in a measurement and the cost, found from the task;
            the layers, found from the device.
    Two measurements an update, on a new batch each; every example has signs of its own.
    Errors: refused for a device that does not show sites, a network that names no layers, groups
    that do not divide a block's channels.

    Source: Ren2022.
    """

    kind: Literal["local-losses"] = "local-losses"
    access_level: ClassVar[AccessLevel] = AccessLevel.SITES
    learning_rate: Annotated[float, Field(ge=0)]
    delta: Annotated[float, Field(gt=0)] = 1e-2
    block: Annotated[int, Field(ge=1)] = 1
    groups: Annotated[int, Field(ge=1)] = 1
    readout_rate: Annotated[float, Field(ge=0)] = 0.0
    optimizer: AnyOptimizer = Optimizer()
    samples: Annotated[int, Field(ge=0)] = 0
    cost: Annotated[Cost, Field(exclude=True, repr=False)] = mse
    perturbed: Annotated[tuple[Layer, ...], Field(exclude=True, repr=False)] = ()

    def for_task(self, task: Task) -> "LocalLosses":
        return self.model_copy(update={"samples": task.batch, "cost": task.cost})

    def for_device(self, device: AbstractDevice | PythonDevice) -> "LocalLosses":
        layers = nodes.layers_of(device, self.kind)
        fitted = self.model_copy(update={"perturbed": layers})
        for end in fitted._ends():
            if end.nodes[-1] % self.groups:
                raise RequestError(
                    f"The {end.nodes[-1]} channels of layer '{end.name}' do not fall into "
                    f"{self.groups} groups; set groups to a divisor."
                )
        return fitted

    def _blocks(self) -> list[tuple[Layer, ...]]:
        starts = range(0, len(self.perturbed), self.block)
        return [self.perturbed[start : start + self.block] for start in starts]

    def _ends(self) -> list[Layer]:
        """The last layers of the blocks that have a local cost."""
        return [block[-1] for block in self._blocks()[:-1]]

    def init(self, key: Key[Array, ""], parameters: Float[Array, " P"], space: Space) -> LocalState:
        theta = space.confine(parameters, jnp.zeros(()))
        drawing, key = jax.random.split(key)
        readouts = []
        for number, end in enumerate(self._ends()):
            z = jax.ShapeDtypeStruct((1, *end.nodes), theta.dtype)
            features = jax.eval_shape(end.onward, z).size // self.groups
            shape = (self.groups, features, self.perturbed[-1].nodes[-1])
            draw = jax.random.normal(jax.random.fold_in(drawing, number), shape, theta.dtype)
            readouts.append(draw / features**0.5)
        widths = [self.groups] * len(readouts) + [1]
        return LocalState(
            clock=Clock(tick=jnp.int32(0), part=jnp.int32(0)),
            key=key,
            theta=theta,
            costs=[jnp.zeros((self.samples, width), theta.dtype) for width in widths],
            readouts=readouts,
            optimizer=self.optimizer.build(self.learning_rate).init(theta),
            space=space,
        )

    def ask(self, state: LocalState) -> tuple[Probe, LocalState]:
        return nodes.ask_clean_then_noisy(state, self.delta, self.perturbed, self.samples)

    def tell(
        self, state: LocalState, probe: Probe, measurement: Measurement
    ) -> tuple[LocalState, Info]:
        x, sites, targets = measurement.inputs, probe.sites, measurement.targets
        assert measurement.costs is not None
        assert x is not None
        assert sites is not None
        assert targets is not None
        clean = probe.clock.part == 0
        h = [x[block[0].name] for block in self._blocks()[1:]]
        local = self._local_costs(state.readouts, h, targets)
        costs = [*local, measurement.costs[:, None]]

        def keep() -> tuple[Any, ...]:
            return state.theta, costs, state.readouts, state.optimizer, jnp.zeros_like(state.theta)

        def update() -> tuple[Any, ...]:
            changes = [now - before for now, before in zip(costs, state.costs)]
            estimate = nodes.pull_back(
                self.perturbed,
                state.space,
                state.space.snap(state.theta),
                x,
                self._errors(changes, sites),
            )
            updates, optimizer = self.optimizer.build(self.learning_rate).update(
                estimate, state.optimizer, state.theta
            )
            theta = state.space.confine(optax.apply_updates(state.theta, updates), jnp.zeros(()))
            readouts = self._learn_readouts(state.readouts, h, targets)
            return theta, state.costs, readouts, optimizer, estimate

        theta, kept, readouts, optimizer, estimate = jax.lax.cond(clean, keep, update)
        after = LocalState(state.clock, state.key, theta, kept, readouts, optimizer, state.space)
        return after, Info(~clean, estimate)

    def _local_costs(
        self,
        readouts: list[Float[Array, "g _ K"]],
        h: list[Float[Array, "B ..."]],
        targets: Num[Array, "B ..."],
    ) -> list[Float[Array, "B _"]]:
        """`C_bg = cost(h_bg A_g, t_b)` for every block but the last."""
        costs = []
        for A, values, end in zip(readouts, h, self._ends()):
            channels = end.nodes[-1] // self.groups
            grouped = values.reshape(self.samples, -1, self.groups, channels)
            by_group = jnp.moveaxis(grouped, 2, 0).reshape(self.groups, self.samples, -1)
            outputs = jnp.einsum("gbf,gfk->gbk", by_group, A)
            costs.append(jax.vmap(self.cost, in_axes=(0, None), out_axes=1)(outputs, targets))
        return costs

    def _errors(
        self, changes: list[Float[Array, "B _"]], sites: dict[str, Array]
    ) -> dict[str, Array]:
        """`e_b = change p / δ²` for every layer, from the changes of the blocks' costs."""
        e = {}
        for block, change in zip(self._blocks(), changes):
            for layer in block:
                of_layer = nodes.per_node(jnp.sum(change, axis=1), layer)
                if layer is block[-1]:
                    spread = jnp.repeat(change, layer.nodes[-1] // change.shape[1], axis=1)
                    between = (1 for _ in layer.nodes[1:])
                    of_layer = spread.reshape(self.samples, *between, layer.nodes[-1])
                e[layer.name] = of_layer * sites[f"{layer.name}/z"] / self.delta**2
        return e

    def _learn_readouts(
        self,
        readouts: list[Float[Array, "g _ K"]],
        h: list[Float[Array, "B ..."]],
        targets: Num[Array, "B ..."],
    ) -> list[Float[Array, "g _ K"]]:
        if not (readouts and self.readout_rate):
            return readouts

        def total(readouts: list[Array]) -> Float[Array, ""]:
            costs = self._local_costs(readouts, h, targets)
            return jnp.sum(jnp.concatenate(costs, axis=1)) / self.samples

        gradient = jax.grad(total)(readouts)
        return [A - self.readout_rate * g for A, g in zip(readouts, gradient)]

    def on_drift(self, state: LocalState) -> LocalState:
        after: LocalState = nodes.from_clean_pass(state)
        return after

    def parameters(self, state: LocalState) -> Float[Array, " P"]:
        return state.space.snap(state.theta)

    def warnings(self, space: Space, measurements: int | None) -> list[str]:
        del space, measurements
        return warn_of_float(self.delta)
