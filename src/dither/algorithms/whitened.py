"""Node perturbation with whitened layer inputs."""

from typing import Annotated, Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.algorithms import nodes
from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.algorithms.optimizer import AnyOptimizer, Optimizer
from dither.algorithms.weight_mgd import warn_of_float
from dither.contract import AccessLevel, Clock, Cost, Layer, Measurement, Probe, Space
from dither.devices.device import AbstractDevice
from dither.instruments.python import PythonDevice
from dither.tasks.task import Task


class WhitenedState(eqx.Module):
    """Where it stands: theta, the clean costs, the errors e so far, the second moments A, E."""

    clock: Clock
    key: Key[Array, ""]
    theta: Float[Array, " P"]
    costs: Float[Array, " B"]
    errors: dict[str, Float[Array, "B ..."]]
    A: dict[str, Float[Array, "_ _"]]
    E: Float[Array, ""]
    optimizer: Any
    space: Space = eqx.field(static=True)


class WhitenedNodePerturbation(AbstractAlgorithm):
    """Node perturbation whose steps are the least-squares fit of the node errors by the inputs.

    ```
    clean pass:   C_b;   A ← A + (mean_b x̄_bᵀ x̄_b − A) / min(t, memory),   x̄ = (features(x), 1)
    noisy passes, `sets` of them, δ s added to every z:   e_b ← mean over the sets of ΔC_b s / δ,
                  E ← running mean of (ΔC_b / δ)²,   ΔC_b = C̃_b − C_b
    then   G = mean_b x̄_bᵀ e_b,   (W; b) ← (W; b) − (eta / E) (A + damping ⟨diag A⟩)⁻¹ G
    ```

    or an Optax update of `(A + …)⁻¹ G / E`. For a convolution x̄_b has a row for every patch, and
    the products sum over them; for a dense layer one row. A⁻¹ G is the regression of e on x̄: a step
    moves z by −eta/E times the part of e that the layer's inputs can tell, whatever their sizes and
    correlations, and what the noise of e moves z by grows with the weights that are fitted and not
    with the pixels that share them. It is the limit of decorrelation with whitening. E is, but for
    terms of order δ, the mean of Σ_l |e_bl|², the size of that noise: it grows as a network
    sharpens, and at a fixed rate the noise would feed itself.

    Arguments:
        learning_rate: eta ≥ 0; about 0.1 where many nodes are perturbed.
        delta: amplitude δ > 0 of the perturbation, in units of z.
        sets: sets of signs for each batch, ≥ 1; every example has signs of its own. An update takes
            `1 + sets` measurements, on a new batch.
        damping: added to A, in units of its mean diagonal; > 0.
        memory: batches over which A and E are averaged, ≥ 1.
        known_output: do not perturb the last layer but compute its errors from the outputs that the
            device shows and the cost's formula.
        optimizer: any Optax optimiser.
        samples, cost, perturbed: found from the task and the device.
    Errors: refused for a device that does not show sites, a network that names no layers, a layer
    that is not `z = features(x) W + b`.

    Source: the step for exact errors is FOOF of Benzing, *Gradient descent on neurons and its link
    to approximate second-order optimization*, 2022, recalled and not verified; with measured errors
    and their size ours, derived here, checked by the tests.
    """

    kind: Literal["whitened-node-perturbation"] = "whitened-node-perturbation"
    access_level: ClassVar[AccessLevel] = AccessLevel.SITES
    learning_rate: Annotated[float, Field(ge=0)]
    delta: Annotated[float, Field(gt=0)] = 1e-2
    sets: Annotated[int, Field(ge=1)] = 1
    damping: Annotated[float, Field(gt=0)] = 0.1
    memory: Annotated[int, Field(ge=1)] = 30
    optimizer: AnyOptimizer = Optimizer()
    known_output: bool = False
    samples: Annotated[int, Field(ge=0)] = 0
    perturbed: Annotated[tuple[Layer, ...], Field(exclude=True, repr=False)] = ()
    cost: Annotated[Cost | None, Field(exclude=True, repr=False)] = None

    def for_task(self, task: Task) -> "WhitenedNodePerturbation":
        return self.model_copy(update={"samples": task.batch, "cost": task.cost})

    def for_device(self, device: AbstractDevice | PythonDevice) -> "WhitenedNodePerturbation":
        layers = nodes.linear_layers_of(device, self.kind)
        if self.known_output:
            nodes.check_shows_z(device, "known_output")
        return self.model_copy(update={"perturbed": layers})

    def init(
        self, key: Key[Array, ""], parameters: Float[Array, " P"], space: Space
    ) -> WhitenedState:
        theta = space.confine(parameters, jnp.zeros(()))
        widths = nodes.features_of(self.perturbed, space)
        return WhitenedState(
            clock=Clock(tick=jnp.int32(0), part=jnp.int32(0)),
            key=key,
            theta=theta,
            costs=jnp.zeros(self.samples, theta.dtype),
            errors=self._no_errors(theta),
            A={name: jnp.zeros((p + 1, p + 1), theta.dtype) for name, p in widths.items()},
            E=jnp.zeros((), theta.dtype),
            optimizer=self.optimizer.build(self.learning_rate).init(theta),
            space=space,
        )

    def _no_errors(self, theta: Float[Array, " P"]) -> dict[str, Float[Array, "B ..."]]:
        shapes = {layer.name: (self.samples, *layer.nodes) for layer in self.perturbed}
        return {name: jnp.zeros(shape, theta.dtype) for name, shape in shapes.items()}

    def ask(self, state: WhitenedState) -> tuple[Probe, WhitenedState]:
        tick, part = state.clock.tick, state.clock.part
        moment = jax.random.fold_in(jax.random.fold_in(state.key, tick), part)
        size = jnp.where(part == 0, 0.0, self.delta)
        s = nodes.signs(moment, self.perturbed, self.samples)
        if self.known_output:
            last = self.perturbed[-1].name
            s |= {last: jnp.zeros_like(s[last])}
        probe = Probe(
            clock=state.clock,
            parameters=state.space.snap(state.theta),
            updated=(tick > 0) & (part == 0),
            batch_index=tick,
            sites=nodes.at_sites({layer: size * each for layer, each in s.items()}),
        )
        over = (part == self.sets).astype(jnp.int32)
        after = Clock(tick=tick + over, part=(1 - over) * (part + 1))
        return probe, eqx.tree_at(lambda s: s.clock, state, after)

    def tell(
        self, state: WhitenedState, probe: Probe, measurement: Measurement
    ) -> tuple[WhitenedState, Info]:
        costs, x, sites = measurement.costs, measurement.inputs, probe.sites
        assert costs is not None
        assert x is not None
        assert sites is not None

        tick, part, theta = probe.clock.tick, probe.clock.part, state.theta

        def clean() -> tuple[Any, ...]:
            batches = jnp.minimum(tick + 1, self.memory)
            now = {layer.name: _moment(layer, x[layer.name]) for layer in self.perturbed}
            A = {name: A + (now[name] - A) / batches for name, A in state.A.items()}
            return costs, self._no_errors(theta), A, state.E

        def noisy() -> tuple[Any, ...]:
            change = (costs - state.costs) / self.delta
            e = {
                layer.name: state.errors[layer.name]
                + nodes.per_node(change / (self.delta * self.sets), layer)
                * sites[f"{layer.name}/z"]
                for layer in self.perturbed
            }
            passes = jnp.minimum(tick * self.sets + part, self.memory * self.sets)
            return state.costs, e, state.A, state.E + (jnp.mean(change**2) - state.E) / passes

        c, e, A, E = jax.lax.cond(part == 0, clean, noisy)
        due = part == self.sets

        def update() -> tuple[Any, ...]:
            now = state.space.snap(theta)
            known = self._output_errors(measurement) if self.known_output else {}
            G = nodes.pull_back(self.perturbed, state.space, now, x, e | known)
            updates, after = self.optimizer.build(self.learning_rate).update(
                self._regression(state.space, A, G) / jnp.where(E > 0, E, 1.0),
                state.optimizer,
                theta,
            )
            moved = state.space.confine(optax.apply_updates(theta, updates), jnp.zeros(()))
            return moved, after, G

        theta, optimizer, estimate = jax.lax.cond(
            due, update, lambda: (theta, state.optimizer, jnp.zeros_like(theta))
        )
        after = WhitenedState(state.clock, state.key, theta, c, e, A, E, optimizer, state.space)
        return after, Info(due, estimate)

    def _output_errors(self, measurement: Measurement) -> dict[str, Float[Array, "B ..."]]:
        """`∂C_b/∂z` of the last layer, from the outputs and the cost's formula."""
        last, cost, targets = self.perturbed[-1], self.cost, measurement.targets
        assert cost is not None
        assert targets is not None
        assert measurement.outputs is not None
        assert measurement.preactivations is not None
        by_output = jax.grad(lambda y: jnp.sum(cost(y, targets)))(measurement.outputs)
        z = measurement.preactivations[last.name]
        (e,) = jax.vjp(lambda z: last.onward(last.activation(z)), z)[1](by_output)
        return {last.name: e}

    def _regression(
        self, space: Space, A: dict[str, Float[Array, "_ _"]], estimate: Float[Array, " P"]
    ) -> Float[Array, " P"]:
        """`(A + damping ⟨diag A⟩)⁻¹ G` for every layer, G of its weights and biases together."""
        G, steps = space.unravel(estimate), {}
        for name, moment in A.items():
            weight, bias = G[f"{name}/weight"], G[f"{name}/bias"]
            both = jnp.concatenate([weight.reshape(-1, bias.size), bias[None]])
            damped = moment + self.damping * jnp.mean(jnp.diag(moment)) * jnp.eye(len(moment))
            step = jax.scipy.linalg.solve(damped, both, assume_a="pos")
            steps[f"{name}/weight"] = step[:-1].reshape(weight.shape)
            steps[f"{name}/bias"] = step[-1]
        return space.ravel(steps)

    def on_drift(self, state: WhitenedState) -> WhitenedState:
        after: WhitenedState = nodes.from_clean_pass(state)
        return after

    def parameters(self, state: WhitenedState) -> Float[Array, " P"]:
        return state.space.snap(state.theta)

    def warnings(self, space: Space, measurements: int | None) -> list[str]:
        del space, measurements
        return warn_of_float(self.delta)


def _moment(layer: Layer, x: Float[Array, "B ..."]) -> Float[Array, "_ _"]:
    """`mean_b x̄_bᵀ x̄_b`, x̄_b an example's rows of features and a column of 1."""
    rows = nodes.rows(layer, x)
    rows = jnp.concatenate([rows, jnp.ones((len(rows), 1), rows.dtype)], axis=1)
    moment: Float[Array, "_ _"] = rows.T @ rows / x.shape[0]
    return moment
