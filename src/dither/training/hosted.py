"""The loop around a Python device: ask and tell in blocks."""

import time
import warnings
from collections.abc import Iterator
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dither._errors import RunError
from dither._threefry import key_for, random_key
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.contract import Clock
from dither.instruments.python import PythonDevice
from dither.tasks.task import Task
from dither.training.blocks import (
    ROOMS,
    Asked,
    Layout,
    Reading,
    compiled,
    largest_block,
    stacked,
)
from dither.training.drift import AGAIN, DriftWarning, Reference
from dither.training.fit import measurements_per_evaluation, problem_of
from dither.training.ledger import Ledger
from dither.training.loop import Carry, Evaluation, Tally
from dither.training.measuring import AbstractMeasuringLoop, Write
from dither.training.outputs import far, in_double, scored

LONGEST_CALL = 1.0
"""The longest call, s. Then the driver checks for Ctrl-C and stops waiting for failures."""

FALLEN = 16.0
"""The factor by which a cost must fall below the subtracted constant to replace it."""


class HostedLoop(AbstractMeasuringLoop):
    """Advances one Python device and keeps its ledger.

    After a failed measurement the rule continues as its `retry` specifies; after `failures` in a
    row the run ends. Each batch of the test set in an evaluation is a measurement.
    """

    def __init__(
        self,
        algorithm: AbstractAlgorithm,
        device: PythonDevice,
        task: Task,
        seed: int,
        failures: int,
        parameters: Float[np.ndarray, " P"] | None = None,
    ) -> None:
        super().__init__(device, failures)
        self.algorithm, self.task = algorithm, task
        self.replicas = 1
        self.scores = not device.by_cost
        _, learning, data, _ = jax.random.split(random_key(seed), 4)
        learning = key_for(algorithm, learning)
        self.origin = device.origin(seed)
        self.most = 1 if task.sampler.learns else largest_block(device.extent.size)
        self.away = bool(np.any(self.origin))
        parameters = device.initial(seed) if parameters is None else parameters
        theta = jnp.asarray(parameters - self.origin, jnp.result_type(float))
        del parameters  # in double precision
        self.problem = problem_of(device, task)
        state = jax.jit(algorithm.init, static_argnums=2)(learning, theta, self.problem)
        sampling = task.sampling()
        self.layout, tasks, keys = map(Layout.of, ((state, sampling), task, data))
        self.ask, self.tell = compiled(algorithm, self.layout, tasks, keys)
        self.data, self.given, self.drawn = data, tasks.apart(task), keys.apart(data)
        places = jax.tree.unflatten(self.layout.structure, range(len(self.layout.keys)))
        self.clock_places = places[0].clock
        less = np.float32(np.nan)
        self.carry = Carry(state, None, data, Tally.empty(), taken_off=less, sampling=sampling)
        self.cost_of = in_double(task.cost)
        self.inputs, self.targets = np.asarray(task.inputs), np.asarray(task.targets)
        tests = np.asarray(task.test_inputs), np.asarray(task.wanted_tests)
        if not device.fed:
            tests = self.inputs, np.repeat(self.targets, device.count, axis=0)
        self.tests = np.repeat(tests[0], device.count, axis=0), tests[1]
        alarm = None if device.guard is None else device.guard.drift
        self.reference = None if alarm is None else Reference(alarm)
        if self.reference is not None:
            self.start = self._whole(self.problem.space.snap(theta))
        self.alarms: list[str] = []
        self.seen: Float[np.ndarray, "M K"] | None = None

    @property
    def carry(self) -> Carry:
        """The carry; internally it is stored as arrays and numbers."""
        tally = Tally(
            measurements=np.asarray(self.measured, np.int32),
            failed=np.asarray(self.failed, np.int32),
            failed_in_a_row=np.asarray(self.failed_in_a_row, np.int32),
            cost=np.asarray(self.cost),
        )
        state, sampling = self.layout.together(self.arrays)
        less = self.taken_off
        return Carry(state, None, self.data, tally, taken_off=less, sampling=sampling)

    @carry.setter
    def carry(self, carry: Carry) -> None:
        # copies, because `tell` donates its arrays
        states = carry.algorithm, carry.sampling
        self.arrays = tuple(jnp.array(x) for x in self.layout.apart(states))
        self.taken_off = np.float32(carry.taken_off)
        tally = carry.tally
        self.measured, self.failed = int(tally.measurements), int(tally.failed)
        self.cost = np.asarray(tally.cost)[()]

    @property
    def clock(self) -> Clock:
        """The clock of the next probe, as NumPy numbers."""
        clock: Clock = jax.tree.map(lambda at: np.asarray(self.arrays[at]), self.clock_places)
        return clock

    @clock.setter
    def clock(self, clock: Clock) -> None:
        moved = {self.clock_places.tick: clock.tick, self.clock_places.part: clock.part}
        self.arrays = tuple(jnp.asarray(moved.get(k, x)) for k, x in enumerate(self.arrays))

    def resume(self, carry: Carry, partial: Ledger) -> None:
        self.carry, self.ledger = replace(carry, device=None), partial
        for what, before in (carry.device or {}).items():
            self.device.counts[what] += before

    def to_save(self) -> Carry:
        self._renew_lease()
        # the state of a real device cannot be saved, except for the counts of a fleet
        return replace(self.carry, device=self.device.counts or None)

    def advance(self, n: int) -> None:
        self._renew_lease()
        end = time.monotonic() + LONGEST_CALL
        while n > 0 and self.failed_in_a_row < self.failures and time.monotonic() < end:
            n -= self._block(n)

    def _block(self, n: int) -> int:
        """Ask for a block, measure it up to the first failure, and tell the results.

        Returns: the number of measurements, at most n.
        """
        size = min(n, self.most, self.algorithm.lookahead(self.problem, self.clock))
        room = next(room for room in ROOMS if room >= size)
        asked = self.ask(room, self.given, self.arrays, self.drawn)
        self._renew_lease()
        rows = np.asarray(asked.rows)
        readings = self._measure(asked, rows[:size])
        each = self._costs(readings, rows)
        whole_costs = [float(np.mean(costs)) for costs in each]
        less = self._taken_off(whole_costs, done=bool(readings))
        done, failed = len(readings), int(len(readings) < size)
        if done:
            rest = [np.asarray(costs - float(less)) for costs in each]
            told = rest if self.device.by_cost else readings
            block, known = stacked(room, told, self.cost.dtype), None
            if rest and not self.device.by_cost:
                known = stacked(room, rest, self.cost.dtype)
            self.arrays, costs = self.tell(
                self.given, self.arrays, asked, block, np.int32(done), less, known
            )
            self.cost = self.cost + self.cost.dtype.type(float(np.asarray(costs)[:done].sum()))
        if failed:
            self.clock = self.algorithm.retry(self.problem, asked.moment(done))
        self.measured += done + failed
        self.failed += failed
        self.taken_off = less
        if whole_costs and abs(whole_costs[-1]) < abs(less) / FALLEN:
            self._take_off(np.float32(whole_costs[-1]))
        return done + failed

    def _renew_lease(self) -> None:
        """Renew the lease between steps that may be slow: compilations, evaluations, the disk."""
        self.programmed &= self.device.renew_lease()

    def _whole(self, theta: Float[Array | np.ndarray, "*K P"]) -> Float[np.ndarray, "*K P"]:
        """Parameters including the origin subtracted before single precision."""
        single = np.asarray(theta)
        return np.asarray(single, float) + self.origin if self.away else single

    def _costs(
        self, readings: list[Reading], rows: Int[np.ndarray, "K B"]
    ) -> list[Float[np.ndarray, "..."]]:
        """The costs of readings in double precision: the device's, or per sample."""
        if self.device.by_cost:
            return [np.asarray(reading, float) for reading in readings]
        outputs = [reading[0] if isinstance(reading, tuple) else reading for reading in readings]
        less = self.taken_off
        if not (far(outputs[0]) if outputs and np.isnan(less) else less != 0):
            return []
        return [self.cost_of(y, self.targets[mine]) for y, mine in zip(outputs, rows)]

    def _taken_off(self, costs: list[float], done: bool) -> np.float32:
        """The constant subtracted from costs, in double precision: the first cost, or 0.

        With a large constant, single precision could not resolve the effect of a parameter. The
        constant is 0 if outputs are near zero.
        """
        less = self.taken_off
        if not done or not np.isnan(less):
            return np.float32(less)
        return np.float32(costs[0] if costs else 0.0)

    def _take_off(self, less: np.float32) -> None:
        """Change the subtracted constant; remembered costs are measured again."""
        done = self.measured - self.failed
        moved = done * (float(self.taken_off) - float(less))
        self.cost, self.taken_off = self.cost + self.cost.dtype.type(moved), less
        self._drifted()

    def _drifted(self) -> None:
        """Drift was detected: remembered costs are measured again."""
        carry = self.carry
        state = self.algorithm.on_drift(carry.algorithm)
        self.carry = eqx.tree_at(lambda c: c.algorithm, carry, state)

    def _measure(self, asked: Asked, rows: Int[np.ndarray, "K B"]) -> list[Reading]:
        """The readings of K probes, each on its rows of the data, up to the first failure."""
        added = None if asked.sites is None else jax.device_get(asked.sites)
        if self.device.in_blocks and added is None and not isinstance(asked.parameters, tuple):
            parameters = np.asarray(asked.parameters)[: len(rows)]
            settings = self.device.next_settings(self._whole(parameters))
            return [*self._measure_block(settings, self.inputs[rows], self.targets[rows])]
        readings = []
        for k, (write, mine) in enumerate(zip(self._writes(asked, len(rows)), rows)):
            here = None if added is None else {
                site.removesuffix("/z"): value[k] for site, value in added.items()
            }  # fmt: skip
            reading = self._measure_one(write, self.inputs[mine], self.targets[mine], here)
            if reading is None:
                break
            readings.append(reading)
        return readings

    def _writes(self, asked: Asked, size: int) -> Iterator[Write]:
        """The write of each probe; the first write of a run programs all parameters."""
        if not isinstance(asked.parameters, tuple):
            for theta in np.asarray(asked.parameters)[:size]:
                yield self.device.next_settings(self._whole(theta)), None
            return
        places, values = (np.asarray(each)[:size] for each in asked.parameters)
        off = np.broadcast_to(self.origin, self.device.extent.size)
        values = values + off[np.minimum(places, off.size - 1)]
        values = self.device.writable_at(values, places)
        for here, there in zip(values, places):
            real = there < off.size
            if self.programmed:
                yield here[real], there[real]
                continue
            theta = self._whole(self.algorithm.parameters(self.carry.algorithm))
            theta = np.array(theta, float)
            theta[there[real]] = here[real]
            yield self.device.writable(theta), None

    def account(self) -> tuple[Ledger, Float[np.ndarray, " R"], int]:
        done = max(self.measured - self.failed, 1)
        off = float(np.nan_to_num(self.taken_off))
        return self.ledger, np.array([off + float(self.cost) / done]), self.failed_in_a_row

    def clear(self) -> None:
        self.ledger = Ledger.empty(1)
        self.measured = self.failed = 0
        self.cost = self.cost * 0

    def evaluate(self) -> Evaluation:
        theta = self._whole(self.algorithm.parameters(self.carry.algorithm))
        inputs, targets = self.tests
        readings = self._test_readings(theta)
        rate = np.array([float(self.algorithm.rate_of(self.carry.algorithm))])
        if not self.scores:
            starts = range(0, len(inputs), self.task.batch)
            rows = [len(inputs[begin : begin + self.task.batch]) for begin in starts]
            mean = float(np.dot(np.array(readings, float), rows)) / len(inputs)
            return Evaluation(np.array([np.nan]), np.array([mean]), theta[None], rate)
        self.seen = np.concatenate(readings)
        score, cost = scored(self.task, self.seen, targets)
        return Evaluation(np.array([score]), np.array([cost]), theta[None], rate)

    def _test_readings(self, theta: Float[np.ndarray, " P"]) -> list[Float[np.ndarray, "..."]]:
        """The readings of all batches of the test set, in blocks if the device supports them."""
        (inputs, targets), batch = self.tests, self.task.batch
        readings: list[Float[np.ndarray, ...]] = []
        while (begin := len(readings) * batch) < len(inputs):
            whole = min(self.most, (len(inputs) - begin) // batch) if self.device.in_blocks else 0
            rows = slice(begin, begin + max(whole, 1) * batch)
            if not whole:
                readings.append(self._until_done(theta, inputs[rows], targets[rows]))
                continue
            settings = np.tile(self.device.writable(theta), (whole, 1))
            x, y = (a[rows].reshape(whole, batch, *a.shape[1:]) for a in (inputs, targets))
            if self.failed_in_a_row >= self.failures:
                raise RunError(self.given_up())
            readings += self._measure_block(settings, x, y)
        return readings

    def drift(self) -> Float[np.ndarray, " R"]:
        if self.reference is None:
            return np.array([np.nan])
        rows = self.task.first_rows
        inputs, targets = self.inputs[rows], self.targets[rows]
        costs = []
        for _ in range(AGAIN):
            reading = self._until_done(self.start, inputs, targets)
            costs.append(float(np.mean(self.cost_of(reading, targets) if self.scores else reading)))
        moved, alarmed = self.reference.told(np.array(costs))
        if alarmed:
            self.alarms.append(
                f"The device {self.device.name} has drifted: the cost of the initial parameters "
                f"is now {abs(moved):.3g} {'higher' if moved > 0 else 'lower'}; "
                "remembered costs are measured again."
            )
            warnings.warn(self.alarms[-1], DriftWarning, stacklevel=2)
            self._drifted()
        return np.array([moved])

    def measurements_per_evaluation(self) -> int:
        return measurements_per_evaluation(self.device, self.task)

    def seconds_per_measurement(self) -> float:
        return 0.0
