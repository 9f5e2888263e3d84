"""A simulated device: a network with imperfections."""

import math
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key
from pydantic import Field

from dither._errors import RequestError
from dither.contract import (
    AccessLevel,
    Batch,
    Cost,
    Known,
    Layer,
    Measurement,
    Outputs,
    Parameter,
    Sites,
    Space,
    SparseWrite,
)
from dither.devices.imperfections import AbstractImperfection, Blueprint, Write
from dither.devices.simulation import AbstractSimulation
from dither.networks import AnyNetwork
from dither.networks.network import no_tap
from dither.networks.sequence import sequence
from dither.tasks.task import Task


class DeviceInstance(eqx.Module):
    """The state of one fabricated chip: parameters, noise source, imperfections."""

    key: Key[Array, ""]
    written: Int[Array, ""]
    measured: Int[Array, ""]
    parameters: Float[Array, " P"]
    imperfections: tuple[Any, ...]


class SimulatedDevice(AbstractSimulation):
    """A network with programmable parameters and readable outputs, both subject to imperfections.

    Arguments: `network`; `imperfections`, applied in order; `access`, the access level;
    `seconds_per_write`, `seconds_per_measurement`, `seconds_per_perturbation` at the neurons,
    `joules_per_write`, `joules_per_measurement`, `joules_per_perturbation`, the costs on the
    modelled hardware; a perturbation costs as much as a write if not given.
    """

    renamed: ClassVar = {"shows": "access"}
    kind: Literal["simulated"] = "simulated"
    network: Annotated[AnyNetwork, Field(examples=[{"kind": "mlp", "widths": (3, 2, 2)}])]
    access: Literal["cost", "outputs", "sites", "gradients"] = "gradients"

    @cached_property
    def space(self) -> Space:
        arrays = jax.eval_shape(lambda: self.network.init(jax.random.key(0)))
        parameters = []
        for name, array in arrays.items():
            parameter = Parameter(name, array.shape)
            for imperfection in self.imperfections:
                parameter = imperfection.limit(parameter)
            parameters.append(parameter)
        return Space(tuple(parameters))

    @property
    def access_level(self) -> AccessLevel:
        return AccessLevel[self.access.upper()]

    @property
    def _read_out(self) -> int:
        return self.network.outputs

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.network.layers if self.access_level >= AccessLevel.SITES else ()

    def fabricate(self, key: Key[Array, ""]) -> DeviceInstance:
        noise, *keys = jax.random.split(key, 1 + len(self.imperfections))
        blueprint = Blueprint(self.space.size, self.network.outputs, self.network.sites())
        return DeviceInstance(
            key=noise,
            written=jnp.int32(0),
            measured=jnp.int32(0),
            parameters=jnp.zeros(self.space.size),
            imperfections=tuple(
                imperfection.fabricate(k, blueprint)
                for imperfection, k in zip(self.imperfections, keys)
            ),
        )

    def initial(self, key: Key[Array, ""]) -> Float[Array, " P"]:
        return self.space.ravel(self.network.init(key))

    def check_task(self, task: Task) -> None:
        given, taken = task.inputs.shape[1:], self.network.input_shape
        if math.prod(given) != math.prod(taken):
            other = task.told_columns and f", or {task.told_columns}"
            raise RequestError(
                f"The network takes inputs of shape {taken}, but the task gives {given}; change "
                f"the network's input{other}."
            )
        wanted = task.outputs
        if self.network.outputs not in wanted:
            raise RequestError(
                f"The network has {self.network.outputs} outputs, but the task needs "
                f"{' or '.join(map(str, wanted))}; change the network's output."
            )

        if task.order > self.network.smoothness:
            raise RequestError(
                f"The residual needs derivatives of order {task.order}, but the outputs of the "
                f"network have derivatives up to order {self.network.smoothness:g} only; set "
                "device.network.activation to tanh, sigmoid, gelu or sine."
            )

    def write(
        self,
        state: DeviceInstance,
        parameters: Float[Array, " P"] | SparseWrite,
        updated: Bool[Array, ""],
    ) -> DeviceInstance:
        places = None
        if isinstance(parameters, SparseWrite):
            places, parameters = parameters.places, parameters.into(state.parameters)
        write = Write(state.parameters, self.space.snap(parameters), updated, places)
        keys = self._keys(jax.random.fold_in(state.key, 2 * state.written))
        instances = tuple(
            imperfection.written(instance, key, write)
            for imperfection, instance, key in zip(self.imperfections, state.imperfections, keys)
        )
        return DeviceInstance(state.key, state.written + 1, state.measured, write.after, instances)

    def measure(
        self,
        state: DeviceInstance,
        batch: Batch,
        cost: Cost,
        sites: dict[str, Array] | None,
        see: AccessLevel,
        known: Known | None = None,
    ) -> tuple[Measurement, Int[Array, ""], DeviceInstance]:
        keys = self._keys(jax.random.fold_in(state.key, 2 * state.measured + 1))

        def mean_cost(theta: Float[Array, " P"]) -> tuple[Float[Array, ""], Any]:
            if known is None or known.first is None:
                *kept, z = (None,) if known is None else known.inputs
                x = kept[0] if kept else batch.inputs
                at_sites = see >= AccessLevel.SITES
                outputs, seen = self._forward(state, theta, x, sites, keys, at_sites, z)
            else:
                outputs, seen = self._onward(known, theta, batch.inputs, sites)
            stages = self._passed_on(state.imperfections, keys, outputs)
            costs = cost(stages[-1], batch.targets)
            return jnp.mean(costs), (costs, stages, seen)

        gradient = None
        if see is AccessLevel.GRADIENTS:
            back = jax.value_and_grad(mean_cost, has_aux=True)
            (mean, (costs, stages, seen)), gradient = back(state.parameters)
        else:
            mean, (costs, stages, seen) = mean_cost(state.parameters)
        # one cost is read for the batch, or one for each sample if the access level shows them
        read = costs if see >= AccessLevel.SITES else mean
        read, status, instances = self._after(state.imperfections, keys, stages, read)
        after = DeviceInstance(
            state.key, state.written, state.measured + 1, state.parameters, instances
        )
        shown, at_sites = None, None
        if see >= AccessLevel.OUTPUTS:
            shown = Outputs(stages[-1], batch.targets, batch.inputs)
        if see >= AccessLevel.SITES:

            def at(site: str) -> dict[str, Array]:
                return {layer.name: seen[f"{layer.name}/{site}"] for layer in self.layers}

            shown_z = at("z") if known is None or known.first is None else None
            at_sites = Sites(read, at("x"), shown_z)
        return Measurement(jnp.mean(read), shown, at_sites, gradient), status, after

    def outputs(self, state: DeviceInstance, inputs: Float[Array, "B ..."]) -> Float[Array, "B K"]:
        # the noise of an evaluation has its own key, so that evaluating changes no trajectory
        looking = jax.random.fold_in(state.key, 2**31)
        keys = self._keys(jax.random.fold_in(looking, state.measured))
        outputs, _ = self._forward(state, state.parameters, inputs, None, keys, shown=False)
        return self._passed_on(state.imperfections, keys, outputs)[-1]

    def _forward(
        self,
        state: DeviceInstance,
        theta: Float[Array, " P"],
        inputs: Float[Array, "B ..."],
        sites: dict[str, Array] | None,
        keys: list[Key[Array, ""]],
        shown: bool,
        z: Float[Array, "B ..."] | None = None,
    ) -> tuple[Float[Array, "B K"], dict[str, Array]]:
        """The outputs and, if shown, the values at every site as measured.

        `z`, the unperturbed z of the first layer, if known.
        """
        seen: dict[str, Array] = {}
        known = {} if z is None else {f"{self.network.layers[0].name}/z": z}

        def tap(site: str, value: Array) -> Array:
            value = known.get(site, value)
            if sites is not None and site in sites:
                value = value + sites[site]
            seen[site] = value
            for imperfection, instance, key in zip(self.imperfections, state.imperfections, keys):
                value = imperfection.site(instance, key, site, value)
            return value

        for imperfection, instance in zip(self.imperfections, state.imperfections):
            theta = imperfection.parameters(instance, theta)
        tapped = shown or sites is not None or self._imperfect("site")
        parameters = self.space.unravel(theta)
        return self.network(parameters, inputs, tap if tapped else no_tap), seen

    def _imperfect(self, *hooks: str) -> bool:
        """Whether an imperfection has one of these hooks."""
        return any(
            getattr(type(imperfection), hook) is not getattr(AbstractImperfection, hook)
            for imperfection in self.imperfections
            for hook in hooks
        )

    @property
    def _plain_inside(self) -> bool:
        """Whether layers are deterministic functions of their parameters and inputs."""
        return not (self._imperfect("parameters", "site") or self.fails)

    @property
    def shares_z(self) -> bool:
        return self._plain_inside and self.network.fed_first

    def first_z(
        self, parameters: Float[Array, " P"], inputs: Float[Array, "B ..."]
    ) -> Float[Array, "B ..."]:
        x = inputs.reshape(-1, *self.network.input_shape)
        return self.network.layers[0](self.space.unravel(parameters), x)

    @property
    def in_layers(self) -> tuple[str, ...]:
        if not (self._plain_inside and self.network.sequential):
            return ()
        return tuple(layer.name for layer in self.network.layers)

    def inputs_of_layers(
        self, parameters: Float[Array, " P"], inputs: Float[Array, "B ..."]
    ) -> tuple[Float[Array, "B ..."], ...]:
        found = [inputs.reshape(-1, *self.network.input_shape)]
        for layer in self.network.layers:
            found.append(sequence([layer], self.space.unravel(parameters), found[-1]))
        return tuple(found)

    def _onward(
        self,
        known: Known,
        theta: Float[Array, " P"],
        inputs: Float[Array, "B ..."],
        sites: dict[str, Array] | None,
    ) -> tuple[Float[Array, "B K"], dict[str, Array]]:
        """The outputs, computed from the first changed layer, and the inputs of the layers."""
        layers, parameters = self.network.layers, self.space.unravel(theta)
        first, *rest = known.inputs

        def onward(start: int) -> Float[Array, "B K"]:
            x = inputs.reshape(first.shape) if start == 0 else known.inputs[start]
            added = (sites or {}).get(f"{layers[start].name}/z")
            return sequence(layers[start:], parameters, x, added)

        starts = [partial(onward, start) for start in range(len(layers))]
        outputs: Float[Array, "B K"] = jax.lax.switch(known.first, [*starts, lambda: rest[-1]])
        return outputs, {f"{layer.name}/x": x for layer, x in zip(layers, known.inputs)}
