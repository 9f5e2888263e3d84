"""The outputs of a trained device for new inputs."""

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
    """The outputs of a device for inputs, one row per sample.

    A simulated device is the instance, with its fabrication errors, that a run with this seed
    trained. A real device is written, measured once, and brought into its safe state. For a fleet,
    it is device 0.

    Errors: `RequestError` if there is no device, if it shows only a cost, or if inputs do not fit.
    """
    rows = as_array(inputs, "inputs")
    if isinstance(device, AbstractConnection):
        device = device.connect()
    if device is None:
        raise RequestError(
            "The run's device was a Python object, which is not saved in its folder; give it: "
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
            "rows with the task's inputs."
        ) from error


def _check_fit(
    device: AbstractDevice | PythonDevice, parameters: Float[np.ndarray, " P"], rows: np.ndarray
) -> None:
    if not len(rows):
        raise RequestError("The inputs hold no samples; give one row per sample.")
    if parameters.size != device.space.size:
        raise RequestError(
            f"The run has {parameters.size} parameters, but the device {device.space.size}; give "
            "the device that was trained."
        )
    due = device.network.input_shape if isinstance(device, SimulatedDevice) else rows.shape[1:]
    if math.prod(due) != math.prod(rows.shape[1:]):
        raise RequestError(
            f"Inputs of shape {rows.shape} do not fit the device, whose network takes {due}; give "
            "rows with the task's inputs."
        )


def inputs_in(file: Path, task: Any) -> Num[np.ndarray, "B ..."]:
    """The inputs in a file, with the task's columns and scale.

    Arguments: the file, a table, NPY, or NPZ with an array `inputs`; the task, None if unknown.
    Errors: `RequestError` for a file that is missing, invalid, or lacks the task's columns.
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
        raise RequestError(f"The input file {file} does not exist.") from None
    except KeyError:
        raise RequestError(f"The input file {file} has no array 'inputs'.") from None
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise RequestError(f"The input file {file} cannot be read: {error}.") from None


def told_names(outputs: Float[np.ndarray, "B K"], classes: tuple[str, ...]) -> list[str]:
    """The class name that each row of outputs predicts; none without classes."""
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
        raise RequestError(
            f"The device {device.name} shows only a cost, not outputs; predictions need outputs."
        )
    with made_safe(device):
        device.write(parameters)
        return device.measure(np.repeat(rows, device.count, axis=0), None)[:: device.count]
