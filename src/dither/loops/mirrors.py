"""Coordinate descent on a reservoir's readout, with or without noise."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from dither._kernels import call
from dither.algorithms import CoordinateDescent
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.algorithms.selection import Cyclic, Greedy, Memory, Priority, Uniform
from dither.devices import ReadoutDevice
from dither.devices.device import AbstractDevice
from dither.devices.imperfections import CostNoise, OutputNoise, RelativeNoise
from dither.devices.readout import LEVELS
from dither.tasks.scores import nmse_cost
from dither.tasks.task import Task
from dither.training.loop import Carry

SELECTIONS = (Uniform, Cyclic, Greedy, Priority)
DECISIONS = ("keep", "remeasure", "significant")
NOISES = (CostNoise, OutputNoise, RelativeNoise)


def applies(algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task, carry: Carry) -> bool:
    """Whether the kernel supports this rule on this device."""
    if type(algorithm) is not CoordinateDescent or type(device) is not ReadoutDevice:
        return False
    return (
        type(algorithm.selection) in SELECTIONS
        and algorithm.flips == 1
        and algorithm.temperature == 0
        and all(type(imperfection) in NOISES for imperfection in device.imperfections)
        and task.cost is nmse_cost
        and not carry.varied
        and carry.algorithm.theta.dtype == task.targets.dtype == jnp.float32
    )


def words(memory: Memory, replicas: int) -> Int[Array, "R K"]:
    """The memory of a selection rule as 32-bit words."""

    def part(leaf: Array) -> Int[Array, "R k"]:
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            leaf = jax.lax.bitcast_convert_type(leaf, jnp.int32)
        return leaf.astype(jnp.int32).reshape(replicas, -1)

    nothing = jnp.zeros((replicas, 0), jnp.int32)
    return jnp.concatenate([nothing, *map(part, jax.tree.leaves(memory))], axis=1)


def remembered(words: Int[Array, "R K"], like: Memory) -> Memory:
    """The memory from its words."""

    def part(words: Int[Array, "R k"], leaf: Array) -> Array:
        words = words.reshape(leaf.shape)
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return jax.lax.bitcast_convert_type(words, leaf.dtype)
        return words.astype(leaf.dtype)

    leaves, tree = jax.tree.flatten(like)
    ends = np.cumsum([leaf[0].size for leaf in leaves])
    parts = jnp.split(words, ends[:-1], axis=1) if leaves else []
    return jax.tree.unflatten(tree, map(part, parts, leaves))


def settings(rule: AbstractAlgorithm, device: AbstractDevice) -> dict[str, Any]:
    """The settings of the rule and the device for the kernel."""
    assert isinstance(rule, CoordinateDescent)
    assert isinstance(device, ReadoutDevice)
    noise = device.noise
    imperfections = [i for i in device.imperfections if isinstance(i, NOISES)]
    low, _, levels = LEVELS[device.weights]
    of_states = ("multiplicative_common", "multiplicative", "additive", "additive_common")
    return {
        "selection": SELECTIONS.index(type(rule.selection)),
        "decision": DECISIONS.index(rule.decision),
        "repeats": rule.repeats,
        "significance": np.float32(rule.significance),
        "low": np.float32(low),
        "levels": levels,
        "coherent": device.readout == "coherent",
        "kinds": np.array([NOISES.index(type(i)) for i in imperfections], np.int64),
        "sigmas": np.array([i.sigma for i in imperfections], np.float32),
        "of_states": np.array([getattr(noise, kind) for kind in of_states], np.float32),
    }


def loop(
    algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task, carry: Carry
) -> Callable[[Carry, Task, Int[Array, ""]], Carry] | None:
    """The compiled loop, if it applies."""
    if not applies(algorithm, device, task, carry):
        return None
    attributes = settings(algorithm, device)

    def advance(carry: Carry, task: Task, n: Int[Array, ""]) -> Carry:
        state, bench, tally = carry.algorithm, carry.device, carry.tally
        replicas = len(tally.cost)
        squares = jnp.zeros((replicas, 0)) if isinstance(bench.squares, tuple) else bench.squares
        whole = (state.undo.places[:, 0], state.kept, state.falls.count, state.tests)
        real = (state.error, state.first, state.undo.values[:, 0],
                state.falls.mean, state.falls.spread, tally.cost)  # fmt: skip
        changed = (
            jnp.stack([part.astype(jnp.int32) for part in whole], axis=1),
            jnp.stack(real, axis=1),
            state.theta,
            words(state.memory, replicas),
            bench.weights,
            bench.light,
            squares,
        )
        result = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in changed]
        keys = (jax.random.key_data(key) for key in (state.key, bench.key))
        whole, real, theta, memory, weights, light, squares = call("Flips", result)(
            *changed, state.clock.tick[None], bench.measured, *keys, n[None],
            bench.columns.train, task.targets[0], **attributes,
        )  # fmt: skip
        undo, kept, falls, tests = whole.T
        error, first, value, mean, spread, cost = real.T
        after: Carry = eqx.tree_at(
            lambda c: (*_of_rule(c), *_of_bench(c), *_of_tally(c)),
            carry,
            (
                *(state.clock.tick + n, theta, error, first, undo[:, None], value[:, None]),
                *(kept.astype(bool), falls, mean, spread, tests),
                remembered(memory, state.memory),
                *(bench.written + n, bench.measured + n, weights, light),
                bench.squares if isinstance(bench.squares, tuple) else squares,
                *(tally.measurements + n, tally.writes + n, cost),
            ),
        )
        return after

    return advance


def _of_rule(carry: Carry) -> tuple[Any, ...]:
    """The parts of the rule's state that measurements change."""
    s = carry.algorithm
    return (
        *(s.clock.tick, s.theta, s.error, s.first, s.undo.places, s.undo.values),
        *(s.kept, s.falls.count, s.falls.mean, s.falls.spread, s.tests, s.memory),
    )


def _of_bench(carry: Carry) -> tuple[Any, ...]:
    """The parts of the device's state that measurements change."""
    d = carry.device
    return d.written, d.measured, d.weights, d.light, d.squares


def _of_tally(carry: Carry) -> tuple[Any, ...]:
    """The parts of the ledger that measurements change."""
    t = carry.tally
    return t.measurements, t.writes, t.cost
