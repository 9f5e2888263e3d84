"""A short test of a real device, inside its bounds."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from pydantic import TypeAdapter, ValidationError

from dither._errors import RequestError, nearest
from dither.devices.device import Sees
from dither.devices.python import BadReading, PythonDevice
from dither.tasks import TASKS, AnyTask, Task


@dataclass(frozen=True)
class Report:
    """What a device check has found.

    Attributes: `name`; `parameters`, P; `low`, `high`, `step`, of what can be written; `shows`;
    `outputs`, a sample's; `noise`, the standard deviation of a repeated reading; `moving`, the
    share of tried parameters that move a reading by more than three times its noise; `delta`, the
    perturbation tried; `seconds_per_write`, `seconds_per_measurement`; `failed` readings of
    `readings`.
    """

    name: str
    parameters: int
    low: float
    high: float
    step: float
    shows: str
    outputs: int | None
    noise: float
    moving: float
    delta: float
    seconds_per_write: float
    seconds_per_measurement: float
    failed: int
    readings: int

    def facts(self) -> dict[str, Any]:
        """The report as plain numbers; bounds that are not there as None."""
        return {
            key: None if isinstance(value, float) and not np.isfinite(value) else value
            for key, value in vars(self).items()
        }

    def lines(self) -> list[str]:
        """The report in sentences."""
        grid = f" in steps of {self.step:.3g}" if self.step else ""
        shown = f"{self.outputs} outputs a sample" if self.outputs else "a cost"
        return [
            f"{self.name}: {self.parameters} parameters from {self.low:g} to {self.high:g}{grid}; "
            f"shows {shown}",
            f"noise of a repeated reading: {self.noise:.3g}",
            f"parameters that move a reading beyond its noise, at a step of {self.delta:.3g}: "
            f"{100 * self.moving:.0f} %",
            f"time: {1e6 * self.seconds_per_write:.3g} µs a write, "
            f"{1e6 * self.seconds_per_measurement:.3g} µs a measurement",
            f"failed: {self.failed} of {self.readings} readings",
        ]


def check_device(device: PythonDevice, task: str | Task, repeats: int = 20) -> Report:
    """Write and measure a device inside its bounds and report what it does.

    Arguments: the device; a task, or a kind of task, whose first inputs are measured; how many
    readings to take of each kind. Returns: the report. Errors: `RequestError` for a failed
    self-test: a wrong shape, NaN, an exception.
    """
    data = _task(task) if isinstance(task, str) else task
    rows = slice(0, min(data.batch, 100))
    inputs, targets = np.asarray(data.inputs[rows]), np.asarray(data.targets[rows])
    device.self_test(inputs, targets)
    space = device.space
    start = np.asarray(space.snap(device.initial(0)))
    failed, readings = 0, 0
    write_seconds: list[float] = []
    read_seconds: list[float] = []

    def read(theta: Float[np.ndarray, " P"]) -> Float[np.ndarray, "..."] | None:
        nonlocal failed, readings
        readings += 1
        try:
            begin = time.perf_counter()
            device.write(theta)
            write_seconds.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            reading = device.measure(inputs, targets)
            read_seconds.append(time.perf_counter() - begin)
        except (BadReading, OSError, RuntimeError, ValueError):
            failed += 1
            return None
        return reading

    repeated = [r for r in (read(start) for _ in range(repeats)) if r is not None]
    if len(repeated) < 2:
        raise RequestError(f"The device {device.name} failed {failed} of {readings} readings.")
    noise = float(np.std(repeated, axis=0, ddof=1).mean())
    reference = np.mean(repeated, axis=0)
    delta = _delta(device)
    tried = np.random.default_rng(0).choice(space.size, min(repeats, space.size), replace=False)
    moves = 0
    for parameter in tried:
        moved = start.copy()
        middle = np.broadcast_to(_middle(device), space.size)[parameter]
        moved[parameter] += delta if start[parameter] <= middle else -delta
        reading = read(np.asarray(space.snap(moved)))
        moves += reading is not None and bool(np.abs(reading - reference).max() > 3 * noise)
    return Report(
        name=device.name,
        parameters=space.size,
        low=float(np.min(space.low)),
        high=float(np.max(space.high)),
        step=float(np.max(space.step)),
        shows=device.sees.name.lower(),
        outputs=reference.shape[1] if device.sees is Sees.OUTPUTS else None,
        noise=noise,
        moving=moves / len(tried),
        delta=delta,
        seconds_per_write=float(np.median(write_seconds)),
        seconds_per_measurement=float(np.median(read_seconds)),
        failed=failed,
        readings=readings,
    )


def _middle(device: PythonDevice) -> Any:
    low, high = np.asarray(device.space.low), np.asarray(device.space.high)
    bounded = np.isfinite(low) & np.isfinite(high)
    return np.where(bounded, 0.5 * (np.where(bounded, low, 0) + np.where(bounded, high, 0)), 0.0)


def _delta(device: PythonDevice) -> float:
    """A tenth of the range, in whole steps; 0.1 where there are no bounds."""
    width = float(np.min(np.asarray(device.space.high) - np.asarray(device.space.low)))
    return float(np.max(device.space.amplitude(0.1 * width if np.isfinite(width) else 0.1)))


def _task(kind: str) -> Task:
    if kind not in TASKS:
        raise RequestError(f"There is no task '{kind}'; {nearest(kind, TASKS)}")
    try:
        return TypeAdapter(AnyTask).validate_python(kind).load()
    except ValidationError:
        raise RequestError(
            f"The task '{kind}' cannot be checked with: it needs settings."
        ) from None
