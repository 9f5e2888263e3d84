"""Several simulated devices trained as one."""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key
from pydantic import Field, model_validator

from dither._configuration import Registry
from dither.contract import (
    AccessLevel,
    Batch,
    Cost,
    Known,
    Layer,
    Measurement,
    Space,
    SparseWrite,
    Status,
)
from dither.devices.air import Air, AirState
from dither.devices.device import AbstractDevice, specimen_key
from dither.devices.readout import ReadoutDevice
from dither.devices.simulated import SimulatedDevice
from dither.tasks.dealt import Shards, dealt
from dither.tasks.task import Task

SIMULATIONS = Registry("device", AbstractDevice, (SimulatedDevice, ReadoutDevice))
"""The devices that a fleet can contain."""

CHANNEL = 2**30
"""The number folded into the key of the channel, beyond any device number."""

PATIENCE = 3
"""Failures in a row after which a device is excluded."""


class Attendance(eqx.Module):
    """The attendance of devices: failures, time-outs, failures in a row, and devices in use."""

    failed: Int[Array, " N"]
    timed_out: Int[Array, " N"]
    in_a_row: Int[Array, " N"]
    team: Bool[Array, " N"]

    @staticmethod
    def full(devices: int) -> "Attendance":
        """All devices answer."""
        none = jnp.zeros(devices, jnp.int32)
        return Attendance(none, none, none, jnp.ones(devices, bool))

    def after(self, statuses: Int[Array, " N"]) -> tuple[Int[Array, ""], "Attendance"]:
        """The status of a round: done if exactly the devices in use answer.

        A round fails if a device is newly excluded or returns; the algorithm then restarts its
        pair. Costs that are means over different devices are never compared.
        """
        answered = statuses == Status.DONE
        in_a_row = jnp.where(answered, 0, self.in_a_row + 1)
        settled = jnp.all(answered | (in_a_row >= PATIENCE)) & jnp.any(answered)
        done = settled & jnp.all(answered == self.team)
        worst = jnp.max(jnp.where(in_a_row >= PATIENCE, Status.FAILED, statuses))
        status = jnp.where(done, Status.DONE, jnp.maximum(worst, Status.FAILED))
        return status, Attendance(
            self.failed + ~answered,
            self.timed_out + (statuses == Status.TIMED_OUT),
            in_a_row,
            jnp.where(settled, answered, self.team),
        )

    def stand_ins(self) -> Int[Array, " N"]:
        """For each device, itself or the next one in use."""
        n = jnp.arange(len(self.team))
        turn = (n[:, None] + n) % len(n)
        return turn[n, jnp.argmax(self.team[turn], axis=1)]


class FleetState(eqx.Module):
    """The devices, equal ones side by side; their attendance; the channel, () if none."""

    devices: tuple[Any, ...]
    attendance: Attendance | tuple[()]
    air: AirState | tuple[()]


class Fleet(AbstractDevice):
    """Several simulated devices trained as one, with parameters that should work on all.

    `C(θ) = (1/N) Σ_n C_n(θ)`, with the imperfections and the noise of device n in C_n

    All devices are written and measured at the same time. A measurement of the fleet is one of each
    device, with the time of the slowest, the energy of all, and the results of all. After three
    failures in a row a device is excluded, the next one stands in, and the pair restarts.

    Arguments: `devices`, with the same parameters; `copies` ≥ 1 of each, which differ in their
    random fabrication errors; `shards`, how the data are divided, shared if not given; `air`, the
    channel for costs summed over the air.
    """

    kind: Literal["fleet"] = "fleet"
    devices: Annotated[
        tuple[Annotated[AbstractDevice, SIMULATIONS], ...],
        Field(
            min_length=1,
            examples=[({"kind": "simulated", "network": {"kind": "mlp", "widths": (3, 2, 2)}},)],
        ),
    ]
    copies: Annotated[int, Field(ge=1, examples=[2])] = 1
    shards: Shards | None = None
    air: Air | None = None

    @model_validator(mode="after")
    def _alike(self) -> "Fleet":
        for number, device in enumerate(self.devices):
            if isinstance(device, Fleet):
                raise ValueError(f"device {number} is itself a fleet; give its devices")
            if unlike := self.space.unlike(device.space):
                raise ValueError(
                    f"device {number} {unlike}; all devices of a fleet must have the same ones"
                )
        return self

    @cached_property
    def _groups(self) -> list[tuple[AbstractDevice, int]]:
        """Groups of equal devices, and their numbers."""
        if len(self.devices) == 1:
            return [(self.devices[0], self.copies)]
        makes = groupby(self.devices)
        return [(device, self.copies * len(list(same))) for device, same in makes]

    @property
    def count(self) -> int:
        return self.copies * len(self.devices)

    @property
    def space(self) -> Space:
        return self.devices[0].space

    @property
    def access_level(self) -> AccessLevel:
        least = min(device.access_level for device in self.devices)
        return AccessLevel.COST if self.air is not None else least

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.devices[0].layers if self.access_level >= AccessLevel.SITES else ()

    @property
    def fails(self) -> bool:
        return any(device.fails for device in self.devices)

    @property
    def write_seconds(self) -> float:
        return max(device.write_seconds for device in self.devices)

    @property
    def perturbation_seconds(self) -> float:
        return max(device.perturbation_seconds for device in self.devices)

    @property
    def measurement_seconds(self) -> float:
        return max(device.measurement_seconds for device in self.devices)

    @property
    def time_out(self) -> float:
        return max(device.time_out for device in self.devices)

    @property
    def write_joules(self) -> float:
        return self.copies * sum(device.write_joules for device in self.devices)

    @property
    def perturbation_joules(self) -> float:
        return self.copies * sum(device.perturbation_joules for device in self.devices)

    @property
    def measurement_joules(self) -> float:
        return self.copies * sum(device.measurement_joules for device in self.devices)

    def check_task(self, task: Task) -> None:
        for device in self.devices:
            device.check_task(task)

    def deal(self, task: Task) -> Task:
        return dealt(task, self.count, self.shards)

    def specimen(self, key: Key[Array, ""], number: int) -> tuple[AbstractDevice, Any]:
        make = self._makes[number % self.count]
        return make, make.fabricate(specimen_key(key, number))

    @property
    def _makes(self) -> list[AbstractDevice]:
        return [device for device, number in self._groups for _ in range(number)]

    def fabricate(self, key: Key[Array, ""]) -> FleetState:
        chips, made = [], 0
        for device, number in self._groups:
            states = [device.fabricate(specimen_key(key, made + n)) for n in range(number)]
            chips.append(
                jax.tree.map(lambda *a: jnp.stack(a), *states) if number > 1 else states[0]
            )
            made += number
        attendance = Attendance.full(self.count) if self.fails else ()
        channel = () if self.air is None else self.air.open(specimen_key(key, CHANNEL))
        return FleetState(tuple(chips), attendance, channel)

    def prepare(self, states: FleetState, task: Task) -> FleetState:
        return self._of_all(states, lambda device, chips: device.prepare(chips, task))

    def bare(self, states: FleetState) -> FleetState:
        return self._of_all(states, lambda device, chips: device.bare(chips))

    def _of_all(self, states: FleetState, call: Callable[[AbstractDevice, Any], Any]) -> FleetState:
        """The states of R replicas after a call with the devices of each group in one row."""
        after = []
        for (device, number), chips in zip(self._groups, states.devices):
            if number == 1:
                after.append(call(device, chips))
                continue
            row = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), chips)
            called = call(device, row)
            after.append(jax.tree.map(partial(_in_rows, number), called))
        return FleetState(tuple(after), states.attendance, states.air)

    def initial(self, key: Key[Array, ""]) -> Float[Array, " P"]:
        return self.devices[0].initial(key)

    def write(
        self,
        state: FleetState,
        parameters: Float[Array, " P"] | SparseWrite,
        updated: Bool[Array, ""],
    ) -> FleetState:
        _, chips = self._side_by_side(
            lambda device, chip: ((), device.write(chip, parameters, updated)), state
        )
        air = state.air
        if isinstance(air, AirState):
            air = AirState(air.key, air.updates + updated, air.measured)
        return FleetState(chips, state.attendance, air)

    def measure(
        self,
        state: FleetState,
        batch: Batch,
        cost: Cost,
        sites: dict[str, Array] | None,
        see: AccessLevel,
        known: Known | None = None,
    ) -> tuple[Measurement, Int[Array, ""], FleetState]:
        del known
        mine, added = jax.tree.map(self._apart, batch), self._added(sites)

        def measured(device: AbstractDevice, chip: Any, *rows: Any) -> Any:
            here = sites if not added else {**(sites or {}), **rows[1]}
            seen, status, after = device.measure(chip, rows[0], cost, here, see)
            return (seen, status), after

        (seen, statuses), chips = self._side_by_side(measured, state, mine, added)
        status, attendance = jnp.int32(Status.DONE), state.attendance
        if isinstance(attendance, Attendance):
            status, attendance = attendance.after(statuses)
            by = attendance.stand_ins()
            seen = jax.tree.map(lambda a: a[by], seen)
        if isinstance(state.air, AirState) and self.air is not None:
            value, air = self.air.received(state.air, seen.cost)
            return Measurement(value), status, FleetState(chips, attendance, air)
        outputs, at_sites = jax.tree.map(self._together, (seen._outputs, seen._sites))
        gradient = None if seen._gradient is None else jnp.mean(seen._gradient, axis=0)
        measurement = Measurement(jnp.mean(seen.cost), outputs, at_sites, gradient)
        return measurement, status, FleetState(chips, attendance, ())

    def outputs(self, state: FleetState, inputs: Float[Array, "M ..."]) -> Float[Array, "B K"]:
        """The outputs of all devices for inputs: row `m N + n` is that of device n for input m."""
        seen, _ = self._side_by_side(
            lambda device, chip: (device.outputs(chip, inputs), chip), state
        )
        together: Float[Array, "B K"] = self._together(seen)
        return together

    def accounts(self, state: FleetState, account: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The ledger of each device: its failures, seconds and joules."""
        found = []
        who = state.attendance
        for n, device in enumerate(self._makes):
            failed, late = 0, 0
            if isinstance(who, Attendance):
                failed, late = int(who.failed[n]), int(who.timed_out[n])
            did = account["writes"], account["perturbations"], account["measurements"]
            seconds = (device.write_seconds, device.perturbation_seconds,
                       device.measurement_seconds)  # fmt: skip
            joules = device.write_joules, device.perturbation_joules, device.measurement_joules
            found.append({
                **account,
                "samples": account["samples"] // self.count,
                "failed": failed,
                "device_seconds": sum(a * b for a, b in zip(did, seconds)) + late * device.time_out,
                "joules": sum(a * b for a, b in zip(did, joules))
                + account["samples"] // self.count * device.sample_joules,
            })  # fmt: skip
        return found

    @property
    def sample_joules(self) -> float:
        return sum(device.sample_joules for device in self.devices) / len(self.devices)

    def _side_by_side(
        self, call: Callable[..., Any], state: FleetState, *given: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        """Call a function with every device, its state and its rows of the arguments.

        Returns: the results, one row per device; the new states.
        """
        shown, after, start = [], [], 0
        for (device, number), chips in zip(self._groups, state.devices):
            mine = slice(start, start + number)
            rows = jax.tree.map(itemgetter(mine if number > 1 else start), given)
            run = partial(call, device)
            one, now = jax.vmap(run)(chips, *rows) if number > 1 else run(chips, *rows)
            shown.append(one if number > 1 else jax.tree.map(lambda a: a[None], one))
            after.append(now)
            start += number
        return jax.tree.map(lambda *a: jnp.concatenate(a), *shown), tuple(after)

    def _apart(self, rows: Array) -> Array:
        """The rows of a batch by device: (b N, …) as (N, b, …)."""
        return jnp.moveaxis(rows.reshape(-1, self.count, *rows.shape[1:]), 1, 0)

    def _together(self, rows: Array) -> Array:
        """The inverse."""
        return jnp.moveaxis(rows, 0, 1).reshape(-1, *rows.shape[2:])

    def _added(self, sites: dict[str, Array] | None) -> dict[str, Array]:
        """The perturbations at the sites for each sample, by device."""
        axes = {f"{layer.name}/z": len(layer.nodes) for layer in self.layers}
        return {
            site: self._apart(value)
            for site, value in (sites or {}).items()
            if value.ndim > axes[site]
        }


def _in_rows(number: int, leaf: Array) -> Array:
    return leaf.reshape(-1, number, *leaf.shape[1:])
