"""`dither.train`."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsIndex

from dither._configuration import Configuration
from dither._errors import RequestError, RunError
from dither._explain import made_of
from dither._interrupt import LEAVING, ctrl_c
from dither._numbers import whole_number
from dither._platform import check_platform
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices.device import AbstractDevice
from dither.instruments.connection import AbstractConnection
from dither.instruments.network import device_at
from dither.instruments.python import PythonDevice
from dither.tasks import TASKS
from dither.tasks.task import AbstractTask, Task
from dither.training.arguments import check_arguments
from dither.training.checkpoint import check_digest, read_checkpoint
from dither.training.digests import digests_of, shape_digest
from dither.training.figure import draw_run
from dither.training.fingerprint import fingerprint
from dither.training.fit import budget_traps, check_fit, problem_of, to_train_with
from dither.training.fleet import devices_of
from dither.training.folder import (
    CHECKPOINT,
    cut_before_checkpoint,
    folder_beside,
    gone,
    owned,
    write_result,
    write_specification,
    write_traceback,
)
from dither.training.fused import FusedLoop
from dither.training.hosted import HostedLoop
from dither.training.kinds import fleet_of
from dither.training.ledger import one_measurement
from dither.training.live import Live
from dither.training.loop import AbstractLoop
from dither.training.memory import check_memory, inputs_held
from dither.training.notebook import NotebookProgress, in_notebook
from dither.training.own_classes import check_own_classes
from dither.training.result import Result
from dither.training.run import Observer, Run
from dither.training.safety import made_safe
from dither.training.start import start_name, start_of
from dither.training.stop import StopReason
from dither.training.trackers import AbstractTracker, find_tracker
from dither.training.until import Until

LARGEST = 2**31 - 1
"""The largest seed."""


class TrapWarning(UserWarning):
    """A setting is probably a mistake; the message says what to change."""


def train(
    device: Any,
    task: Task | AbstractTask | str,
    algorithm: AbstractAlgorithm,
    *,
    key: SupportsIndex = 0,
    until: Until | None = None,
    replicas: SupportsIndex = 1,
    score_every: SupportsIndex | None = None,
    start_from: Any = None,
    checkpoint_seconds: float = 4.0,
    out: str | Path | None = None,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    track: str | None = None,
    name: str = "run",
) -> Result:
    """Train a device on a task with an algorithm that uses measurements only.

    Arguments:
        device: a `SimulatedDevice`, a `PythonDevice`, `FILE.py:NAME`, `remote://…`, or a list.
        task: the task, a file such as `spectra.csv`, or a kind of task.
        algorithm: the training algorithm.
        key: the seed, 0 to 2³¹ − 1; replica r equals a single run with the seed key + r.
        until: the stop rules; by default 100 000 measurements.
        replicas: the number of instances of a simulated device to train side by side.
        score_every: training measurements between evaluations of the test set; by default a
            hundredth of the run, and on a device at least four times those of an evaluation.
        start_from: a run's folder or result whose parameters are the start; replica r starts from
            its replica r mod R. Everything else is new, including the ledger.
        checkpoint_seconds: time between checkpoints, s; each evaluation of a real device adds one.
        out, resume: the run's folder, if it is to be saved; whether to continue its checkpoint.
        observers: called with a `Progress` several times per second; in a notebook, a bar shows.
        track: `mlflow` (logs to MLFLOW_TRACKING_URI, if set) or `tensorboard`.
        name: the run's name in its figure.

    Returns: the `Result`. Errors: `RequestError`, before anything is written, for an invalid
    request. Warns with `TrapWarning` about settings that are probably mistakes.
    """
    check_platform()
    until = until or Until(measurements=100_000)
    count, seed, every = _counts(replicas, key, score_every)
    device, task = _named(device, task)
    whole = described(name, seed, count, every, task, device, algorithm, until, start_from)
    check_arguments(task, algorithm, until, observers, checkpoint_seconds, name)
    with _opened(out, resume) as folder:
        tracking = None if track is None else find_tracker(track, folder)
        data = task.load() if isinstance(task, AbstractTask) else task
        asked = digests_of(whole, task, data, algorithm)
        goes_on = resume and _goes_on(folder, whole, asked)
        chip = _as_device(device)  # runs the user's file
        with ctrl_c(*LEAVING) as interrupted, made_safe(chip) as trouble:
            run, traps = _begun(whole, chip, chip.deal(data), algorithm, until, folder,
                                checkpoint_seconds, asked, goes_on, start_from)  # fmt: skip
            watching = _observers(observers, tracking, folder, until, whole)
            if folder is not None:
                write_specification(folder, whole)
            reason = run.go(watching, lambda: interrupted() or gone(folder))
        result = _ended(run, reason, traps, trouble, chip, data, algorithm, whole)
        return _kept(folder, whole, run, result, watching)


def _goes_on(folder: Path | None, whole: Mapping[str, Any], asked: Mapping[str, str]) -> bool:
    """Whether a run resumes from a checkpoint, which must belong to this run, or is new.

    Errors: `RequestError` if it belongs to another run.
    """
    if folder is None or cut_before_checkpoint(folder, whole):
        return False
    path = folder / CHECKPOINT
    _, about = read_checkpoint(path)
    check_digest(path, about.digest, asked, in_part=True)
    return True


def _kept(
    folder: Path | None,
    whole: Mapping[str, Any],
    run: Run,
    result: Result,
    watching: Sequence[Observer],
) -> Result:
    """The result, saved in the run's folder, or next to it if the folder was deleted meanwhile."""
    if folder is None or not gone(folder):
        _keep(folder, run, result, watching)
        return result
    beside = run.out = folder_beside(folder)
    write_specification(beside, whole)
    _keep(beside, run, replace(result, out=beside), watching)
    raise RunError(
        f"The folder {folder} was deleted or taken over during the run; all results so far "
        f"are saved in {beside}; continue with --out {beside} --resume."
    )


def _named(device: Any, task: Task | AbstractTask | str) -> tuple[Any, Task | AbstractTask]:
    """Device and task, which may be given by name, after a check of the installed packages."""
    device = device_at(device) if isinstance(device, str) else device
    device = fleet_of(device) if isinstance(device, list | tuple) else device
    if isinstance(device, AbstractConnection):
        device.check_installed()
    return device, made_of(TASKS, task) if isinstance(task, str) else task


def _counts(
    replicas: SupportsIndex, key: SupportsIndex, score_every: SupportsIndex | None
) -> tuple[int, int, int | None]:
    many = whole_number(replicas, "The number of replicas", 1, LARGEST)
    seed = whole_number(key, "The key, which is the seed,", 0, LARGEST + 1 - many)
    if score_every is None:
        return many, seed, None
    return many, seed, whole_number(score_every, "score_every", 1, LARGEST)


def _observers(
    own: Sequence[Observer],
    tracking: type[AbstractTracker] | None,
    folder: Path | None,
    until: Until,
    whole: Mapping[str, Any],
) -> list[Observer]:
    """The observers: the caller's or the notebook's, a tracker, and the run's folder."""
    watching = [*own]
    if not own and in_notebook():
        watching.append(NotebookProgress(whole["name"], until.score))
    if folder is not None:
        watching += [] if tracking is None else [tracking(folder, whole["name"], whole)]
        watching.append(Live(folder, until))
    return watching


def _ended(
    run: Run,
    reason: StopReason,
    traps: tuple[str, ...],
    trouble: Sequence[str],
    chip: AbstractDevice | PythonDevice,
    data: Task,
    algorithm: AbstractAlgorithm,
    whole: Mapping[str, Any],
) -> Result:
    """The result of the run, with its device and task."""
    result = run.result(reason, (*traps, *run.loop.alarms, *trouble), chip.space)
    result = replace(result, devices=devices_of(run.loop, result))
    more = {"name": whole["name"], "start_from": whole.get("start_from"), "aim": run.until.score}
    memory = inputs_held(algorithm, chip, problem_of(chip, data))
    return replace(result, device=chip, task=data, memory=memory, **more)


def _keep(folder: Path | None, run: Run, result: Result, watching: Sequence[Observer]) -> None:
    if folder is not None:
        run.save()
        write_traceback(folder, run.loop.traceback if run.failure else "")
        write_result(folder, result)
        draw_run(result, result.name, folder, run.until.score)
    for one in watching:
        if isinstance(one, AbstractTracker):
            one.end(run.rows(), result.stop_reason)
        elif isinstance(one, NotebookProgress):
            one.end(result)


def _begun(
    whole: Mapping[str, Any],
    chip: AbstractDevice | PythonDevice,
    data: Task,
    algorithm: AbstractAlgorithm,
    until: Until,
    folder: Path | None,
    checkpoint_seconds: float,
    asked: Mapping[str, str],
    goes_on: bool,
    start_from: Any,
) -> tuple[Run, tuple[str, ...]]:
    """A run at its start or its checkpoint, and warnings about its settings."""
    key, replicas = whole["seed"], whole["replicas"]
    check_memory(algorithm, problem_of(chip, data), replicas)
    check_fit(chip, data, algorithm, until, replicas)
    check_own_classes(algorithm, chip, data)
    rows, moved = None, tuple[str, ...]()
    if start_from is not None and not goes_on:
        rows, moved = start_of(start_from, chip.space, replicas)
    traps = (
        *moved,
        *algorithm.warnings(problem_of(chip, data), to_train_with(chip, data, until.measurements)),
        *budget_traps(chip, data, until.measurements),
    )
    for trap in traps:
        warnings.warn(trap, TrapWarning, stacklevel=3)
    seeds = [key + r for r in range(replicas)]
    loop: AbstractLoop
    if isinstance(chip, PythonDevice):
        loop = HostedLoop(
            algorithm, chip, data, key, until.failures, None if rows is None else rows[0]
        )
    else:
        loop = FusedLoop(algorithm, chip, data, seeds, parameters=rows)
    every = evaluation_period(whole["score_every"], until, loop.measurements_per_evaluation())
    digests = {**asked, "device as built": shape_digest(chip, key)}
    run = Run(loop, until, every, seeds, folder, digests, checkpoint_seconds, data.score_name)
    if goes_on:
        run.resume()
    if isinstance(chip, PythonDevice):
        run.ledger += one_measurement(data.batch)  # the self-test
    return run, traps


@contextmanager
def _opened(out: str | Path | None, resume: bool) -> Iterator[Path | None]:
    """The locked folder of the run, if there is one."""
    if not isinstance(out, str | Path | None) or "\0" in str(out):
        raise RequestError(f"The argument out must be a folder, not {out!r:.60}.")
    if out is not None:
        with owned(Path(out), resume):
            yield Path(out)
    elif resume:
        raise RequestError("Resuming needs the run's folder; give out.")
    else:
        yield None


def evaluation_period(score_every: int | None, until: Until, of_an_evaluation: int = 0) -> int:
    """Training measurements between evaluations, each of which itself takes `of_an_evaluation`."""
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
    start_from: Any = None,
) -> dict[str, Any]:
    """A run as written in `spec.toml`."""
    start = {} if start_from is None else {"start_from": start_name(start_from)}
    parts = {"task": task, "device": device, "algorithm": algorithm, "until": until}
    return {
        "name": name,
        "seed": seed,
        "replicas": replicas,
        "score_every": score_every,
        **start,
        **{what: describe(part) for what, part in parts.items()},
    }


def describe(part: Any) -> dict[str, Any]:
    """A part of a run as written in `spec.toml`; Python objects by name and size."""
    if isinstance(part, Configuration):
        return part.model_dump(mode="json", exclude_none=True)
    if isinstance(part, Task):
        return {"kind": "python-object", "digest": fingerprint(part)}
    if isinstance(part, PythonDevice):
        return {"kind": "python-object", "name": part.name}
    return {"kind": "python-object", "name": getattr(part, "__name__", type(part).__name__)}
