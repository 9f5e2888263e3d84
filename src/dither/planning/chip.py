"""The requirements of a method on chip and controller: wiring, memory, writes, energy."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dither._threefry import random_key
from dither.algorithms import CoordinateDescent, FiniteDifferences, LayerwiseMGD, nodes
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.algorithms.gradient import AbstractGradientRule
from dither.algorithms.layers import sizes
from dither.contract import AccessLevel, Problem
from dither.devices.device import AbstractDevice
from dither.training.acts import perturbed
from dither.training.memory import inputs_held

ASKED, MOST = 512, 8192
"""The number of probes that are counted: whole updates if possible."""


class Wiring(NamedTuple):
    """The required hardware.

    Attributes: `sources` of simultaneous perturbations, one per weight or neuron; `words` stored
    per weight: the weight itself, an accumulator, those of the optimiser; `activations` read per
    sample, the inputs of layers, None if unknown.
    """

    sources: int
    words: float
    activations: int | None


def wiring(algorithm: AbstractAlgorithm, device: AbstractDevice, problem: Problem) -> Wiring:
    """The wiring that a method needs on the chip and in the controller."""
    P, N = problem.space.size, nodes.count(problem.layers) if problem.layers else 0
    sees = algorithm.access_level
    if sees is AccessLevel.GRADIENTS:
        return Wiring(0, _words(algorithm, problem), _inputs(problem))
    if sees is AccessLevel.SITES:
        held = inputs_held(algorithm, device, problem)
        each = problem.batch * jnp.dtype(jnp.result_type(float)).itemsize
        read = sum(held.values()) // each if held else _inputs(problem)
        return Wiring(N, _words(algorithm, problem), read)
    together = P
    if isinstance(algorithm, LayerwiseMGD):
        together = int(max(sizes(problem.space)))
    elif isinstance(algorithm, FiniteDifferences | CoordinateDescent):
        together = 1
    return Wiring(together, _words(algorithm, problem), 0)


def _inputs(problem: Problem) -> int | None:
    """The inputs of all layers for one sample; dense layers only."""
    weights = [p for p in problem.space.parameters if p.name.endswith("/weight")]
    dense = all(len(p.shape) == 2 for p in weights)
    return sum(p.shape[0] for p in weights) if dense else None


def _words(algorithm: AbstractAlgorithm, problem: Problem) -> float:
    """The stored numbers per parameter, from the shapes of the algorithm's state."""
    P = problem.space.size
    theta = jax.ShapeDtypeStruct((P,), jnp.result_type(float))
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(lambda k, t: algorithm.init(k, t, problem), key, theta)
    kept = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state) if leaf.size >= P)
    alone = isinstance(algorithm, AbstractGradientRule) and algorithm.periods(problem)[1] == 1
    words: float = round(kept / P - alone, 2)
    return words


class Acts(NamedTuple):
    """The mean number of writes and of perturbations of neurons per measurement."""

    writes: float
    perturbations: float


def acts(algorithm: AbstractAlgorithm, problem: Problem, theta: Float[Array, " P"]) -> Acts:
    """The operations of a method other than measurements, from its probes."""
    rows = ASKED
    if isinstance(algorithm, AbstractGradientRule):
        update = int(algorithm.times(problem).until_update())
        rows = min(MOST, -(-ASKED // update) * update)

    def ask(state: Any, _: Any) -> tuple[Any, Any]:
        probe, state = algorithm.ask(state)
        return state, (jnp.asarray(probe.changed, float), perturbed(probe))

    state = algorithm.init(random_key(0), theta, problem)
    _, (writes, added) = jax.jit(lambda state: jax.lax.scan(ask, state, length=rows))(state)
    return Acts(float(np.mean(writes)), float(np.mean(added)))


class Cost(NamedTuple):
    """The cost of a number of measurements on the device; None if it is not specified."""

    seconds: float | None
    joules: float | None


def cost(device: AbstractDevice, acts: Acts, measurements: float, batch: int) -> Cost:
    """The seconds and joules of some measurements, including writes and perturbations."""
    each = 1.0, acts.writes, acts.perturbations
    seconds = device.measurement_seconds, device.write_seconds, device.perturbation_seconds
    reading = device.measurement_joules + batch * device.sample_joules
    joules = reading, device.write_joules, device.perturbation_joules

    def told(costs: tuple[float, float, float]) -> float | None:
        per_measurement = sum(n * x for n, x in zip(each, costs))
        return per_measurement * measurements if any(costs) else None

    return Cost(told(seconds), told(joules))
