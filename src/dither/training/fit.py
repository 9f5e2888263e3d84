"""Whether device, task and algorithm fit together."""

import math

import jax.numpy as jnp
import numpy as np

from dither._errors import RequestError
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices.device import AbstractDevice, Sees
from dither.devices.python import PythonDevice
from dither.devices.simulated import SimulatedDevice
from dither.tasks.task import Task, cross_entropy
from dither.training.until import Until


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
        device.self_test(inputs, targets, _outputs_wanted(task))
    elif isinstance(device, SimulatedDevice):
        network = device.network
        given, taken = task.inputs.shape[1:], network.input_shape
        if math.prod(given) != math.prod(taken):
            raise RequestError(
                f"The network takes inputs of shape {taken} and the task gives {given}; change "
                "the network's input."
            )
        wanted = _outputs_wanted(task)
        if network.outputs not in wanted:
            raise RequestError(
                f"The network has {network.outputs} outputs and the task needs "
                f"{' or '.join(map(str, wanted))}; change the network's output."
            )


def _outputs_wanted(task: Task) -> tuple[int, ...]:
    """How many outputs fit the targets: one is enough for two classes under mse."""
    if jnp.issubdtype(task.targets.dtype, jnp.floating):
        return (math.prod(task.targets.shape[1:]),)
    classes = len(task.classes)
    return (1, 2) if classes == 2 and task.cost is not cross_entropy else (classes,)
