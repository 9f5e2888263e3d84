"""Several real devices trained as one and measured at the same time in threads."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from jaxtyping import Float
from pydantic import Field

from dither._configuration import Registry
from dither._errors import RequestError, RunError
from dither._raised import told
from dither.instruments.aihwkit import AihwkitConnection
from dither.instruments.connection import AbstractConnection, LabDevice
from dither.instruments.guard import Guard
from dither.instruments.network import RemoteDevice, by_address
from dither.instruments.ophyd import OphydConnection
from dither.instruments.protocols import HoldsLease
from dither.instruments.python import PythonDevice
from dither.instruments.qcodes import QcodesConnection
from dither.instruments.scpi import ScpiConnection
from dither.instruments.torch import TorchConnection
from dither.tasks.dealt import Shards, dealt
from dither.tasks.task import Task

T = TypeVar("T")

PATIENCE = 3
"""Failures in a row after which a device is excluded."""

LONGEST_LEAVE = 64
"""The most rounds before an excluded device is tried again; the waits are 2, 4, 8, … rounds."""


class Together:
    """Devices as one object, as `PythonDevice` takes it.

    A write is carried out with the next measurement, in one thread per device. Row `s N + n` of a
    batch is a sample of device n. A device that fails three times in a row is excluded, the next
    one stands in for it, and it is tried again later. A round fails if a device fails, is newly
    excluded, or is back, so that the current pair is measured again by the same devices.

    Attributes: `team`, the devices in use; `counts`, the ledger of each.
    """

    def __init__(self, devices: Sequence[PythonDevice]) -> None:
        self.devices, n = devices, len(devices)
        extent, first = devices[0].extent, devices[0]
        self.__name__ = f"fleet of {n}, the first {first.name}"
        self.parameters, self.bounds, self.levels = extent.shapes, extent.limits, extent.levels
        self.initial = first.initial
        self.fed, self.task = first.fed, first.task
        self.layers = {one.name: one.positions for one in first.neurons}
        self.output_activation = first.output_activation
        self.sites = {one.name: 1 + len(one.nodes) for one in first.neurons}
        if first.by_cost:
            self.cost = self._cost
        else:
            self.measure, self.measure_sites = self._measure, self._measure_sites
        if any(HoldsLease in device.abilities for device in devices):
            self.renew_lease = self._renew_lease
        self.pool = ThreadPoolExecutor(n, "fleet")
        self.team, self.in_a_row = np.ones(n, bool), np.zeros(n, int)
        self.round, self.due = 0, np.zeros(n, int)
        self.counts = {
            **{what: np.zeros(n, int) for what in COUNTED},
            "device_seconds": np.zeros(n),
        }
        self.theta: Float[np.ndarray, " P"] | None = None

    def write(self, theta: Float[np.ndarray, " P"]) -> None:
        """Store the setting to be programmed."""
        self.theta = theta

    def safe(self) -> None:
        """Bring every device into its safe state. Errors: the first one, after all were tried."""
        calls = [self.pool.submit(device.safe) for device in self.devices]
        errors = [error for call in calls if (error := call.exception())]
        if errors:
            raise errors[0]

    def _measure(self, inputs: Float[np.ndarray, "B ..."]) -> Float[np.ndarray, "B K"]:
        n = len(self.devices)
        return _rows(self._round(lambda k: self.devices[k].measure(inputs[k::n], None), inputs))

    def _cost(self, inputs: Float[np.ndarray, "B ..."], targets: np.ndarray) -> float:
        n = len(self.devices)
        costs = self._round(lambda k: self.devices[k].measure(inputs[k::n], targets[k::n]), inputs)
        return float(np.mean(costs))

    def _measure_sites(
        self, inputs: Float[np.ndarray, "B ..."], added: Mapping[str, Float[np.ndarray, "..."]]
    ) -> tuple[Float[np.ndarray, "B K"], dict[str, Float[np.ndarray, "B ..."]]]:
        n = len(self.devices)

        def measured(k: int) -> Any:
            mine = {
                name: v[k::n] if np.ndim(v) == self.sites[name] else v for name, v in added.items()
            }
            return self.devices[k].measure_sites(inputs[k::n], mine)

        outputs, seen = zip(*self._round(measured, inputs, any(map(np.any, added.values()))))
        return _rows(outputs), {name: _rows([one[name] for one in seen]) for name in seen[0]}

    def _round(
        self, measure: Callable[[int], T], inputs: np.ndarray, perturbed: bool = False
    ) -> list[T]:
        """Measure every device. Errors: if one fails, is newly excluded, or is back."""
        self.round += 1
        every = range(len(self.devices))
        asked = [k for k in every if self.round >= self.due[k]] or every
        calls = {k: self.pool.submit(self._one, measure, k) for k in asked}
        readings: dict[int, T] = {}
        failures: dict[int, Exception] = {}
        for k, call in calls.items():
            seconds, ended = call.result()
            if isinstance(ended, Exception):
                failures[k] = ended
            else:
                readings[k] = ended
            self._count(k, len(inputs) // len(self.devices), seconds, k in failures, perturbed)
        for k, error in failures.items():
            if self.in_a_row[k] < PATIENCE or not readings:
                late = isinstance(error, TimeoutError)
                kind = TimeoutError if late else RunError
                raise kind(f"device {k} of the fleet: {told(error)}") from error
        answered = np.isin(every, list(readings))
        changed = np.flatnonzero(answered != self.team)
        self.team = answered
        if changed.size:
            k = int(changed[0])
            now = "back" if answered[k] else f"excluded: {told(failures[k])}"
            raise RunError(f"device {k} of the fleet is {now}; the round is measured again")
        return [readings[k] for k in self._stand_ins()]

    def _one(self, measure: Callable[[int], T], k: int) -> tuple[float, T | Exception]:
        started, device = time.perf_counter(), self.devices[k]
        ended: T | Exception
        try:
            if self.in_a_row[k]:
                device.recover(int(self.in_a_row[k]))
            assert self.theta is not None
            device.write(self.theta)
            ended = measure(k)
        except Exception as error:
            ended = error
        return time.perf_counter() - started, ended

    def _count(self, k: int, samples: int, seconds: float, failed: bool, perturbed: bool) -> None:
        self.in_a_row[k] = (self.in_a_row[k] + 1) * failed
        if (over := self.in_a_row[k] - PATIENCE) >= 0:
            self.due[k] = self.round + min(2 ** int(over + 1), LONGEST_LEAVE)
        new = (1, self.devices[k].writes(), samples, int(failed), int(perturbed), seconds)
        for what, more in zip(self.counts, new):
            self.counts[what][k] += more

    def _stand_ins(self) -> list[int]:
        """For each device, itself or the next one in use."""
        n = len(self.team)
        return [next(j % n for j in range(k, k + n) if self.team[j % n]) for k in range(n)]

    def _renew_lease(self) -> bool:
        return all([*self.pool.map(lambda device: device.renew_lease(), self.devices)])


COUNTED = ("measurements", "writes", "samples", "failed", "perturbations")
"""The counters of each device, in addition to its time."""


def _rows(by_device: Sequence[Float[np.ndarray, "b ..."]]) -> Float[np.ndarray, "B ..."]:
    """The rows of N devices, interleaved sample by sample as one batch."""
    rows: Float[np.ndarray, ...] = np.stack(by_device, axis=1)
    return rows.reshape(-1, *rows.shape[2:])


class PythonFleet(PythonDevice):
    """Several real devices trained as one, with parameters that should work on all of them.

    They are written and measured at the same time, each in its own thread. One measurement of the
    fleet is one of each device. A device that fails three times in a row is excluded until it
    answers again.

    Arguments: `devices`, each a `PythonDevice` or an argument for one, with the same parameters,
    bounds and levels; `shards`, how the data are divided, shared if not given; `guard`, for whole
    rounds, in addition to each device's own.
    Errors: `RequestError` for devices that differ.
    """

    def __init__(
        self, devices: Sequence[Any], *, shards: Shards | None = None, guard: Guard | None = None
    ) -> None:
        own = [one if isinstance(one, PythonDevice) else PythonDevice(one) for one in devices]
        if not own:
            raise RequestError("A fleet needs at least one device; add devices.")
        for number, device in enumerate(own):
            if unlike := own[0].space.unlike(device.space):
                raise RequestError(
                    f"The fleet's device {number} ({device.name}) {unlike}; all devices of a "
                    "fleet must have the same ones."
                )
            if device.access_level != own[0].access_level or device.fed != own[0].fed:
                raise RequestError(
                    f"The fleet's device {number} ({device.name}) offers another access level "
                    "than device 0; all devices of a fleet must offer the same."
                )
        self.together, self.shards = Together(own), shards
        super().__init__(self.together, guard=guard)
        self.count, self.counts = len(own), self.together.counts

    def deal(self, task: Task) -> Task:
        return dealt(task, self.count, self.shards)


CONNECTIONS = Registry(
    "device",
    AbstractConnection,
    (
        LabDevice, RemoteDevice, TorchConnection, ScpiConnection, QcodesConnection, OphydConnection,
        AihwkitConnection,
    ),
    shorthand=by_address,
)  # fmt: skip
"""The real devices that a specification can select, by their kind."""


class FleetConnection(AbstractConnection):
    """Real devices trained as one: see `PythonFleet`.

    Arguments: `devices`, a table for each, with the same parameters; `shards`, how the data are
    divided, shared if not given; `guard`, for whole rounds, in addition to each device's own.
    """

    kind: Literal["lab-fleet"] = "lab-fleet"
    devices: Annotated[
        tuple[Annotated[AbstractConnection, CONNECTIONS], ...],
        Field(min_length=1, examples=[({"kind": "lab", "object": "bench.py:Chip"},)]),
    ]
    shards: Shards | None = None

    def check_installed(self) -> None:
        for device in self.devices:
            device.check_installed()

    def connect(self) -> PythonDevice:
        devices = [device.connect() for device in self.devices]
        return PythonFleet(devices, shards=self.shards, guard=self.guard)
