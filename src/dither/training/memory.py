"""The machine's memory that a run takes, and what the controller of a device must hold."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import psutil

from dither._errors import RequestError
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.algorithms.sketch import AbstractSketchedRule, held
from dither.contract import Problem
from dither.devices.fleet import Fleet
from dither.devices.simulated import SimulatedDevice

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


def inputs_held(algorithm: AbstractAlgorithm, device: Any, problem: Problem) -> dict[str, int]:
    """The bytes of layer inputs, by layer, that a controller holds until their costs are known.

    They are those of a batch, in the run's precision, sketched where the rule sketches them. Empty
    for a rule that correlates no layer inputs, or that also holds other values of the layers.
    """
    if not isinstance(algorithm, AbstractSketchedRule):
        return {}
    one = device.devices[0] if isinstance(device, Fleet) else device
    weights = (p for p in problem.space.parameters if p.name.endswith("/weight"))
    shapes: dict[str, tuple[int, ...]] = {
        f"{p.name.removesuffix('weight')}x": p.shape[:1] for p in weights if len(p.shape) == 2
    }
    if isinstance(one, SimulatedDevice):
        shapes |= one.network.sites()
    each = problem.batch * jnp.dtype(jnp.result_type(float)).itemsize
    known = {layer.name: shapes.get(f"{layer.name}/x") for layer in algorithm.correlated(problem)}
    return {name: each * held(x, algorithm.sketch) for name, x in known.items() if x is not None}
