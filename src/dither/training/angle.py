"""Simulation of the measurements until an estimate points along the gradient."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices.device import AbstractDevice
from dither.tasks.task import Task
from dither.training.fit import problem_of
from dither.training.fused import measure_once, start
from dither.training.loop import Carry

AT_ONCE = 1000
"""Measurements between two computations of the angle."""


def measurements_to_angle(
    algorithm: AbstractAlgorithm,
    device: AbstractDevice,
    task: Task,
    parameters: Float[Array, " P"],
    gradient: Float[Array, " P"],
    *,
    degrees: float = 15.0,
    most: float,
    seed: int = 0,
    observe: Callable[[int, float], None] = lambda *_: None,
) -> float:
    """Measurements until an algorithm's summed estimate is within an angle of the gradient.

    `G · g / (|G| |g|) > cos(angle)`

    Arguments: the algorithm, with tau_x and tau_theta so long that neither batch nor parameters
    change; the device; the task, whose batch is the whole training set; the parameters at which the
    gradient is estimated; g, the gradient there; `degrees`, in (0, 90); `most` measurements; the
    `seed`; a function called occasionally with the measurements and the angle.
    Returns: the measurements; infinite if `most` are too few.
    """
    problem = problem_of(device, task)
    carry = start(algorithm, device, problem, jnp.int32(seed), None, parameters, task.sampling())
    state = carry, jnp.int32(0), jnp.zeros(())
    aim = math.cos(math.radians(degrees))
    for end in range(AT_ONCE, math.ceil(most) + AT_ONCE, AT_ONCE):
        state = _until(
            (algorithm, device, task, gradient), state, jnp.asarray(aim), jnp.int32(min(end, most))
        )
        measured, cosine = int(state[1]), float(state[2])
        observe(measured, math.degrees(math.acos(min(cosine, 1.0))))
        if cosine > aim:
            return float(measured)
    return math.inf


@eqx.filter_jit
def _until(
    setting: tuple[AbstractAlgorithm, AbstractDevice, Task, Float[Array, " P"]],
    state: tuple[Carry, Int[Array, ""], Float[Array, ""]],
    aim: Float[Array, ""],
    most: Int[Array, ""],
) -> tuple[Carry, Int[Array, ""], Float[Array, ""]]:
    algorithm, device, task, gradient = setting

    def measure(now: Any) -> Any:
        carry, n, _ = now
        carry, _, info = measure_once(algorithm, device, task, carry)
        G = jnp.zeros_like(gradient) if info.estimate is None else info.estimate
        squares = jnp.sum(G**2) * jnp.sum(gradient**2)
        return carry, n + 1, jnp.where(squares > 0, G @ gradient / jnp.sqrt(squares), 0.0)

    found: tuple[Carry, Int[Array, ""], Float[Array, ""]] = jax.lax.while_loop(
        lambda now: (now[2] <= aim) & (now[1] < most), measure, state
    )
    return found
