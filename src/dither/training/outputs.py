"""Costs and scores of a device's outputs, in double precision if single is not enough."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dither.tasks.task import Task

FAR = 1e4
"""Larger outputs count as far from zero. Single precision resolves a thousandth here."""


def far(outputs: Float[np.ndarray, "..."]) -> bool:
    """Whether outputs are so far from zero that single precision cannot resolve their changes."""
    return bool(np.abs(outputs).max(initial=0.0) > FAR)


def in_double(cost: Callable[..., Any]) -> Callable[..., Float[np.ndarray, " B"]]:
    """The cost of each sample from outputs and targets, in double precision."""
    compiled = jax.jit(cost)

    def costs(outputs: Float[np.ndarray, "B K"], targets: np.ndarray) -> Float[np.ndarray, " B"]:
        with jax.enable_x64(True):
            return np.asarray(compiled(jnp.asarray(outputs), jnp.asarray(targets)), float)

    return costs


def scored(
    task: Task, outputs: Float[np.ndarray, "N K"], targets: np.ndarray
) -> tuple[float, float]:
    """The score and the mean cost of outputs."""
    with jax.enable_x64(True) if far(outputs) else nullcontext():
        y, wanted = jnp.asarray(outputs, jnp.result_type(float)), jnp.asarray(targets)
        return float(task.score(y, wanted)), float(jnp.mean(task.cost(y, wanted)))
