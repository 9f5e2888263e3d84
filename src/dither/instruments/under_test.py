"""A device under test, with counted failures and timed calls."""

import time
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dither.instruments.python import PythonDevice
from dither.tasks.task import Task

Reading: TypeAlias = Float[np.ndarray, " K"]

STEP_READINGS = 24
"""Readings after a step."""


class DeviceUnderTest:
    """A device under test: every call is timed, failures are counted, the start is revisited.

    Arguments: the device; a task, whose first inputs are measured.
    Attributes: `discrete`, whether parameters have two or three levels, so that they can change in
    one direction only; `space`, the parameters minus `origin`; `start`, the initial parameters;
    `small`, an amplitude: a twentieth of the range, in whole steps, or 0.1 without bounds; `reach`,
    the largest amplitude tried: a quarter of the range, or 1; `visits` to the start, pairs of time
    and reading; `returns`, the first reading of each visit, right after a write; `wait`, the wait
    after each write, s.
    """

    def __init__(self, device: PythonDevice, task: Task) -> None:
        self.device, self.task, self.space = device, task, device.trained_space
        device.rewrite()  # to see the effect of a write by itself on a reading
        space, self.origin = self.space, device.origin(0)
        width = float(np.min(np.asarray(space.high) - np.asarray(space.low)))
        bounded, self.step = np.isfinite(width), float(np.max(space.step))
        self.small = float(np.max(space.amplitude(0.05 * width if bounded else 0.1)))
        self.reach = 0.25 * width if bounded else 1.0
        if self.step:
            self.reach = max(1.0, np.floor(self.reach / self.step + 1e-6)) * self.step
        self.discrete = any(parameter.levels in (2, 3) for parameter in space.parameters)
        start = space.snap(device.initial(0) - self.origin)
        if not self.discrete:
            start = space.snap(space.confine(start, jnp.asarray(self.reach)))
        self.start = np.asarray(start, float)
        few = max(100 - 100 % task.group, task.group)
        rows = slice(0, min(task.batch, few))
        self.inputs, self.targets = np.asarray(task.inputs[rows]), np.asarray(task.targets[rows])
        self.write_seconds: list[float] = []
        self.read_seconds: list[float] = []
        self.visits: list[tuple[float, Reading]] = []
        self.returns: list[Reading] = []
        self.shape: tuple[int, ...] = ()
        self.readings = self.failed = 0
        self.wait = 0.0

    def write(self, theta: Float[np.ndarray, " P"]) -> bool:
        """Write; whether it succeeded."""
        begin = time.perf_counter()
        try:
            self.device.write(np.asarray(theta, float) + self.origin)
        except Exception:
            self.readings += 1
            self.failed += 1
            return False
        self.write_seconds.append(time.perf_counter() - begin)
        if self.wait:
            time.sleep(self.wait)
        return True

    def read(self) -> Reading | None:
        """A reading as one row, None if it failed."""
        self.readings += 1
        begin = time.perf_counter()
        try:
            reading = self.device.measure(self.inputs, self.targets)
        except Exception:
            self.failed += 1
            return None
        self.read_seconds.append(time.perf_counter() - begin)
        self.shape = reading.shape
        return reading.ravel()

    def at(self, theta: Float[np.ndarray, " P"]) -> Reading | None:
        """Write and read."""
        return self.read() if self.write(theta) else None

    def follow(self, theta: Float[np.ndarray, " P"]) -> tuple[list[float], list[Reading]]:
        """Write, then read repeatedly: the times since the write, s, and the readings."""
        times: list[float] = []
        readings: list[Reading] = []
        if self.write(theta):
            begin = time.perf_counter()
            for _ in range(STEP_READINGS):
                before = time.perf_counter()
                reading = self.read()
                if reading is not None:
                    times.append(0.5 * (before + time.perf_counter()) - begin)
                    readings.append(reading)
        return times, readings

    def pair(self, offset: Float[np.ndarray, " P"]) -> tuple[Reading, Reading] | None:
        """The readings on both sides of the start, or on one side and at it."""
        if self.discrete:
            middle = 0.5 * (np.asarray(self.space.low) + np.asarray(self.space.high))
            offset = np.where(self.start > middle, -offset, offset)
        plus = self.at(self.start + offset)
        minus = self.at(self.start if self.discrete else self.start - offset)
        return None if plus is None or minus is None else (plus, minus)

    def visit(self, times: int = 1) -> None:
        """Return to the start and read it."""
        if not self.write(self.start):
            return
        for number in range(times):
            reading = self.read()
            if reading is not None:
                self.visits.append((time.perf_counter(), reading))
                self.returns += [] if number else [reading]

    def cost(self, reading: Reading) -> float:
        """The cost of a reading."""
        if self.shape == ():
            return float(reading[0])
        outputs = jnp.asarray(reading.reshape(self.shape), jnp.result_type(float))
        return float(jnp.mean(self.task.cost(outputs, jnp.asarray(self.targets))))
