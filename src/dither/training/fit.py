"""Whether device, task and algorithm fit together."""

import math

import numpy as np

from dither._errors import RequestError
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.contract import AccessLevel, Problem
from dither.devices.device import AbstractDevice
from dither.instruments.python import PythonDevice
from dither.tasks.scores import highest
from dither.tasks.task import Task
from dither.training.drift import AGAIN
from dither.training.until import Until

SELF_TEST = 1
"""Measurements of the self-test, before training."""


def problem_of(device: AbstractDevice | PythonDevice, task: Task) -> Problem:
    """The problem that an algorithm receives for a device and a task."""
    return Problem(
        space=device.trained_space if isinstance(device, PythonDevice) else device.space,
        layers=device.layers,
        batch=task.batch,
        outputs=task.outputs[-1],
        cost=task.cost,
        shows_z=isinstance(device, AbstractDevice),
        least=None if isinstance(device, PythonDevice) and device.by_cost else 0.0,
        repeats_batches=not isinstance(device, PythonDevice) or device.fed,
        network=getattr(device, "network", None),
    )


def check_fit(
    device: AbstractDevice | PythonDevice,
    task: Task,
    algorithm: AbstractAlgorithm,
    until: Until,
    replicas: int = 1,
) -> None:
    """Check that device, task and algorithm fit together.

    Errors: `RequestError` for mismatched shapes, insufficient access, or a failed self-test.
    """
    if device.access_level < algorithm.access_level:
        wanted, shown = algorithm.access_level.name.lower(), device.access_level.name.lower()
        raise RequestError(
            f"The algorithm {algorithm.kind} needs {wanted}, but the device shows only {shown}; "
            "choose another algorithm or device."
        )
    _check_sampling(device, task, algorithm)
    problem = problem_of(device, task)
    algorithm.check(problem)
    if until.measurements is not None:
        algorithm.check_budget(problem, until.measurements)
    check_aim(task, until)
    if isinstance(device, PythonDevice):
        if replicas != 1:
            raise RequestError(
                f"The device {device.name} is one Python object; set replicas to 1, not {replicas}."
            )
        if device.access_level is AccessLevel.COST and until.score is not None:
            raise RequestError(
                f"The device {device.name} shows only a cost, which gives no score; remove "
                "until.score."
            )
        _check_budget(device, task, until)
        rows = task.first_rows
        inputs, targets = np.asarray(task.inputs[rows]), np.asarray(task.targets[rows])
        try:
            device.self_test(inputs, targets, task.outputs)
        except RequestError as error:
            # the cause may be a wrong number of inputs; a bad reading is due to the device alone
            other = isinstance(error.__cause__, ValueError | IndexError) and task.told_columns
            raise RequestError(
                f"{str(error).rstrip('.')}{(other and f'; {other}') or ''}."
            ) from error
    else:
        device.check_task(task)


def measurements_per_evaluation(device: PythonDevice, task: Task) -> int:
    """The measurements per evaluation of the test set, including the drift check."""
    watching = AGAIN if device.guard is not None and device.guard.drift is not None else 0
    tests = len(task.test_inputs if device.fed else task.inputs) * device.count
    return watching + math.ceil(tests / task.batch)


def to_train_with(
    device: AbstractDevice | PythonDevice, task: Task, most: int | None
) -> int | None:
    """The measurements left for training, after one evaluation at the end."""
    if most is None or not isinstance(device, PythonDevice):
        return most
    return most - measurements_per_evaluation(device, task) - SELF_TEST


def budget_traps(
    device: AbstractDevice | PythonDevice, task: Task, most: int | None
) -> tuple[str, ...]:
    """Warnings if the budget is so small that evaluations take most of it."""
    left = to_train_with(device, task, most)
    if most is None or left is None or not isinstance(device, PythonDevice):
        return ()
    look = measurements_per_evaluation(device, task)
    if left >= look:
        return ()
    return (
        f"One evaluation takes {look} of until.measurements = {most}, which leaves {left} "
        f"for training; set {4 * look} or more, or a larger batch.",
    )


def _check_sampling(
    device: AbstractDevice | PythonDevice, task: Task, algorithm: AbstractAlgorithm
) -> None:
    task.sampler.check(task.grid)
    if device.access_level < task.sampler.access_level:
        raise RequestError(
            f"The sampler {task.sampler.kind} needs outputs, but the device shows only "
            f"{device.access_level.name.lower()}; use the sampler uniform."
        )
    singly = algorithm.access_level in (AccessLevel.OUTPUTS, AccessLevel.SITES)
    if task.group > 1 and singly:
        raise RequestError(
            f"The algorithm {algorithm.kind} compares single samples, but this task has one "
            "cost for "
            f"{task.group} samples together; choose one that needs only the cost, such as "
            "weight-mgd."
        )


def check_aim(task: Task, until: Until) -> None:
    """Check that the score has values as high as the target. Errors: `RequestError`."""
    most = highest(task.score)
    if until.score is None or most is None or until.score <= most:
        return
    percent = 100 * most >= until.score >= 2 * most
    instead = f"{until.score / 100:g} for {until.score:g} %" if percent else f"{most:g} or less"
    raise RequestError(
        f"until.score = {until.score:g} cannot be reached, because the {task.score_name} is "
        f"at most {most:g}; set {instead}."
    )


def _check_budget(device: PythonDevice, task: Task, until: Until) -> None:
    look = measurements_per_evaluation(device, task)
    if until.measurements is not None and until.measurements <= look + SELF_TEST:
        raise RequestError(
            f"until.measurements = {until.measurements} leaves none for training: the device's "
            f"self-test takes {SELF_TEST} and one evaluation of the test set, in batches of "
            f"{task.batch}, takes {look}; set {4 * look} or more, or a larger batch."
        )
