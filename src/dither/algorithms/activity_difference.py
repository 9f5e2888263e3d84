"""Node perturbation by the differences of activities that it makes."""

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


class ActivityState(eqx.Module):
    """Where it stands: parameters theta, and the costs C and activities z of the clean pass."""

    clock: Clock
    key: Key[Array, ""]
    theta: Float[Array, " P"]
    costs: Float[Array, " B"]
    z: dict[str, Array]
    optimizer: Any
    space: Space = eqx.field(static=True)


class ActivityDifference(AbstractAlgorithm):
    """Perturb every neuron's input z, and correlate the cost with what became of all of them.

    ```
    clean pass:  C_b, z_b;    noisy pass, with δ s added to every z:  C̃_b, z̃_b
    e_lb = N (C̃_b − C_b) Δ_lb / |Δ_b|²,   Δ_b = z̃_b − z_b over all N nodes
    θ_l ← θ_l − eta mean_b (∂z_l/∂θ_l)ᵀ e_lb   (or an Optax update)
    ```

    Δ holds what was added and what came down from the layers before, so that what was added need
    not be known: a noise of the device's own would do. The price is a bias. With J_lm = ∂z_l/∂z_m,
    to first order `E[(C̃ − C) Δ_l] = δ² (1 + Σ_{m<l} J_lm J_lmᵀ) ∂C/∂z_l`: a descent, but of the
    first layer only the gradient's own. `node-perturbation` has no such bias.

    Arguments: `learning_rate`, eta ≥ 0; `delta`, amplitude δ > 0 in units of z; `optimizer`, any
    Optax optimiser; `samples`, `perturbed`, found from the task and the device. Two measurements
    an update, on a new batch each; every example has signs of its own.
    Errors: refused for a device that does not show sites, or a network that names no layers.

    Source: Dalm and others, *Effective learning with node perturbation in multi-layer neural
    networks*, 2023, recalled and not verified; the bias derived here, checked by the tests.
    """

    kind: Literal["activity-difference"] = "activity-difference"
    access_level: ClassVar[AccessLevel] = AccessLevel.SITES
    learning_rate: Annotated[float, Field(ge=0)]
    delta: Annotated[float, Field(gt=0)] = 1e-2
    optimizer: AnyOptimizer = Optimizer()
    samples: Annotated[int, Field(ge=0)] = 0
    perturbed: Annotated[tuple[Layer, ...], Field(exclude=True, repr=False)] = ()

    def for_task(self, task: Task) -> "ActivityDifference":
        return self.model_copy(update={"samples": task.batch})

    def for_device(self, device: AbstractDevice | PythonDevice) -> "ActivityDifference":
        nodes.check_shows_z(device, f"The algorithm {self.kind}")
        return self.model_copy(update={"perturbed": nodes.layers_of(device, self.kind)})

    def init(
        self, key: Key[Array, ""], parameters: Float[Array, " P"], space: Space
    ) -> ActivityState:
        theta = space.confine(parameters, jnp.zeros(()))
        return ActivityState(
            clock=Clock(tick=jnp.int32(0), part=jnp.int32(0)),
            key=key,
            theta=theta,
            costs=jnp.zeros(self.samples, theta.dtype),
            z={
                layer.name: jnp.zeros((self.samples, *layer.nodes), theta.dtype)
                for layer in self.perturbed
            },
            optimizer=self.optimizer.build(self.learning_rate).init(theta),
            space=space,
        )

    def ask(self, state: ActivityState) -> tuple[Probe, ActivityState]:
        return nodes.ask_clean_then_noisy(state, self.delta, self.perturbed, self.samples)

    def tell(
        self, state: ActivityState, probe: Probe, measurement: Measurement
    ) -> tuple[ActivityState, Info]:
        costs, z, x = measurement.costs, measurement.preactivations, measurement.inputs
        assert costs is not None
        assert z is not None
        assert x is not None
        clean = probe.clock.part == 0

        def keep() -> tuple[Any, ...]:
            return state.theta, costs, z, state.optimizer, jnp.zeros_like(state.theta)

        def update() -> tuple[Any, ...]:
            e = self._errors(costs - state.costs, {name: z[name] - state.z[name] for name in z})
            now = state.space.snap(state.theta)
            estimate = nodes.pull_back(self.perturbed, state.space, now, x, e)
            updates, optimizer = self.optimizer.build(self.learning_rate).update(
                estimate, state.optimizer, state.theta
            )
            theta = state.space.confine(optax.apply_updates(state.theta, updates), jnp.zeros(()))
            return theta, state.costs, state.z, optimizer, estimate

        theta, c, zs, optimizer, estimate = jax.lax.cond(clean, keep, update)
        after = ActivityState(state.clock, state.key, theta, c, zs, optimizer, state.space)
        return after, Info(~clean, estimate)

    def _errors(self, change: Float[Array, " B"], difference: dict[str, Array]) -> dict[str, Array]:
        """`e_lb = N change_b Δ_lb / |Δ_b|²`."""
        squares = sum(
            jnp.sum(jnp.square(d).reshape(self.samples, -1), axis=1) for d in difference.values()
        )
        factor = nodes.count(self.perturbed) * change / squares
        return {
            layer.name: nodes.per_node(factor, layer) * difference[layer.name]
            for layer in self.perturbed
        }

    def parameters(self, state: ActivityState) -> Float[Array, " P"]:
        return state.space.snap(state.theta)

    def warnings(self, space: Space, measurements: int | None) -> list[str]:
        del space, measurements
        return warn_of_float(self.delta)
