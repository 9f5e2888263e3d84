"""Whether a run fits into the machine's memory, before anything is made."""

import math

import jax
import jax.numpy as jnp
import psutil

from dither._errors import RequestError
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.contract import Problem

SMALL = 0.01
"""Parameters that take less of the memory than this are not looked at further."""


def check_memory(algorithm: AbstractAlgorithm, problem: Problem, replicas: int) -> None:
    """Check that what an algorithm remembers, and what is written, fits into memory.

    Errors: `RequestError` where all replicas together take more than the machine has.
    """
    size, each = problem.space.size, jnp.dtype(jnp.result_type(float)).itemsize
    memory = psutil.virtual_memory().total
    if replicas * size * each < SMALL * memory:
        return
    theta = jax.ShapeDtypeStruct((size,), jnp.result_type(float))
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(lambda k, t: algorithm.init(k, t, problem), key, theta)
    kept = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    if (needed := replicas * (kept + size * each)) > memory:
        raise RequestError(
            f"{replicas} replicas of {size} parameters take {needed / 1e9:.3g} GB at the least, "
            f"and this machine has {memory / 1e9:.3g} GB; set fewer replicas or a smaller device."
        )
