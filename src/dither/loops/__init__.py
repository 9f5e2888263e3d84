"""Compiled loops: many measurements of one rule on one device in a single kernel.

A compiled loop computes what the plain loop does, to rounding, from the same random numbers. It is
taken where rule, device and task are what it was written for; the plain loop is taken elsewhere.
"""

from collections.abc import Callable
from typing import TypeAlias

from jaxtyping import Array, Int

from dither._kernels import loaded
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices.device import AbstractDevice
from dither.loops import mirrors, perceptron
from dither.tasks.task import Task
from dither.training.loop import Carry

Advance: TypeAlias = Callable[[Carry, Task, Int[Array, ""]], Carry]

LOOPS = (perceptron.loop, mirrors.loop)


def compiled(
    algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task, carry: Carry
) -> Advance | None:
    """The compiled loop of all replicas' measurements, or None where the plain one is to be taken.

    Returns: a function of the carry of all replicas, see `replicas.replica_axes`, the task, and the
    number of measurements, which returns the carry after them.
    """
    if not loaded():
        return None
    found = (loop(algorithm, device, task, carry) for loop in LOOPS)
    return next((advance for advance in found if advance is not None), None)
