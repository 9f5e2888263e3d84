"""Multiplexed gradient descent by node perturbation."""

import math
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key
from pydantic import Field, model_validator

from dither.algorithms import calibration, nodes
from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.algorithms.calibration import Calibration, LearningRate, check_plain
from dither.algorithms.optimizer import AnyOptimizer, Optimizer
from dither.algorithms.outliers import Size, clipped, unless
from dither.algorithms.weight_mgd import warn_of_float, warn_of_periods
from dither.contract import AccessLevel, Clock, Layer, Measurement, Probe, Space
from dither.devices.device import AbstractDevice
from dither.instruments.python import PythonDevice
from dither.laws.estimate import growth
from dither.tasks.task import Task


class NodeState(eqx.Module):
    """Where node perturbation stands: parameters theta, summed estimates G, reference costs C0."""

    clock: Clock
    key: Key[Array, ""]
    theta: Float[Array, " P"]
    gradient: Float[Array, " P"]
    reference: Float[Array, " B"]
    optimizer: Any
    calibration: Calibration | tuple[()]
    size: Size | tuple[()]
    space: Space = eqx.field(static=True)


class NodePerturbation(AbstractAlgorithm):
    """Perturb the neurons' inputs z, measure every sample's cost, correlate, integrate, update.

    ```
    z_l ← z_l + δ s,  s = ±1:   baseline  e_b = (C_b(δs) − C_b(0)) s / δ
                                central   e_b = (C_b(δs) − C_b(−δs)) s / (2 δ)
    G_l ← G_l + mean_b (∂z_l/∂θ_l)ᵀ e_b        dense: e_b x_bᵀ;  convolution: kernel gradient
    every tau_theta ticks:  θ ← θ − eta G / tau_theta (or an Optax update),  G ← 0
    ```

    `G / tau_theta` is the averaged, unbiased gradient estimate. A tick perturbs every layer: all at
    once, or each in turn on the same batch, which takes a perturbed measurement (or a central pair)
    for each layer. The baseline is measured again, and counted, when the batch or the parameters
    have changed, and serves all layers of a tick; the paper measures it again for each layer. With
    all layers at once the x of later layers is the perturbed one: a bias of order δ.

    Arguments:
        learning_rate: eta ≥ 0, or `auto` for plain descent (`dither.algorithms.calibration`).
        delta: amplitude δ > 0 of the perturbation, in units of z.
        layers: `all` at once or `each` in turn.
        per_example: whether every example has signs of its own, or the batch shares them.
        pairs: `baseline` (one-sided) or `central`.
        tau_x, tau_theta: ticks between new batches, updates; ≥ 1.
        normalise: as in the paper, with N nodes perturbed together, δ/√N for δ, and the averaged
            estimate divided by its expected growth √(1 + (N − 1)/tau_theta).
        optimizer: any Optax optimiser.
        outliers: samples' cost differences beyond so many times their running mean size are clipped
            to it; > 0; None to take them as they are.
        samples, perturbed: the samples in a measurement, found from the task; the layers, found
            from the device.
    Errors: refused for a device that does not show sites, or a network that names no layers.

    Source: Oripov2025; signs per example: Ren2022.
    """

    kind: Literal["node-perturbation"] = "node-perturbation"
    access_level: ClassVar[AccessLevel] = AccessLevel.SITES
    learning_rate: LearningRate
    delta: Annotated[float, Field(gt=0)] = 1e-2
    layers: Literal["all", "each"] = "all"
    per_example: bool = False
    pairs: Literal["baseline", "central"] = "baseline"
    tau_x: Annotated[int, Field(ge=1)] = 1
    tau_theta: Annotated[int, Field(ge=1)] = 1
    normalise: bool = False
    optimizer: AnyOptimizer = Optimizer()
    outliers: Annotated[float, Field(gt=0)] | None = None
    samples: Annotated[int, Field(ge=0)] = 0
    perturbed: Annotated[tuple[Layer, ...], Field(exclude=True, repr=False)] = ()

    @model_validator(mode="after")
    def _auto_is_for_plain_descent(self) -> "NodePerturbation":
        check_plain(self.learning_rate, self.optimizer)
        return self

    def for_task(self, task: Task) -> "NodePerturbation":
        return self.model_copy(update={"samples": task.batch})

    def for_device(self, device: AbstractDevice | PythonDevice) -> "NodePerturbation":
        return self.model_copy(update={"perturbed": nodes.layers_of(device, self.kind)})

    def init(self, key: Key[Array, ""], parameters: Float[Array, " P"], space: Space) -> NodeState:
        theta = space.confine(parameters, jnp.zeros(()))
        return NodeState(
            clock=Clock(tick=jnp.int32(0), part=jnp.int32(0)),
            key=key,
            theta=theta,
            gradient=jnp.zeros_like(theta),
            reference=jnp.zeros(self.samples, theta.dtype),
            optimizer=self._optax().init(theta),
            calibration=Calibration.empty() if self.learning_rate == "auto" else (),
            size=() if self.outliers is None else Size.empty(),
            space=space,
        )

    def _optax(self) -> optax.GradientTransformation:
        eta = self.learning_rate
        return self.optimizer.build(1.0 if isinstance(eta, str) else eta)

    def _groups(self) -> list[tuple[Layer, ...]]:
        """The layers that are perturbed together."""
        return [self.perturbed] if self.layers == "all" else [(layer,) for layer in self.perturbed]

    def _group_of(self, part: Int[Array, ""]) -> Int[Array, ""]:
        """The number of the group that a part of a tick perturbs, −1 for the baseline."""
        return part // 2 if self.pairs == "central" else part - 1

    def _amplitude(self, group: tuple[Layer, ...]) -> float:
        return self.delta / math.sqrt(nodes.count(group)) if self.normalise else self.delta

    def ask(self, state: NodeState) -> tuple[Probe, NodeState]:
        tick, part = state.clock.tick, state.clock.part
        now, side = self._group_of(part), 1 - 2 * (part % 2) if self.pairs == "central" else 1
        samples = self.samples if self.per_example else None
        p = nodes.signs(jax.random.fold_in(state.key, tick), self.perturbed, samples)
        for number, group in enumerate(self._groups()):
            size = jnp.where(now == number, side * self._amplitude(group), 0.0)
            p |= {layer.name: size * p[layer.name] for layer in group}
        theta, batch_index = state.theta, tick // self.tau_x
        if isinstance(state.calibration, Calibration):
            trial, side = part > self._every(), part - self._every() - 1
            batch_index = batch_index + trial
            step = calibration.ahead(state.calibration, side) * self._normalised(
                state.gradient / self.tau_theta, state.space
            )
            there = state.space.confine(theta - step, jnp.zeros(()))
            theta = jnp.where(trial, there, theta)
        probe = Probe(
            clock=state.clock,
            parameters=state.space.snap(theta),
            updated=(tick % self.tau_theta == 0) & (tick > 0) & (part == 0),
            batch_index=batch_index,
            sites=nodes.at_sites(p),
        )
        return probe, eqx.tree_at(lambda s: s.clock, state, self._after(state.clock))

    def _every(self) -> int:
        """The last part of a tick without a trial."""
        groups = len(self._groups())
        return 2 * groups - 1 if self.pairs == "central" else groups

    def _last(self, tick: Int[Array, ""]) -> Int[Array, ""]:
        """The last part of a tick, that of a trial included."""
        if self.learning_rate != "auto":
            return jnp.asarray(self._every(), jnp.int32)
        on_trial = calibration.on_trial(tick, self.tau_theta)
        last: Int[Array, ""] = self._every() + calibration.TRIAL * on_trial.astype(jnp.int32)
        return last

    def _after(self, clock: Clock) -> Clock:
        over = clock.part == self._last(clock.tick)
        tick = clock.tick + over.astype(jnp.int32)
        first = jnp.int32(0)
        if self.pairs == "baseline":
            stale = (tick % self.tau_x == 0) | (tick % self.tau_theta == 0)
            first = jnp.where(stale, 0, 1).astype(jnp.int32)
        return Clock(tick=tick, part=jnp.where(over, first, clock.part + 1).astype(jnp.int32))

    def retry(self, clock: Clock) -> Clock:
        part = clock.part
        if self.pairs == "central":
            return Clock(tick=clock.tick, part=part - part % 2)
        # a baseline that has served a layer is not measured again for the next
        part = jnp.where(part == 1, 0, jnp.minimum(part, self._every() + 1))
        return Clock(tick=clock.tick, part=part.astype(jnp.int32))

    def tell(
        self, state: NodeState, probe: Probe, measurement: Measurement
    ) -> tuple[NodeState, Info]:
        costs, part = measurement.costs, probe.clock.part
        assert costs is not None
        central = self.pairs == "central"
        first = part % 2 == 0 if central else part == 0
        trial = part > self._every()
        change = (costs - state.reference) / (2 if central else 1)
        change, size = clipped(state.size, change, self.outliers)
        size = unless(first | trial, size, state.size)
        gradient = jax.lax.cond(
            first | trial,
            lambda: state.gradient,
            lambda: state.gradient + self._correlate(state, probe, measurement, change),
        )
        reference = jnp.where(first & ~trial, costs, state.reference)

        estimate = gradient / self.tau_theta
        tick = probe.clock.tick
        now = state.calibration
        if isinstance(now, Calibration):
            along = self._normalised(estimate, state.space)
            now = self._calibrated(now, tick, part, along, measurement.cost, reference)
        due = (part == self._last(tick)) & ((tick + 1) % self.tau_theta == 0)
        theta, gradient, optimizer = jax.lax.cond(
            due,
            lambda: self._update(state, estimate, now),
            lambda: (state.theta, gradient, state.optimizer),
        )
        space = state.space
        after = NodeState(
            state.clock, state.key, theta, gradient, reference, optimizer, now, size, space
        )
        return after, Info(updated=due, estimate=estimate)

    def _correlate(
        self,
        state: NodeState,
        probe: Probe,
        measurement: Measurement,
        change: Float[Array, " B"],
    ) -> Float[Array, " P"]:
        """The gradient estimate `mean_b (∂z/∂θ)ᵀ e_b`, with `e_b = change_b p / δ²`."""
        x, sites, theta = measurement.inputs, probe.sites, state.space.snap(state.theta)
        assert x is not None
        assert sites is not None

        def of(group: tuple[Layer, ...]) -> Float[Array, " P"]:
            change_b = change / self._amplitude(group) ** 2
            e = {
                layer.name: nodes.per_node(change_b, layer) * sites[f"{layer.name}/z"]
                for layer in group
            }
            return nodes.pull_back(group, state.space, theta, x, e)

        branches = [partial(of, group) for group in self._groups()]
        estimate: Float[Array, " P"] = jax.lax.switch(self._group_of(probe.clock.part), branches)
        return estimate

    def _calibrated(
        self,
        now: Calibration,
        tick: Int[Array, ""],
        part: Int[Array, ""],
        estimate: Float[Array, " P"],
        cost: Float[Array, ""],
        reference: Float[Array, " B"],
    ) -> Calibration:
        """The calibration after a measurement: an estimate's last, or one of a trial."""
        spread = None if self.per_example else growth(self._kappa(), float(self.tau_theta))
        every = self._every()
        complete = (part == every) & ((tick + 1) % self.tau_theta == 0)
        after: Calibration = jax.lax.switch(
            complete + 2 * (part > every),
            [
                lambda: now,
                lambda: calibration.proposed(now, estimate, jnp.mean(reference), spread),
                lambda: calibration.tried(now, part - every - 1, cost),
            ],
        )
        return after

    def _update(
        self, state: NodeState, estimate: Float[Array, " P"], now: Calibration | tuple[()]
    ) -> tuple[Float[Array, " P"], Float[Array, " P"], Any]:
        estimate = self._normalised(estimate, state.space)
        updates, optimizer = self._optax().update(estimate, state.optimizer, state.theta)
        if isinstance(now, Calibration):
            updates = now.step() * updates
        theta = state.space.confine(optax.apply_updates(state.theta, updates), jnp.zeros(()))
        return theta, jnp.zeros_like(theta), optimizer

    def _normalised(self, estimate: Float[Array, " P"], space: Space) -> Float[Array, " P"]:
        return estimate / self._growth(space) if self.normalise else estimate

    def _kappa(self) -> float:
        """N − 1, with N the most nodes perturbed together; 0 where estimates are normalised."""
        return 0.0 if self.normalise else max(nodes.count(g) for g in self._groups()) - 1.0

    def _growth(self, space: Space) -> Float[Array, " P"]:
        """`√(1 + (N − 1)/tau_theta)` for every parameter, N the nodes perturbed with its own."""
        growth = {
            layer.name: math.sqrt(1 + (nodes.count(group) - 1) / self.tau_theta)
            for group in self._groups()
            for layer in group
        }
        layer_of = {p.name: p.name.rpartition("/")[0] for p in space.parameters}
        return space.ravel(
            {p.name: jnp.full(p.shape, growth[layer_of[p.name]]) for p in space.parameters}
        )

    def parameters(self, state: NodeState) -> Float[Array, " P"]:
        return state.space.snap(state.theta)

    def warnings(self, space: Space, measurements: int | None) -> list[str]:
        del space
        periods = {"tau_x": self.tau_x, "tau_theta": self.tau_theta}
        return [*warn_of_float(self.delta), *warn_of_periods(periods, measurements)]
