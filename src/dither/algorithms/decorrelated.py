"""Node perturbation with decorrelated layer inputs."""

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
from dither.contract import AccessLevel, Clock, Layer, Measurement, Probe, Space
from dither.devices.device import AbstractDevice
from dither.instruments.python import PythonDevice
from dither.tasks.task import Task


class DecorrelatedState(eqx.Module):
    """Where it stands: theta, the costs of the clean pass, the decorrelating matrices R."""

    clock: Clock
    key: Key[Array, ""]
    theta: Float[Array, " P"]
    costs: Float[Array, " B"]
    R: dict[str, Float[Array, "_ _"]]
    optimizer: Any
    space: Space = eqx.field(static=True)


class DecorrelatedNodePerturbation(AbstractAlgorithm):
    """Node perturbation whose steps are taken as if every layer's inputs were decorrelated.

    ```
    clean pass:  C_b;   x*_b = x_b R;   R ← R − epsilon R (⟨x*ᵀ x*⟩ − diag) / ⟨|x*|²⟩
    noisy pass, with δ s added to every z:  e_b = (C̃_b − C_b) s / δ
    W ← W − eta R Rᵀ mean_b x_bᵀ e_b,   b ← b − eta mean_b e_b   (or an Optax update)
    ```

    R is learned from the layers' inputs alone, away from the device. A step of W* in
    `z = x* W* + b` is a step `R Rᵀ x ᵀe` of the device's `W = R W*`: what the layers compute does
    not change when R does, and only W has to be programmed. Dividing by ⟨|x*|²⟩ makes every epsilon
    below 1 stable, whatever the size of the inputs. A convolution has a row x for every patch.

    Arguments: `learning_rate`, eta ≥ 0; `delta`, amplitude δ > 0 in units of z; `decorrelation`,
    epsilon in [0, 1); `optimizer`, any Optax optimiser; `samples`, `perturbed`, found from the task
    and the device. Two measurements an update, on a new batch each; every example has signs of its
    own.
    Errors: refused for a device that does not show sites, a network that names no layers, a layer
    that is not `z = features(x) W + b`.

    Source: Dalm and others, *Effective learning with node perturbation in multi-layer neural
    networks*, 2023, recalled and not verified; there R stands in the network itself.
    """

    kind: Literal["decorrelated-node-perturbation"] = "decorrelated-node-perturbation"
    access_level: ClassVar[AccessLevel] = AccessLevel.SITES
    learning_rate: Annotated[float, Field(ge=0)]
    delta: Annotated[float, Field(gt=0)] = 1e-2
    decorrelation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    optimizer: AnyOptimizer = Optimizer()
    samples: Annotated[int, Field(ge=0)] = 0
    perturbed: Annotated[tuple[Layer, ...], Field(exclude=True, repr=False)] = ()

    def for_task(self, task: Task) -> "DecorrelatedNodePerturbation":
        return self.model_copy(update={"samples": task.batch})

    def for_device(self, device: AbstractDevice | PythonDevice) -> "DecorrelatedNodePerturbation":
        layers = nodes.linear_layers_of(device, self.kind)
        return self.model_copy(update={"perturbed": layers})

    def init(
        self, key: Key[Array, ""], parameters: Float[Array, " P"], space: Space
    ) -> DecorrelatedState:
        theta = space.confine(parameters, jnp.zeros(()))
        widths = nodes.features_of(self.perturbed, space)
        return DecorrelatedState(
            clock=Clock(tick=jnp.int32(0), part=jnp.int32(0)),
            key=key,
            theta=theta,
            costs=jnp.zeros(self.samples, theta.dtype),
            R={name: jnp.eye(p, dtype=theta.dtype) for name, p in widths.items()},
            optimizer=self.optimizer.build(self.learning_rate).init(theta),
            space=space,
        )

    def ask(self, state: DecorrelatedState) -> tuple[Probe, DecorrelatedState]:
        return nodes.ask_clean_then_noisy(state, self.delta, self.perturbed, self.samples)

    def tell(
        self, state: DecorrelatedState, probe: Probe, measurement: Measurement
    ) -> tuple[DecorrelatedState, Info]:
        costs, x, sites = measurement.costs, measurement.inputs, probe.sites
        assert costs is not None
        assert x is not None
        assert sites is not None
        clean = probe.clock.part == 0

        def learn_inputs() -> tuple[Any, ...]:
            R = {
                layer.name: self._decorrelate(state.R[layer.name], nodes.rows(layer, x[layer.name]))
                for layer in self.perturbed
            }
            return state.theta, costs, R, state.optimizer, jnp.zeros_like(state.theta)

        def update() -> tuple[Any, ...]:
            change = (costs - state.costs) / self.delta**2
            e = {
                layer.name: nodes.per_node(change, layer) * sites[f"{layer.name}/z"]
                for layer in self.perturbed
            }
            now = state.space.snap(state.theta)
            estimate = nodes.pull_back(self.perturbed, state.space, now, x, e)
            updates, optimizer = self.optimizer.build(self.learning_rate).update(
                self._as_decorrelated(state, estimate), state.optimizer, state.theta
            )
            theta = state.space.confine(optax.apply_updates(state.theta, updates), jnp.zeros(()))
            return theta, state.costs, state.R, optimizer, estimate

        theta, c, R, optimizer, estimate = jax.lax.cond(clean, learn_inputs, update)
        after = DecorrelatedState(state.clock, state.key, theta, c, R, optimizer, state.space)
        return after, Info(~clean, estimate)

    def _decorrelate(self, R: Float[Array, "p p"], x: Float[Array, "n p"]) -> Float[Array, "p p"]:
        x = x @ R
        squares = jnp.mean(x**2, axis=0)
        off_diagonal = (R @ x.T) @ x / len(x) - R * squares
        size = jnp.sum(squares)
        # inputs of zero have nothing to decorrelate
        return R - self.decorrelation * off_diagonal / jnp.where(size > 0, size, 1.0)

    def _as_decorrelated(
        self, state: DecorrelatedState, estimate: Float[Array, " P"]
    ) -> Float[Array, " P"]:
        """`R Rᵀ G` for every weight matrix's estimate G."""
        G = state.space.unravel(estimate)
        for name, R in state.R.items():
            weight = G[f"{name}/weight"]
            G[f"{name}/weight"] = (R @ (R.T @ weight.reshape(len(R), -1))).reshape(weight.shape)
        return state.space.ravel(G)

    def on_drift(self, state: DecorrelatedState) -> DecorrelatedState:
        after: DecorrelatedState = nodes.from_clean_pass(state)
        return after

    def parameters(self, state: DecorrelatedState) -> Float[Array, " P"]:
        return state.space.snap(state.theta)

    def warnings(self, space: Space, measurements: int | None) -> list[str]:
        del space, measurements
        return warn_of_float(self.delta)
