"""The memory that a run needs, on this machine and in the controller of a device."""

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
"""The share of the memory below which parameters are not checked further."""


def check_memory(algorithm: AbstractAlgorithm, problem: Problem, replicas: int) -> None:
    """Check that the state of an algorithm and its writes fit into memory.

    Errors: `RequestError` if all replicas together need more than the machine has.
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
            f"{replicas} replicas of {size} parameters need at least {needed / 1e9:.3g} GB, "
            f"but this machine has {memory / 1e9:.3g} GB; set fewer replicas or a smaller device."
        )


def inputs_held(algorithm: AbstractAlgorithm, device: Any, problem: Problem) -> dict[str, int]:
    """The bytes of layer inputs, by layer, that a controller stores until the costs are known.

    They are the inputs of a batch, in the run's precision, compressed if the rule sketches them.
    Empty for a rule that uses no layer inputs, or that also stores other values of the layers.
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
