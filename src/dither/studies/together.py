"""Running several runs of a study in one compiled program."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dither._errors import RequestError
from dither._files import is_file, make_folder
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices.device import AbstractDevice
from dither.studies.plan import Planned
from dither.tasks.task import Task
from dither.training.checkpoint import digest
from dither.training.fit import check_fit, problem_of
from dither.training.folder import CHECKPOINT, SPECIFICATION
from dither.training.fused import FusedLoop, measure_once, start
from dither.training.live import Live
from dither.training.own_classes import check_own_classes
from dither.training.result import Result
from dither.training.run import Observer, Run
from dither.training.settings import Varied, setting, vary
from dither.training.specification import Specification
from dither.training.start import start_of
from dither.training.stop import StopReason
from dither.training.train import evaluation_period

CHECKPOINT_SECONDS = 10.0


class Interrupted(Exception):
    """A job was interrupted; its state is in its checkpoint."""


class Program(NamedTuple):
    """Runs that are replicas of one loop, with their evaluation period and score."""

    runs: list[Planned]
    loop: FusedLoop
    every: int
    score_name: str


def train_together(
    runs: Sequence[Planned],
    varied: Sequence[str],
    out: Path | None = None,
    observers: Sequence[Observer] = (),
    interrupted: Callable[[], bool] = lambda: False,
    enough: Callable[[np.ndarray], bool] = lambda _: False,
) -> list[tuple[Result, int]]:
    """Train runs that differ in their seed and in some varied settings.

    Arguments: `out`, a folder for checkpoints, from which it continues if there are any; `enough`,
    a function that says whether the runs can end, given their stop reasons (empty for running
    ones), used if all of them are one program.
    Returns: for each run, a result and the index of the run's replica in it.
    Errors: `Interrupted`; `RequestError` where task, device and algorithm do not fit together.
    """
    until = runs[0].cell.specification.until
    if not on_simulated_device(runs):
        folders = [None if out is None else out / str(k) for k in range(len(runs))]
        return [(_train_on_device(run, at, observers), 0) for run, at in zip(runs, folders)]
    ends: list[tuple[Result, int]] = []
    for number, (part, loop, every, score_name) in enumerate(programs(runs, varied)):
        asked = digest({"runs": [[run.name, run.value] for run in part]})
        folder = None if out is None else out / str(number)
        if folder is not None:
            make_folder(folder)
        seeds = [run.seed for run in part]
        run = Run(loop, until, every, seeds, folder, asked, CHECKPOINT_SECONDS, score_name)
        _go_on(run, folder)
        live = [] if folder is None else [Live(folder, until)]

        def decided(run: Run = run) -> bool:
            return len(run.seeds) == len(runs) and enough(run.settled)

        reason = run.go([*observers, *live], lambda: decided() or interrupted())
        if reason is StopReason.INTERRUPTED and not decided():
            if folder is not None:
                make_folder(folder)  # it may have been deleted
            run.save()
            raise Interrupted
        result = run.result(reason, (), loop.device.space)
        ends += [(result, place) for place in range(len(part))]
    return ends


def on_simulated_device(runs: Sequence[Planned]) -> bool:
    """Whether the device of runs is simulated instead of real."""
    return isinstance(runs[0].cell.specification.device, AbstractDevice)


def programs(runs: Sequence[Planned], varied: Sequence[str]) -> Iterator[Program]:
    """The loops for some runs: a single one, with the varied settings as inputs.

    If the algorithm cannot be compiled for these inputs, there is one loop for each of their
    values.
    Errors: `RequestError` where task, device and algorithm do not fit together.
    """
    first = runs[0].cell.specification
    device = first.device
    assert isinstance(device, AbstractDevice)
    task = device.deal(first.task.load())
    parts = [list(runs)]
    if varied and not can_vary(first.algorithm, _checked(first, task), task, varied):
        parts, varied = _by_settings(runs, varied), ()
    for part in parts:
        one = part[0].cell.specification
        # varied settings are inputs, so that programs which differ only in them are compiled once
        algorithm = vary(one.algorithm, "algorithm", dict.fromkeys(varied, 1.0))
        device = _checked(one, task)
        seeds = [run.seed for run in part]
        rows = None
        if (
            one.start_from is not None
        ):  # every run separately, with its single replica started from replica 0
            rows = np.repeat(start_of(one.start_from, device.space, 1)[0], len(part), axis=0)
        loop = FusedLoop(algorithm, device, task, seeds, _settings(part, varied), rows)
        every = evaluation_period(one.score_every, one.until)
        yield Program(part, loop, every, task.score_name)


def _checked(specification: Specification, task: Task) -> AbstractDevice:
    """The device of a run, after a check of task and algorithm. Errors: `RequestError`."""
    device = specification.device
    assert isinstance(device, AbstractDevice)
    check_fit(device, task, specification.algorithm, specification.until)
    check_own_classes(specification.algorithm, device, task)
    return device


def can_vary(
    algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task, names: Sequence[str]
) -> bool:
    """Whether an algorithm can be compiled for traced settings."""

    def one(settings: Varied) -> Any:
        problem, sampling = problem_of(device, task), task.sampling()
        carry = start(algorithm, device, problem, jnp.int32(0), settings, None, sampling)
        return measure_once(algorithm, device, task, carry)[0]

    number = jax.ShapeDtypeStruct((), jnp.result_type(float))
    try:
        jax.eval_shape(one, dict.fromkeys(names, number))
    except Exception:  # any error of a rule that needs a concrete number
        return False
    return True


def _settings(runs: Sequence[Planned], names: Sequence[str]) -> dict[str, jax.Array]:
    return {
        name: jnp.asarray([setting(run.cell.specification, name) for run in runs], float)
        for name in names
    }


def _by_settings(runs: Sequence[Planned], names: Sequence[str]) -> list[list[Planned]]:
    parts: dict[tuple[float, ...], list[Planned]] = {}
    for run in runs:
        values = tuple(setting(run.cell.specification, name) for name in names)
        parts.setdefault(values, []).append(run)
    return list(parts.values())


def _go_on(run: Run, folder: Path | None) -> None:
    if folder is None or not is_file(folder / CHECKPOINT):
        return
    try:
        run.resume()
    except RequestError:  # damaged or of another version: start again
        (folder / CHECKPOINT).unlink()


def _train_on_device(run: Planned, out: Path | None, observers: Sequence[Observer]) -> Result:
    """A single run on a real device, which handles Ctrl-C and the device's safety itself."""
    specification = run.cell.specification.model_copy(update={"seed": run.seed})
    begun = out is not None and (out / SPECIFICATION).is_file()
    result = specification.train(out, resume=begun, observers=observers)
    if result.stop_reason is StopReason.INTERRUPTED:
        raise Interrupted
    return result
