"""Digests that identify a run, so that no other run is resumed in its place."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices.device import AbstractDevice
from dither.instruments.python import PythonDevice
from dither.tasks.task import AbstractTask, Task
from dither.training.checkpoint import digest
from dither.training.fingerprint import fingerprint


def digests_of(
    whole: Mapping[str, Any], task: Task | AbstractTask, data: Task, algorithm: AbstractAlgorithm
) -> dict[str, str]:
    """Digests of the parts that identify a run; stop rules and guard are not among them.

    dither's own tasks are identified by settings and files, other tasks by their data, devices by
    their settings. No user file is run for this.
    """
    asked = {key: value for key, value in whole.items() if key != "until"}
    asked["device"] = {key: value for key, value in whole["device"].items() if key != "guard"}
    asked["task"] = [whole["task"], fingerprint(data if _foreign(whole["task"]) else task)]
    asked["algorithm"] = [whole["algorithm"], fingerprint(algorithm)]
    return {name: digest(part) for name, part in asked.items()}


def shape_digest(chip: AbstractDevice | PythonDevice, seed: int) -> str:
    """A digest of the shape of a device, known once it is made."""
    if not isinstance(chip, PythonDevice):
        return digest(fingerprint(chip))
    shape: tuple[Any, ...] = (chip.space, int(chip.access_level))
    if np.any(origin := chip.origin(seed)):
        shape = (*shape, origin)  # saved parameters are relative to this origin
    return digest(fingerprint(shape))


def _foreign(table: Any) -> bool:
    """Whether a part of a specification has a kind that is defined outside of dither."""
    if isinstance(table, Mapping):
        return ":" in str(table.get("kind", "")) or any(map(_foreign, table.values()))
    return isinstance(table, list) and any(map(_foreign, table))
