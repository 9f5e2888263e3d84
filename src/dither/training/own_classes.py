"""A user's own classes, tried before anything is written."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from dither._configuration import Configuration
from dither._errors import DitherError, RequestError
from dither._raised import place_of
from dither.algorithms import AbstractAlgorithm
from dither.devices.device import AbstractDevice
from dither.tasks import Task
from dither.training.fit import problem_of
from dither.training.fused import measure_once, start


def check_own_classes(algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task) -> None:
    """Trace a measurement on a simulated device, where a class of it is none of dither's.

    Errors: `RequestError` with the user's file and line for what the class raises.
    """
    own = sorted({type(one).__name__ for one in (*_parts(algorithm), *_parts(device))
                  if not type(one).__module__.startswith("dither.")})  # fmt: skip
    if not own:
        return
    try:
        jax.eval_shape(lambda: _measured(algorithm, device, task))
    except DitherError:
        raise
    except Exception as error:  # whatever a user's code raises
        what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".rstrip(".: ")
        whose = f"class {own[0]} fails" if len(own) == 1 else f"classes {', '.join(own)} fail"
        raise RequestError(f"The {whose} when traced by JAX: {what}{place_of(error)}.") from error


def _measured(algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task) -> Any:
    carry = start(algorithm, device, problem_of(device, task), jnp.int32(0), {})
    return measure_once(algorithm, device, task, carry)[0]


def _parts(whole: Any) -> Iterator[Configuration]:
    """A configuration and all within it."""
    if isinstance(whole, Configuration):
        yield whole
        for name in type(whole).model_fields:
            yield from _parts(getattr(whole, name))
    elif isinstance(whole, list | tuple):
        for one in whole:
            yield from _parts(one)
