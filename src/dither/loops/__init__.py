"""Compiled loops: many measurements of one rule on one device in a single kernel.

A compiled loop computes the same as the plain loop, to rounding, from the same random numbers. It
is used if it supports the rule, device and task; otherwise the plain loop is used.
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
    """The compiled loop for all replicas' measurements, or None if the plain one must be used.

    Returns: a function of the carry of all replicas (see `replicas.replica_axes`), the task and the
    number of measurements, which returns the new carry.
    """
    if not loaded():
        return None
    found = (loop(algorithm, device, task, carry) for loop in LOOPS)
    return next((advance for advance in found if advance is not None), None)
