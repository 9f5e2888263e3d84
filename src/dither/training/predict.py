"""What a trained device makes of new inputs."""

import math
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from dither._errors import RequestError
from dither._threefry import key_for, random_key
from dither.devices.device import AbstractDevice
from dither.devices.simulated import SimulatedDevice
from dither.instruments.connection import AbstractConnection
from dither.instruments.python import PythonDevice
from dither.tasks.csv_file import CSVFile
from dither.tasks.delimited import numbers, read_delimited
from dither.tasks.given import as_array
from dither.tasks.numpy_file import NPY, NPZ, read_numpy
from dither.tasks.scores import told_class
from dither.training.safety import made_safe


def outputs_of(
    device: Any, parameters: Float[np.ndarray, " P"], seed: int, inputs: Any
) -> Float[np.ndarray, "B K"]:
    """The outputs of a device for inputs, one row a sample.

    Of a simulated device the instance that a run of this seed has trained, as it was fabricated; a
    real one is written to, measured once, and brought into its safe state. Of a fleet, device 0.

    Errors: `RequestError` where there is no device, it shows only a cost, or inputs do not fit.
    """
    rows = as_array(inputs, "inputs")
    if isinstance(device, AbstractConnection):
        device = device.connect()
    if device is None:
        raise RequestError(
            "The run's device was a Python object, which its folder does not hold; give it: "
            "load_run(folder, device)."
        )
    if not isinstance(device, AbstractDevice | PythonDevice):
        device = PythonDevice(device)
    _check_fit(device, parameters, rows)
    try:
        if isinstance(device, AbstractDevice):
            return _simulated(device, parameters, seed, rows)
        return _measured(device, parameters, rows)
    except (AssertionError, TypeError, ValueError) as error:
        raise RequestError(
            f"Inputs of shape {rows.shape} do not fit the device "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); give "
            "rows as the task has them."
        ) from error


def _check_fit(
    device: AbstractDevice | PythonDevice, parameters: Float[np.ndarray, " P"], rows: np.ndarray
) -> None:
    if not len(rows):
        raise RequestError("The inputs hold no samples; give a row a sample.")
    if parameters.size != device.space.size:
        raise RequestError(
            f"The run has {parameters.size} parameters and the device {device.space.size}; give "
            "the device that was trained."
        )
    due = device.network.input_shape if isinstance(device, SimulatedDevice) else rows.shape[1:]
    if math.prod(due) != math.prod(rows.shape[1:]):
        raise RequestError(
            f"Inputs of shape {rows.shape} do not fit the device, whose network takes {due}; give "
            "rows as the task has them."
        )


def inputs_in(file: Path, task: Any) -> Num[np.ndarray, "B ..."]:
    """The inputs in a file, as a task has them: its columns, its scale.

    Arguments: the file, a table, NPY, or NPZ with an array `inputs`; the task, None where it is not
    known.
    Errors: `RequestError` for a file that is missing, is neither, or has not the task's columns.
    """
    if file.suffix.lower() not in (".npy", ".npz"):
        if isinstance(task, CSVFile):
            return task.inputs_of(file)
        table = read_delimited(file)
        return as_array(numbers(file, table, list(range(table.frame.shape[1]))), "inputs")
    kind = NPY if file.suffix.lower() == ".npy" else NPZ
    try:
        found = read_numpy(file, kind, ["inputs"])
        return as_array(found if kind == NPY else found["inputs"], "inputs")
    except FileNotFoundError:
        raise RequestError(f"The inputs' file {file} does not exist.") from None
    except KeyError:
        raise RequestError(f"The inputs' file {file} has no array 'inputs'.") from None
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise RequestError(f"The inputs' file {file} cannot be read: {error}.") from None


def told_names(outputs: Float[np.ndarray, "B K"], classes: tuple[str, ...]) -> list[str]:
    """The name of the class that each row of outputs tells; none where there are no classes."""
    return [classes[place] for place in np.asarray(told_class(jnp.asarray(outputs)), int)
            if classes]  # fmt: skip


def _simulated(
    device: AbstractDevice, parameters: Float[np.ndarray, " P"], seed: int, rows: np.ndarray
) -> Float[np.ndarray, "B K"]:
    *_, fabrication = jax.random.split(random_key(seed), 4)
    theta = jnp.asarray(parameters, jnp.result_type(float))
    device, state = device.specimen(key_for(device, fabrication), 0)
    chip = device.write(state, theta, jnp.bool_(False))
    return np.asarray(device.outputs(chip, jnp.asarray(rows, jnp.result_type(float))))


def _measured(
    device: PythonDevice, parameters: Float[np.ndarray, " P"], rows: np.ndarray
) -> Float[np.ndarray, "B K"]:
    if device.by_cost:
        raise RequestError(f"The device {device.name} shows only a cost, so no outputs are known.")
    with made_safe(device):
        device.write(parameters)
        return device.measure(np.repeat(rows, device.count, axis=0), None)[:: device.count]
