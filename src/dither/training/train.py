"""Train a device: the one call."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from dither._configuration import Configuration
from dither._errors import RequestError
from dither._numbers import whole_number
from dither._platform import check_platform
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices.device import AbstractDevice
from dither.instruments.connection import AbstractConnection
from dither.instruments.network import device_at
from dither.instruments.python import PythonDevice
from dither.tasks.task import AbstractTask, Task
from dither.training.arguments import check_arguments
from dither.training.checkpoint import digest
from dither.training.figure import draw_run
from dither.training.fingerprint import fingerprint
from dither.training.fit import budget_traps, check_fit, problem_of, to_train_with
from dither.training.folder import (
    cut_before_checkpoint,
    owned,
    write_result,
    write_specification,
    write_traceback,
)
from dither.training.fused import FusedLoop
from dither.training.hosted import HostedLoop
from dither.training.interrupt import ctrl_c
from dither.training.ledger import one_measurement
from dither.training.live import Live
from dither.training.loop import AbstractLoop
from dither.training.memory import check_memory
from dither.training.result import Result
from dither.training.run import Observer, Run
from dither.training.safety import LEAVING, made_safe
from dither.training.trackers import AbstractTracker, find_tracker
from dither.training.until import Until

LARGEST = 2**31 - 1
"""The largest seed."""


class TrapWarning(UserWarning):
    """A setting that is likely a mistake, with what to change."""


def train(
    device: Any,
    task: Task | AbstractTask,
    algorithm: AbstractAlgorithm,
    *,
    key: SupportsIndex = 0,
    until: Until | None = None,
    replicas: SupportsIndex = 1,
    score_every: SupportsIndex | None = None,
    checkpoint_seconds: float = 4.0,
    out: str | Path | None = None,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    track: str | None = None,
    name: str = "run",
) -> Result:
    """Train a device on a task by an algorithm that sees only what can be measured.

    Arguments:
        device: a `SimulatedDevice`, what `PythonDevice` takes, `FILE.py:NAME` or `remote://…`.
        task: what to learn.
        algorithm: how.
        key: the seed, 0 to 2³¹ − 1; replica r is the run that the seed key + r alone would give.
        until: the stop rules; 100 000 measurements if not given.
        replicas: how many instances of a simulated device to train side by side.
        score_every: training measurements between evaluations on the test set; a hundredth of the
            run if not given, and at least four times those that an evaluation takes on a device.
        checkpoint_seconds: between checkpoints; a real device's follow each evaluation too.
        out: the run's folder; nothing is written if not given.
        resume: go on from the checkpoint in `out`.
        observers: called with a `Progress` several times a second.
        track: `mlflow` or `tensorboard`, to send the history to (to MLFLOW_TRACKING_URI, if set).
        name: what to call the run in its figure.

    Returns: the `Result`.
    Errors: `RequestError` before anything is written for what does not fit together. Warns with
    `TrapWarning` of settings that are likely mistakes.
    """
    check_platform()
    until = until or Until(measurements=100_000)
    count, seed, every = _counts(replicas, key, score_every)
    device = device_at(device) if isinstance(device, str) else device
    whole = described(name, seed, count, every, task, device, algorithm, until)
    check_arguments(task, algorithm, until, observers, checkpoint_seconds, name)
    with _opened(out, resume) as folder:
        tracking = None if track is None else find_tracker(track, folder)
        data = task.load() if isinstance(task, AbstractTask) else task
        chip = _as_device(device)
        with ctrl_c(*LEAVING) as interrupted, made_safe(chip) as trouble:
            run, traps = _begun(
                whole, chip, task, data, algorithm, until, folder, checkpoint_seconds, resume
            )
            tracker = None if tracking is None or folder is None else tracking(folder, name, whole)
            if folder is not None:
                write_specification(folder, whole)
            reason = run.go(_observers(observers, tracker, folder, until), interrupted)
        result = run.result(reason, (*traps, *run.loop.alarms, *trouble), chip.space)
        result = replace(result, device=chip)
        _keep(folder, run, result, name, tracker)
    return result


def _counts(
    replicas: SupportsIndex, key: SupportsIndex, score_every: SupportsIndex | None
) -> tuple[int, int, int | None]:
    many = whole_number(replicas, "The number of replicas", 1, LARGEST)
    seed = whole_number(key, "The key, which is the seed,", 0, LARGEST + 1 - many)
    if score_every is None:
        return many, seed, None
    return many, seed, whole_number(score_every, "score_every", 1, LARGEST)


def _observers(
    own: Sequence[Observer], tracker: AbstractTracker | None, folder: Path | None, until: Until
) -> list[Observer]:
    live = [] if folder is None else [Live(folder, until)]
    return [*own, *([] if tracker is None else [tracker]), *live]


def _keep(
    folder: Path | None, run: Run, result: Result, name: str, tracker: AbstractTracker | None
) -> None:
    if folder is not None:
        run.save()
        write_traceback(folder, run.loop.traceback if run.failure else "")
        write_result(folder, result)
        draw_run(result, name, folder, run.until.score)
    if tracker is not None:
        tracker.end(run.rows(), result.stop_reason)


def _begun(
    whole: Mapping[str, Any],
    chip: AbstractDevice | PythonDevice,
    task: Task | AbstractTask,
    data: Task,
    algorithm: AbstractAlgorithm,
    until: Until,
    folder: Path | None,
    checkpoint_seconds: float,
    resume: bool,
) -> tuple[Run, tuple[str, ...]]:
    """A run at its start or at its checkpoint, and the traps that its settings are."""
    key, replicas = whole["seed"], whole["replicas"]
    check_memory(algorithm, problem_of(chip, data), replicas)
    check_fit(chip, data, algorithm, until, replicas)
    traps = (
        *algorithm.warnings(problem_of(chip, data), to_train_with(chip, data, until.measurements)),
        *budget_traps(chip, data, until.measurements),
    )
    for trap in traps:
        warnings.warn(trap, TrapWarning, stacklevel=3)
    seeds = [key + r for r in range(replicas)]
    loop: AbstractLoop
    if isinstance(chip, PythonDevice):
        loop = HostedLoop(algorithm, chip, data, key, until.failures)
    else:
        loop = FusedLoop(algorithm, chip, data, seeds)
    every = evaluation_period(whole["score_every"], until, loop.measurements_per_evaluation())
    asked = _digests(whole, task, data, chip, algorithm)
    run = Run(loop, until, every, seeds, folder, asked, checkpoint_seconds, data.score_name)
    if resume and folder is not None and not cut_before_checkpoint(folder, whole):
        run.resume()
    if isinstance(chip, PythonDevice):
        run.ledger += one_measurement(data.batch)  # the self-test
    return run, traps


def _digests(
    whole: Mapping[str, Any],
    task: Task | AbstractTask,
    data: Task,
    chip: AbstractDevice | PythonDevice,
    algorithm: AbstractAlgorithm,
) -> dict[str, str]:
    """Short names for what makes a run this run, part by part; not when to stop, nor the guard.

    Of dither's own tasks settings and files say it all; of others the data does. A lab's object may
    be mended in between.
    """
    asked = {key: value for key, value in whole.items() if key != "until"}
    device = {key: value for key, value in whole["device"].items() if key != "guard"}
    shape: tuple[Any, ...] = (chip.space, int(chip.access_level))
    if isinstance(chip, PythonDevice) and np.any(origin := chip.origin(whole["seed"])):
        shape = (*shape, origin)  # the parameters that are saved are less this
    asked["task"] = [whole["task"], fingerprint(data if _foreign(whole["task"]) else task)]
    asked["algorithm"] = [whole["algorithm"], fingerprint(algorithm)]
    asked["device"] = [device, fingerprint(shape if isinstance(chip, PythonDevice) else chip)]
    return {name: digest(part) for name, part in asked.items()}


def _foreign(table: Any) -> bool:
    """Whether a part of a specification has a kind that is defined outside of dither."""
    if isinstance(table, Mapping):
        return ":" in str(table.get("kind", "")) or any(map(_foreign, table.values()))
    return isinstance(table, list) and any(map(_foreign, table))


@contextmanager
def _opened(out: str | Path | None, resume: bool) -> Iterator[Path | None]:
    """The run's folder for this run alone, if there is to be one."""
    if not isinstance(out, str | Path | None):
        raise RequestError(f"The argument out must be a folder, not {out!r:.60}.")
    if out is not None:
        with owned(Path(out), resume):
            yield Path(out)
    elif resume:
        raise RequestError("To resume, say which run's folder: give out.")
    else:
        yield None


def evaluation_period(score_every: int | None, until: Until, of_an_evaluation: int = 0) -> int:
    """Training measurements between evaluations, each of which takes `of_an_evaluation` itself."""
    return score_every or max(1, (until.measurements or 100_000) // 100, 4 * of_an_evaluation)


def _as_device(device: Any) -> AbstractDevice | PythonDevice:
    if isinstance(device, AbstractConnection):
        return device.connect()
    if isinstance(device, AbstractDevice | PythonDevice):
        return device
    return PythonDevice(device)


def described(
    name: str,
    seed: int,
    replicas: int,
    score_every: int | None,
    task: Any,
    device: Any,
    algorithm: AbstractAlgorithm,
    until: Until,
) -> dict[str, Any]:
    """A run as it stands in `spec.toml`."""
    parts = {"task": task, "device": device, "algorithm": algorithm, "until": until}
    return {
        "name": name,
        "seed": seed,
        "replicas": replicas,
        "score_every": score_every,
        **{what: describe(part) for what, part in parts.items()},
    }


def describe(part: Any) -> dict[str, Any]:
    """A part of a run as it stands in `spec.toml`; Python objects by their name and size."""
    if isinstance(part, Configuration):
        return part.model_dump(mode="json", exclude_none=True)
    if isinstance(part, Task):
        return {"kind": "python-object", "digest": fingerprint(part)}
    if isinstance(part, PythonDevice):
        return {"kind": "python-object", "name": part.name}
    return {"kind": "python-object", "name": getattr(part, "__name__", type(part).__name__)}
