"""Runs of a study side by side in one program."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dither._errors import RequestError
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices.device import AbstractDevice
from dither.studies.plan import Planned
from dither.tasks.task import Task
from dither.training.checkpoint import digest
from dither.training.folder import CHECKPOINT
from dither.training.fused import FusedLoop, measure_once, start
from dither.training.live import Live
from dither.training.result import Result
from dither.training.run import Observer, Run
from dither.training.specification import Specification
from dither.training.train import evaluation_period, fitted
from dither.training.vary import Varied

CHECKPOINT_SECONDS = 10.0


class Interrupted(Exception):
    """A job was asked to stop before its end; what it came to is in its checkpoint."""


def train_together(
    runs: Sequence[Planned],
    varied: Sequence[str],
    out: Path | None = None,
    observers: Sequence[Observer] = (),
    interrupted: Callable[[], bool] = lambda: False,
) -> list[tuple[Result, int]]:
    """Train runs that differ in their seed and in some varied settings.

    They are the replicas of one program whose varied settings are its inputs; where the algorithm
    cannot be compiled for those, one program after another for each of their values.

    Arguments: `out`, a folder for checkpoints, from which it goes on where there are any.
    Returns: for each run, a result and which of its replicas the run is.
    Errors: `Interrupted`; `RequestError` where task, device and algorithm do not fit together.
    """
    first = runs[0].cell.specification
    if not isinstance(first.device, AbstractDevice):
        return [(_train_on_device(run, out, observers, interrupted), 0) for run in runs]
    data, device = first.task.load(), first.device
    algorithm = fitted(device, data, first.algorithm, first.until)
    every = evaluation_period(first.score_every, first.until)
    parts = [list(runs)]
    if varied and not can_vary(algorithm, device, data, varied):
        parts, varied = _by_settings(runs, varied), ()
    ends: list[tuple[Result, int]] = []
    for number, part in enumerate(parts):
        one = part[0].cell.specification
        assert isinstance(one.device, AbstractDevice)
        algorithm = fitted(one.device, data, one.algorithm, one.until)
        seeds = [run.seed for run in part]
        loop = FusedLoop(algorithm, one.device, data, seeds, _settings(part, varied))
        asked = digest({"runs": [[run.name, run.value] for run in part]})
        folder = None if out is None else out / str(number)
        run = Run(loop, one.until, every, seeds, folder, asked, CHECKPOINT_SECONDS, data.score_name)
        _go_on(run, folder)
        live = [] if folder is None else [Live(folder, one.until)]
        reason = run.go([*observers, *live], interrupted)
        if reason == "interrupted":
            run.save()
            raise Interrupted
        result = run.result(reason, (), one.device.space)
        ends += [(result, place) for place in range(len(part))]
    return ends


def can_vary(
    algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task, names: Sequence[str]
) -> bool:
    """Whether an algorithm can be compiled for settings that are not known beforehand."""

    def one(settings: Varied) -> Any:
        carry = start(algorithm, device, jnp.int32(0), settings)
        return measure_once(algorithm, device, task, carry)[0]

    number = jax.ShapeDtypeStruct((), jnp.result_type(float))
    try:
        jax.eval_shape(one, dict.fromkeys(names, number))
    except Exception:  # whatever a rule does with a number that it wants to know
        return False
    return True


def _settings(runs: Sequence[Planned], names: Sequence[str]) -> dict[str, jax.Array]:
    return {
        name: jnp.asarray([_setting(run.cell.specification, name) for run in runs], float)
        for name in names
    }


def _setting(specification: Specification, path: str) -> float:
    here: Any = specification
    for key in path.split("."):
        here = here[int(key)] if isinstance(here, tuple) else getattr(here, key)
    return float(here)


def _by_settings(runs: Sequence[Planned], names: Sequence[str]) -> list[list[Planned]]:
    parts: dict[tuple[float, ...], list[Planned]] = {}
    for run in runs:
        values = tuple(_setting(run.cell.specification, name) for name in names)
        parts.setdefault(values, []).append(run)
    return list(parts.values())


def _go_on(run: Run, folder: Path | None) -> None:
    if folder is None or not (folder / CHECKPOINT).is_file():
        return
    try:
        run.resume()
    except RequestError:  # damaged, or of another version: begin again
        (folder / CHECKPOINT).unlink()


def _train_on_device(
    run: Planned,
    out: Path | None,
    observers: Sequence[Observer],
    interrupted: Callable[[], bool],
) -> Result:
    """A run on a real device, by itself."""
    specification = run.cell.specification.model_copy(update={"seed": run.seed})
    resume = out is not None and (out / CHECKPOINT).is_file()
    result = specification.train(out, resume=resume, observers=observers)
    if result.stop_reason == "interrupted" or interrupted():
        raise Interrupted
    return result
