"""Train a device: the loop over evaluations, stop rules and checkpoints."""

import hashlib
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dither._configuration import Configuration
from dither._errors import RequestError, RunError
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices.device import AbstractDevice, Sees
from dither.devices.lab import LabDevice
from dither.devices.python import PythonDevice
from dither.devices.simulated import SimulatedDevice
from dither.tasks.task import AbstractTask, Task, cross_entropy
from dither.training.checkpoint import digest, load_checkpoint, save_checkpoint
from dither.training.figure import draw_run
from dither.training.folder import CHECKPOINT, open_folder, write_result, write_specification
from dither.training.fused import FusedLoop
from dither.training.history import COLUMNS, History
from dither.training.hosted import HostedLoop
from dither.training.ledger import Ledger
from dither.training.result import Replica, Result
from dither.training.until import Until

SECONDS_PER_CALL = 0.3
"""About how long the compiled loop runs before the driver looks at the clock and for Ctrl-C."""


class TrapWarning(UserWarning):
    """A setting that is likely a mistake, with what to change."""


@dataclass(frozen=True)
class Progress:
    """Where a run is: for observers, several times a second."""

    measurements: int
    most: int | None
    cost: float
    score: float
    score_name: str
    wall_seconds: float
    finished: int
    replicas: int


Observer: TypeAlias = Callable[[Progress], None]


def train(
    device: Any,
    task: Task | AbstractTask,
    algorithm: AbstractAlgorithm,
    *,
    key: int = 0,
    until: Until | None = None,
    replicas: int = 1,
    score_every: int | None = None,
    checkpoint_seconds: float = 10.0,
    out: str | Path | None = None,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    name: str = "run",
) -> Result:
    """Train a device on a task by an algorithm that sees only what can be measured.

    Arguments:
        device: a `SimulatedDevice`, or any Python object or callable as `PythonDevice` takes it.
        task: what to learn.
        algorithm: how.
        key: the seed; replica r has seed key + r, and is the run that this seed alone would give.
        until: the stop rules; 100 000 measurements if not given.
        replicas: how many specimens of a simulated device to train side by side.
        score_every: training measurements between evaluations on the test set; a hundredth of the
            run if not given.
        checkpoint_seconds: the least time between checkpoints.
        out: the run's folder; nothing is written if not given.
        resume: go on from the checkpoint in `out`.
        observers: called with a `Progress` several times a second.
        name: what to call the run in its figure.

    Returns: the `Result`.
    Errors: `RequestError` before anything is written for what does not fit together. Warns with
    `TrapWarning` of settings that are likely mistakes.
    """
    until = until or Until(measurements=100_000)
    device = _as_device(device)
    data = task.load() if isinstance(task, AbstractTask) else task
    check_fit(device, data, algorithm, until, replicas)
    every = score_every or max(1, (until.measurements or 100_000) // 100)
    specification = {
        "name": name,
        "seed": key,
        "replicas": replicas,
        "score_every": every,
        "task": describe(task),
        "device": describe(device),
        "algorithm": describe(algorithm),
        "until": describe(until),
    }
    out = None if out is None else Path(out)
    if out is None and resume:
        raise RequestError("To resume, say which run's folder: give out.")
    if out is not None:
        open_folder(out, resume)
    traps = tuple(algorithm.warnings(device.space, until.measurements))
    for trap in traps:
        warnings.warn(trap, TrapWarning, stacklevel=2)

    seeds = [key + r for r in range(replicas)]
    loop: FusedLoop | HostedLoop
    if isinstance(device, PythonDevice):
        loop = HostedLoop(algorithm, device, data, key, until.failures)
    else:
        loop = FusedLoop(algorithm, device, data, seeds)
    run = _Run(loop, until, every, seeds, out, specification, checkpoint_seconds, data.score_name)
    if resume:
        run.resume()
    elif out is not None:
        write_specification(out, specification)
    try:
        with _ctrl_c() as interrupted:
            reason = run.go(observers, interrupted)
    finally:
        loop.close()
    result = run.result(reason, traps, device.space)
    if out is not None:
        run.save()
        write_result(out, result)
        draw_run(result, name, out, until.score)
    return result


class _Run:
    """The account of a run under way: its history, its finished replicas, its checkpoints."""

    def __init__(
        self,
        loop: FusedLoop | HostedLoop,
        until: Until,
        every: int,
        seeds: list[int],
        out: Path | None,
        specification: Mapping[str, Any],
        checkpoint_seconds: float,
        score_name: str,
    ) -> None:
        self.loop, self.until, self.every, self.seeds, self.out = loop, until, every, seeds, out
        self.specification, self.checkpoint_seconds = specification, checkpoint_seconds
        self.score_name = score_name
        self.history = History(seeds)
        self.last_row: Float[np.ndarray, "C R"] | None = None
        self.ledger = Ledger.empty(len(seeds))
        self.reasons = np.full(len(seeds), "", dtype="U16")
        self.parameters: Float[np.ndarray, "R P"] | None = None
        self.wall_before, self.started = 0.0, time.monotonic()
        self.saved = time.monotonic()
        self.score = math.nan
        self.failure = ""

    def wall_seconds(self) -> float:
        return self.wall_before + time.monotonic() - self.started

    def go(self, observers: Sequence[Observer], interrupted: Callable[[], bool]) -> str:
        """Advance until a stop rule is met; returns which."""
        size, until, loop = 16, self.until, self.loop
        while True:
            partial, cost, in_a_row = loop.account()
            total = self.ledger + partial
            measured = int(partial.measurements.max())
            reason = self._limit(total, in_a_row) or ("interrupted" if interrupted() else "")
            if measured >= self.every or reason:
                try:
                    self._evaluate(on_grid=measured >= self.every)
                except RunError as error:
                    self.failure, reason = str(error), "failures"
                if np.all(self.reasons != ""):
                    reasons, counts = np.unique(self.reasons, return_counts=True)
                    return str(reasons[np.argmax(counts)])
                if reason:
                    self.reasons[self.reasons == ""] = reason
                    return reason
                continue
            now = Progress(
                int(total.measurements.max()), until.measurements, float(np.median(cost)),
                self.score, self.score_name, self.wall_seconds(),
                int((self.reasons != "").sum()), len(self.seeds),
            )  # fmt: skip
            for observe in observers:
                observe(now)
            n = self._room(total, min(size, self.every - measured))
            before = time.monotonic()
            loop.advance(n)
            pace = (time.monotonic() - before) / n
            size = int(min(4 * size, max(1, SECONDS_PER_CALL / pace)))

    def _room(self, total: Ledger, n: int) -> int:
        if self.until.measurements is not None:
            n = min(n, self.until.measurements - int(total.measurements.max()))
        each = self.loop.seconds_per_measurement()
        if self.until.device_seconds is not None and each > 0:
            left = self.until.device_seconds - float(total.device_seconds.max())
            n = min(n, math.ceil(left / each - 1e-9))
        return max(n, 1)

    def _limit(self, total: Ledger, failed_in_a_row: int) -> str:
        until = self.until
        if failed_in_a_row >= until.failures:
            self.failure = getattr(self.loop, "last_failure", "") or "a simulated read failed"
            return "failures"
        if until.measurements is not None and total.measurements.max() >= until.measurements:
            return "measurements"
        if until.device_seconds is not None:
            spent = float(total.device_seconds.max())
            if spent >= until.device_seconds * (1 - 1e-12):
                return "device_seconds"
        if until.wall_seconds is not None and self.wall_seconds() >= until.wall_seconds:
            return "wall_seconds"
        return ""

    def _evaluate(self, on_grid: bool) -> None:
        score, test_cost, theta = self.loop.look()
        partial, cost, _ = self.loop.account()
        total = self.ledger + partial
        row = self.history.row(total, self.wall_seconds(), cost, test_cost, score)
        running = self.reasons == ""
        if self.parameters is None:
            self.parameters = theta.copy()
        self.parameters[running] = theta[running]
        row[:, ~running] = np.nan
        self.score = float(np.nanmedian(row[-1])) if np.isfinite(row[-1]).any() else math.nan
        if not on_grid:
            self.last_row = row
        else:
            self.last_row = None
            self.history.rows.append(row)
            self.ledger = total
            self.loop.clear()
        if self.until.score is not None:
            self.reasons[running & (score >= self.until.score)] = "score"
        self.reasons[running & ~np.isfinite(theta).all(axis=1)] = "diverged"
        if self.until.plateau is not None:
            self.reasons[running & (self.reasons == "") & self._flat()] = "plateau"
        late = time.monotonic() - self.saved > self.checkpoint_seconds
        if on_grid and self.out is not None and late:
            self.save()

    def _flat(self) -> np.ndarray:
        """Which replicas have had no better score (or cost) for `plateau` measurements."""
        rows = np.stack([*self.history.rows, *([] if self.last_row is None else [self.last_row])])
        measured = rows[:, COLUMNS.index("measurements")]
        worth = rows[:, COLUMNS.index("score")] if self.loop.scores else -rows[:, -2]
        best = np.nanargmax(np.where(np.isnan(worth), -np.inf, worth), axis=0)
        since = measured[-1] - measured[best, np.arange(len(best))]
        return np.asarray(since >= (self.until.plateau or 0))

    def save(self) -> None:
        """Write the checkpoint."""
        if self.out is None:
            return
        partial, _, _ = self.loop.account()
        rows = self.history.rows
        arrays = {
            "rows": np.array(rows).reshape(len(rows), len(COLUMNS), len(self.seeds)),
            "reasons": self.reasons,
            **{f"ledger.{name}": value for name, value in vars(self.ledger).items()},
            **{f"partial.{name}": value for name, value in vars(partial).items()},
        }
        if self.parameters is not None:
            arrays["parameters"] = self.parameters
        about = {"digest": digest(self.specification), "wall_seconds": self.wall_seconds()}
        save_checkpoint(self.out / CHECKPOINT, self.loop.carry, arrays, about)
        self.saved = time.monotonic()

    def resume(self) -> None:
        """Go on from the checkpoint."""
        assert self.out is not None
        path = self.out / CHECKPOINT
        carry, arrays, about = load_checkpoint(path, self.loop.carry, digest(self.specification))
        self.history.rows = list(arrays["rows"])
        self.ledger = _ledger(arrays, "ledger.")
        self.loop.resume(carry, _ledger(arrays, "partial."))
        self.parameters = arrays.get("parameters")
        over = np.isin(arrays["reasons"], ("score", "diverged"))
        self.reasons = np.where(over, arrays["reasons"], "")
        self.wall_before = float(about["wall_seconds"])

    def result(self, reason: str, traps: tuple[str, ...], space: Any) -> Result:
        """What the run has come to."""
        rows = [*self.history.rows, *([] if self.last_row is None else [self.last_row])]
        history = self.history.frame(rows)
        ends = []
        for number, seed in enumerate(self.seeds):
            mine = history[history["replica"] == number]
            last = mine.iloc[-1] if len(mine) else None
            accounts = self._account_of(number, last)
            ends.append(
                Replica(
                    seed=seed,
                    stop_reason=str(self.reasons[number]),
                    score=_number(None if last is None else last["score"]),
                    test_cost=_number(None if last is None else last["test_cost"]),
                    ledger=accounts,
                )
            )
        scores = [end.score for end in ends if end.score is not None]
        columns = {
            name: np.array([end.ledger[name] for end in ends]) for name in vars(self.ledger)
        }
        parameters = self.parameters
        if parameters is None:
            parameters = np.full((len(self.seeds), space.size), np.nan)
        return Result(
            score=float(np.median(scores)) if scores else None,
            score_name=self.score_name,
            stop_reason=reason,
            replicas=tuple(ends),
            accounts=Ledger(**columns),
            history=history,
            parameters=parameters,
            space=space,
            seed=self.seeds[0],
            out=self.out,
            warnings=traps,
            failure=self.failure,
        )

    def _account_of(self, number: int, last: Any) -> dict[str, int | float]:
        partial, _, _ = self.loop.account()
        now = (self.ledger + partial).replica(number)
        if last is None or self.reasons[number] not in ("score", "diverged", "plateau"):
            return now
        return {name: type(value)(last[name]) for name, value in now.items()}


def _ledger(arrays: Mapping[str, np.ndarray], prefix: str) -> Ledger:
    return Ledger(
        **{n.removeprefix(prefix): a.copy() for n, a in arrays.items() if n.startswith(prefix)}
    )


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _as_device(device: Any) -> AbstractDevice | PythonDevice:
    if isinstance(device, LabDevice):
        return device.connect()
    if isinstance(device, AbstractDevice | PythonDevice):
        return device
    return PythonDevice(device)


def describe(part: Any) -> dict[str, Any]:
    """A part of a run as it stands in `spec.toml`; Python objects by their name and size."""
    if isinstance(part, Configuration):
        return part.model_dump(mode="json", exclude_none=True)
    if isinstance(part, PythonDevice):
        return {"kind": "python-object", "name": part.name, "parameters": part.space.size}
    data = np.ascontiguousarray(part.inputs).tobytes() + np.ascontiguousarray(part.targets)
    return {
        "kind": "python-object",
        "samples": len(part.inputs),
        "digest": hashlib.sha256(data).hexdigest()[:16],
    }


def check_fit(
    device: AbstractDevice | PythonDevice,
    task: Task,
    algorithm: AbstractAlgorithm,
    until: Until,
    replicas: int = 1,
) -> None:
    """Check that device, task and algorithm fit together.

    Errors: `RequestError` for shapes that do not fit, what cannot be seen, a failed self-test.
    """
    if replicas < 1:
        raise RequestError(f"There must be at least one replica, not {replicas}.")
    if device.sees < algorithm.sees:
        raise RequestError(
            f"The algorithm {algorithm.kind} must see {algorithm.sees.name.lower()} and the device "
            f"shows only {device.sees.name.lower()}; take another algorithm or device."
        )
    if isinstance(device, PythonDevice):
        if replicas != 1:
            raise RequestError(
                f"The device {device.name} is one Python object; set replicas to 1, not {replicas}."
            )
        if device.sees is Sees.COST and until.score is not None:
            raise RequestError(
                f"The device {device.name} shows only a cost, so no score can be reached; remove "
                "until.score."
            )
        rows = slice(0, task.batch)
        inputs, targets = np.asarray(task.inputs[rows]), np.asarray(task.targets[rows])
        device.self_test(inputs, targets, _outputs_wanted(task, None))
    elif isinstance(device, SimulatedDevice):
        network = device.network
        given, taken = task.inputs.shape[1:], network.input_shape
        if math.prod(given) != math.prod(taken):
            raise RequestError(
                f"The network takes inputs of shape {taken} and the task gives {given}; change "
                "the network's input."
            )
        wanted = _outputs_wanted(task, network.outputs)
        if network.outputs != wanted:
            raise RequestError(
                f"The network has {network.outputs} outputs and the task needs {wanted}; change "
                "the network's output."
            )


def _outputs_wanted(task: Task, outputs: int | None) -> int:
    """How many outputs the targets need: one is enough for two classes under mse."""
    if jnp.issubdtype(task.targets.dtype, jnp.floating):
        return math.prod(task.targets.shape[1:])
    classes = len(task.classes)
    if classes == 2 and task.cost is not cross_entropy:
        return 2 if outputs == 2 else 1
    return classes


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Ctrl-C asks the run to finish cleanly; a second one stops it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            signal.default_int_handler(number, frame)
        asked = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


