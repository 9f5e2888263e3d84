"""A short test of a real device inside its bounds, and the recommended settings."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dither._configuration import Configuration
from dither._errors import RequestError
from dither._explain import made_of
from dither._platform import check_platform
from dither.contract import AccessLevel
from dither.instruments import trials
from dither.instruments.connection import AbstractConnection
from dither.instruments.python import PythonDevice
from dither.instruments.under_test import DeviceUnderTest
from dither.tasks import TASKS, Task
from dither.tasks.task import AbstractTask

READINGS_A_PARAMETER = 10
"""The maximum number of parameters tried one by one, per repeat."""

TIME_CONSTANTS = 3.0
"""Time constants to wait after a write in training: a twentieth of the step then remains."""

SETTLED = 7.0
"""Time constants to wait after a write in the check: a thousandth of the step then remains."""


@dataclass(frozen=True)
class Report:
    """The result of a device check.

    Attributes: `name`; `parameters`, P; `low`, `high`, `step` of the parameters, and `levels`, 0
    for continuous; `shows`, the access level; `outputs`, per sample. `noise`, the standard
    deviation of an output in repeated readings; `repeatability`, the same with a write away and
    back before each reading, and a wait after each write if settling is seen; `cost_noise`, that of
    the cost; `outliers`, whether some costs are outliers. `tried`, the parameters changed one by
    one by ±`delta`; `responses`, the change of an output per unit of each, root mean square;
    `dead`, those that change no output beyond the noise; `moving`, the share of the others.
    `settling`, the time constant after a step, s, 0 if none is seen; `drift`, of an output, in
    units per second, 0 if not significant, over `seconds`. `smallest_useful`, the amplitude of
    random perturbations at which the cost difference equals its noise; `largest_linear`, that at
    which a tenth of the difference is due to curvature, or the largest tried; None for parameters
    with two or three levels. `seconds_per_write`, `seconds_per_measurement`, `slowest_call`;
    `failed` readings of `readings`.
    """

    name: str
    parameters: int
    low: float
    high: float
    step: float
    levels: int
    shows: str
    outputs: int | None
    noise: float
    repeatability: float
    cost_noise: float
    outliers: bool
    delta: float
    tried: list[int] = field(repr=False)
    responses: list[float] = field(repr=False)
    settling: float
    drift: float
    seconds: float
    smallest_useful: float | None
    largest_linear: float | None
    seconds_per_write: float
    seconds_per_measurement: float
    slowest_call: float
    failed: int
    readings: int

    @property
    def dead(self) -> list[int]:
        """The tried parameters that change no output beyond the noise."""
        return [place for place, size in zip(self.tried, self.responses) if size == 0]

    @property
    def moving(self) -> float:
        """The share of the tried parameters that change the output."""
        return 1 - len(self.dead) / len(self.tried)

    @property
    def unmoved(self) -> str:
        """Why no parameter changes the output, in a sentence; empty if one does.

        A cost difference of twice its noise at an amplitude that is still linear shows that the
        parameters together change the output.
        """
        least, most = self.smallest_useful, self.largest_linear
        together = least is not None and most is not None and 2 * least < most
        if self.moving > 0 or together:
            return ""
        tried = (
            f"None of the {len(self.tried)} tried parameters, changed by ±{self.delta:.3g}, changes"
        )
        if self.repeatability == 0:
            return (
                f"{tried} the output of {self.name}: every reading is identical, whatever is "
                "written; check that write reaches the device, that each measure takes a new "
                "reading, and that the output is not at a limit of its range."
            )
        return (
            f"{tried} the output of {self.name} beyond its noise of "
            f"{self.repeatability:.3g}; check "
            "that write reaches the device, average longer in measure, or allow wider bounds."
        )

    def facts(self) -> dict[str, Any]:
        """The report as plain numbers, with None for numbers that are not finite."""
        known = {**vars(self), "dead": self.dead, "moving": self.moving, "unmoved": self.unmoved}
        known["responses"] = [r if math.isfinite(r) else None for r in self.responses]
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in known.items()
        }

    def lines(self) -> list[str]:
        """The report as lines of text."""
        grid = f" in steps of {self.step:.3g}" if self.step else ""
        shown = f"{self.outputs} outputs per sample" if self.outputs else "a cost"
        sizes = [size for size in self.responses if math.isfinite(size)] or [math.nan]
        some = ", ".join(map(str, self.dead[:12])) + (", …" if len(self.dead) > 12 else "")
        dead = f"; no effect from {some}" if self.dead else ""
        settling = f"time constant {_seconds(self.settling)}" if self.settling else "none seen"
        drift = f"{self.drift:.3g} per second" if self.drift else "none seen"
        far = "; some costs are outliers" if self.outliers else ""
        return [
            f"{self.name}: {self.parameters} parameters from {self.low:g} to {self.high:g}{grid}; "
            f"shows {shown}",
            f"noise of an output in repeated readings: {self.noise:.3g}; with writes between: "
            f"{self.repeatability:.3g}; of the cost: {self.cost_noise:.3g}{far}",
            f"parameters that change the output, of {len(self.tried)} tried at ±{self.delta:.3g}: "
            f"{100 * self.moving:.0f} %, by {np.min(sizes):.3g} to {np.max(sizes):.3g} per "
            f"unit{dead}",
            f"settling after a step: {settling}; drift over {_seconds(self.seconds)}: {drift}",
            *self._perturbations(),
            f"time: {_seconds(self.seconds_per_write)} per write, "
            f"{_seconds(self.seconds_per_measurement)} per measurement",
            f"failed: {self.failed} of {self.readings} readings",
        ]

    def _perturbations(self) -> list[str]:
        if self.smallest_useful is None or self.largest_linear is None:
            return []
        return [
            f"perturbations: effect equals the noise at {self.smallest_useful:.3g}, linear up to "
            f"{self.largest_linear:.3g}"
        ]


def _seconds(time: float) -> str:
    return f"{time:.3g} s" if time >= 0.1 else f"{1e6 * time:.3g} µs"


def check_device(device: PythonDevice, task: str | Task, repeats: int = 20) -> Report:
    """Test a device inside its bounds and report its noise, response, settling and drift.

    Arguments: the device; a task, or a kind of task, whose first inputs are measured; the number of
    readings of each kind, ≥ 2. Returns: the report. Errors: `RequestError` for a failed self-test
    (a wrong shape, NaN, an exception), or if half of the readings at the start fail.
    """
    check_platform()
    data = made_of(TASKS, task).load() if isinstance(task, str) else task
    rng, space = np.random.default_rng(0), device.space
    dut = DeviceUnderTest(device, data)
    device.self_test(dut.inputs, dut.targets)
    noise = trials.repeat(dut, repeats)
    if 2 * len(dut.visits) < dut.readings:
        raise RequestError(
            f"The device {device.name} failed {dut.failed} of {dut.readings} readings."
        )
    places = np.sort(
        rng.choice(space.size, min(READINGS_A_PARAMETER * repeats, space.size), replace=False)
    )
    settling = trials.settle(dut, noise.still, repeats, rng)
    if settling:
        dut.wait = SETTLED * settling
        dut.visits.clear()
        dut.returns.clear()
        noise = trials.repeat(dut, repeats)
    responses = trials.scan(dut, places, noise.written)
    cost_noise = trials.cost_noise(dut)
    steps = None if dut.discrete else trials.ladder(dut, max(repeats // 2, 2), cost_noise, rng)
    dut.visit(max(repeats // 4, 1))
    drift = trials.drift(dut)
    return Report(
        name=device.name,
        parameters=space.size,
        low=float(np.min(space.low)),
        high=float(np.max(space.high)),
        step=dut.step,
        levels=max(parameter.levels for parameter in space.parameters),
        shows=device.access_level.name.lower(),
        outputs=dut.shape[1] if device.access_level is AccessLevel.OUTPUTS else None,
        noise=noise.still,
        repeatability=noise.written,
        cost_noise=cost_noise,
        outliers=noise.outliers,
        delta=dut.small,
        tried=[int(place) for place in places],
        responses=[float(size) for size in responses],
        settling=settling,
        drift=drift.rate,
        seconds=drift.seconds,
        smallest_useful=None if steps is None else steps.smallest_useful(),
        largest_linear=None if steps is None else steps.largest_linear(),
        seconds_per_write=float(np.median(dut.write_seconds)),
        seconds_per_measurement=float(np.median(dut.read_seconds)),
        slowest_call=max(*dut.write_seconds, *dut.read_seconds),
        failed=dut.failed,
        readings=dut.readings,
    )


MOST_TICKS = 1000
"""Perturbations averaged before an update, at most."""


def recommended(report: Report, device: AbstractConnection, task: AbstractTask) -> dict[str, Any]:
    """The recommended specification for a checked device: a table for `dither train`.

    Arguments: the report; how the device is reached; the task.

    It uses central differences; half the largest linear perturbation, at which curvature is a
    fortieth of a difference, in whole DAC steps; as many averaged ticks as lift a difference above
    its noise; three time constants of settling; a time-out of twenty times the slowest call, at
    least one second; and a drift alarm if there is drift. For Boolean and ternary parameters it
    uses coordinate descent, with repeated readings until significant if there is noise. Source:
    derived here. Errors: `RequestError` if no parameter changes the output.
    """
    if report.unmoved:
        raise RequestError(report.unmoved)
    guard: dict[str, Any] = {"timeout": _round(max(1.0, 20 * report.slowest_call)), "backoff": 0.1}
    if report.settling:
        guard["settle"] = _round(TIME_CONSTANTS * report.settling)
    if report.drift:
        guard["drift"] = 5.0
    until: dict[str, Any] = {"measurements": 100_000}
    if report.cost_noise > 0:
        until["confirm"] = 2
    reached = _given(device)
    return {
        "task": _given(task),
        "device": {**reached, "guard": {**guard, **reached.get("guard", {})}},
        "algorithm": _algorithm(report),
        "until": until,
    }


def _given(part: Configuration) -> dict[str, Any]:
    """A part of a specification without its default values."""
    given = part.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    return {"kind": part.model_dump()["kind"], **given}


def _algorithm(report: Report) -> dict[str, Any]:
    if report.smallest_useful is None or report.largest_linear is None:
        noisy = report.cost_noise > 0
        return {"kind": "coordinate-descent", "decision": "significant" if noisy else "keep"}
    delta = max(0.5 * report.largest_linear, report.step)
    ticks = MOST_TICKS
    if math.isfinite(report.smallest_useful):
        ticks = min(math.ceil((report.smallest_useful / delta) ** 2), MOST_TICKS)
    chosen = {
        "kind": "weight-mgd",
        "learning_rate": "auto",
        "delta": _round(delta),
        "pairs": "central",
        "tau_theta": max(ticks, 1),
    }
    if report.outliers:
        chosen["outliers"] = 5.0
    return chosen


def _round(number: float) -> float:
    """Round to three significant figures."""
    return float(f"{number:.3g}")
