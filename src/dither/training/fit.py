"""Whether device, task and algorithm fit together."""

import numpy as np

from dither._errors import RequestError
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.contract import AccessLevel, Problem
from dither.devices.device import AbstractDevice
from dither.instruments.python import PythonDevice
from dither.tasks.task import Task
from dither.training.until import Until


def problem_of(device: AbstractDevice | PythonDevice, task: Task) -> Problem:
    """What an algorithm is told of a run on a device and a task."""
    return Problem(
        space=device.trained_space if isinstance(device, PythonDevice) else device.space,
        layers=device.layers,
        batch=task.batch,
        outputs=task.outputs[-1],
        cost=task.cost,
        shows_z=isinstance(device, AbstractDevice),
        least=None if isinstance(device, PythonDevice) and device.by_cost else 0.0,
    )


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
    if device.access_level < algorithm.access_level:
        wanted, shown = algorithm.access_level.name.lower(), device.access_level.name.lower()
        raise RequestError(
            f"The algorithm {algorithm.kind} must see {wanted} and the device shows only {shown}; "
            "take another algorithm or device."
        )
    algorithm.check(problem_of(device, task))
    if isinstance(device, PythonDevice):
        if replicas != 1:
            raise RequestError(
                f"The device {device.name} is one Python object; set replicas to 1, not {replicas}."
            )
        if device.access_level is AccessLevel.COST and until.score is not None:
            raise RequestError(
                f"The device {device.name} shows only a cost, so no score can be reached; remove "
                "until.score."
            )
        rows = slice(0, task.batch)
        inputs, targets = np.asarray(task.inputs[rows]), np.asarray(task.targets[rows])
        device.self_test(inputs, targets, task.outputs)
    else:
        device.check_task(task)
