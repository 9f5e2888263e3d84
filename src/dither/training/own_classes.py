"""A trial of user-defined classes before anything is written."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from dither._configuration import Configuration
from dither._errors import DitherError, RequestError
from dither._raised import place_of
from dither._threefry import key_for, random_key
from dither.algorithms import AbstractAlgorithm
from dither.contract import AccessLevel, Measurement
from dither.devices.device import AbstractDevice
from dither.instruments.python import PythonDevice
from dither.tasks import Task
from dither.training.fit import problem_of
from dither.training.fused import measure_once, start

PLAIN = AbstractDevice.prepare
"""The method of a device that needs no preparation."""


def check_own_classes(
    algorithm: AbstractAlgorithm, device: AbstractDevice | PythonDevice, task: Task
) -> None:
    """Trace a measurement if a rule or a part of a device is a user-defined class.

    With a Python device, a rule that needs more than the cost is only asked, not told; likewise on
    a device that is prepared outside the trace, such as a readout.

    Errors: `RequestError` with the user's file and line for an exception of the class.
    """
    own = sorted({type(one).__name__ for one in (*_parts(algorithm), *_parts(device))
                  if not type(one).__module__.startswith("dither.")})  # fmt: skip
    if not own:
        return
    try:
        jax.eval_shape(lambda: _measured(algorithm, device, task))
    except DitherError:
        raise
    except Exception as error:  # any error of the user's code
        what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".rstrip(".: ")
        whose = f"class {own[0]} fails" if len(own) == 1 else f"classes {', '.join(own)} fail"
        raise RequestError(f"The {whose} when traced by JAX: {what}{place_of(error)}.") from error


def _measured(
    algorithm: AbstractAlgorithm, device: AbstractDevice | PythonDevice, task: Task
) -> Any:
    problem = problem_of(device, task)
    prepared = isinstance(device, AbstractDevice) and type(device).prepare is not PLAIN
    if isinstance(device, AbstractDevice) and not prepared:
        carry = start(algorithm, device, problem, jnp.int32(0), sampling=task.sampling())
        return measure_once(algorithm, device, task, carry)[0]
    key = key_for(algorithm, random_key(0))
    state = algorithm.init(key, jnp.zeros(problem.space.size), problem)
    probe, asked = algorithm.ask(state)
    if prepared or algorithm.access_level > AccessLevel.COST:
        return probe
    return algorithm.tell(asked, probe, Measurement(jnp.zeros(())))


def _parts(whole: Any) -> Iterator[Configuration]:
    """A configuration and all configurations inside it."""
    if isinstance(whole, Configuration):
        yield whole
        for name in type(whole).model_fields:
            yield from _parts(getattr(whole, name))
    elif isinstance(whole, list | tuple):
        for one in whole:
            yield from _parts(one)
