"""Blocks of probes for a Python device: asked for together, and told together."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dither.algorithms.algorithm import AbstractAlgorithm, State
from dither.contract import AccessLevel, Clock, Measurement, Outputs, Probe, Sites
from dither.tasks.task import Task
from dither.training.loop import Carry

Asking: TypeAlias = Callable[..., tuple[Probe, Int[Array, "K B"], State]]
Telling: TypeAlias = Callable[..., tuple[State, Float[Array, " K"], Any]]

Reading: TypeAlias = (
    Float[np.ndarray, "..."] | tuple[Float[np.ndarray, "B O"], dict[str, Float[np.ndarray, "B _"]]]
)
"""A cost or outputs; or outputs and, by layer, what went into it."""

Readings: TypeAlias = (
    Float[Array | np.ndarray, "K ..."]
    | tuple[Float[Array | np.ndarray, "K B O"], dict[str, Float[Array | np.ndarray, "K B _"]]]
)
"""Those of a block."""

BLOCK = 65
"""The most probes asked for at once: 64 perturbations and what they are compared with."""

ROOMS = (1, 2, 8, BLOCK)
"""Sizes of the blocks that are compiled; each takes a good part of a second when a run begins."""

BLOCK_BYTES = 2**24
"""The most that the settings of a block take in double precision, unless one alone takes more."""


def largest_block(parameters: int) -> int:
    """The most probes of so many parameters that are asked for at once."""
    fits = BLOCK_BYTES // (8 * max(parameters, 1))
    return max(room for room in ROOMS if room <= max(fits, 1))


def ask_block(
    algorithm: AbstractAlgorithm, k: int, task: Task, carry: Carry, n: Int[Array, ""]
) -> tuple[Probe, Int[Array, "K B"], State]:
    """The next K probes, their batches' samples, and the state after the first n of them.

    An ask moves nothing but the clock: the K moments first, then the probes side by side.
    """

    def at(clock: Clock) -> State:
        return eqx.tree_at(lambda state: state.clock, carry.algorithm, clock)

    def tick(clock: Clock, _: None) -> tuple[Clock, Clock]:
        after: Clock = algorithm.ask(at(clock))[1].clock
        return after, after

    def one(clock: Clock) -> tuple[Probe, Int[Array, " B"]]:
        probe = algorithm.ask(at(clock))[0]
        sampling = task.sampler.begin(carry.sampling, probe.batch_index)
        return probe, task.sample(carry.data, probe.batch_index, sampling)

    now = carry.algorithm.clock
    _, later = jax.lax.scan(tick, now, length=k, unroll=8)
    clocks = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), now, later)
    probes, rows = jax.vmap(one)(jax.tree.map(lambda leaf: leaf[:k], clocks))
    return probes, rows, at(jax.tree.map(lambda leaf: leaf[n], clocks))


def tell_block(
    algorithm: AbstractAlgorithm,
    task: Task,
    state: State,
    probes: Probe,
    rows: Int[Array, "K B"],
    readings: Readings,
    n: Int[Array, ""],
    taken_off: Any = (),
    known: Float[Array | np.ndarray, "K B"] | None = None,
    sampling: Any = (),
) -> tuple[State, Float[Array, " K"], Any]:
    """Tell the first n probes of a block; readings are costs, or outputs from which they come.

    `taken_off` is what has been taken off costs; `known`, each sample's cost less that, where it
    was computed before; `sampling`, the state of the task's sampler, which, where it learns, has
    blocks of one probe.
    """
    outputs, x = readings if isinstance(readings, tuple) else (readings, None)
    costs = each = jnp.asarray(outputs)
    if known is not None:
        each = jnp.asarray(known)
        costs = jnp.mean(each, axis=1)
    elif outputs.ndim > 1:
        each = jax.vmap(lambda y, r: task.cost(y, task.targets[r]))(outputs, rows)
        costs = jnp.mean(each, axis=1)
    if task.sampler.learns:
        sampling = task.sampler.begin(sampling, probes.batch_index[0])
        weights = task.weights(sampling, rows[0])
        sampling = task.sampled(sampling, rows[0], jnp.asarray(outputs[0]))
        each = each if weights is None else weights * each
        costs = jnp.mean(each, axis=1)

    def step(k: Int[Array, ""], state: State) -> State:
        probe = jax.tree.map(lambda leaf: leaf[k], probes)
        shown, sites = None, None
        if algorithm.access_level >= AccessLevel.OUTPUTS:
            shown = Outputs(outputs[k], task.targets[rows[k]])
        if x is not None:
            sites = Sites(each[k], jax.tree.map(lambda leaf: leaf[k], x))
        measurement = Measurement(costs[k], shown, sites, taken_off=taken_off)
        return algorithm.tell(state, probe, measurement)[0]

    return jax.lax.fori_loop(0, n, step, state), costs, sampling


@cache
def compiled(algorithm: AbstractAlgorithm) -> tuple[Asking, Telling]:
    """`ask_block` and `tell_block` of an algorithm, compiled.

    Kept by algorithm, since a configuration is slow to hash at every call.
    """
    return (
        jax.jit(partial(ask_block, algorithm), static_argnums=0),
        jax.jit(partial(tell_block, algorithm)),
    )


def stacked(room: int, *leaves: Float[np.ndarray, "..."]) -> Float[np.ndarray, "room ..."]:
    """Readings one behind the other, with zeros where there are no more."""
    block: Float[np.ndarray, ...] = np.zeros((room, *leaves[0].shape), jnp.result_type(float))
    block[: len(leaves)] = leaves
    return block
