"""Blocks of probes for a Python device: `ask` and `tell` for several probes at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from dither.algorithms.algorithm import AbstractAlgorithm, State
from dither.contract import AccessLevel, Clock, Measurement, Outputs, Probe, Sites, SparseWrite
from dither.tasks.task import Task

Arrays: TypeAlias = tuple[Array, ...]
Asking: TypeAlias = Callable[..., "Asked"]
Telling: TypeAlias = Callable[..., tuple[Arrays, Float[Array, " K"]]]

Reading: TypeAlias = (
    Float[np.ndarray, "..."]
    | tuple[Float[np.ndarray, "B O"], dict[str, Float[np.ndarray, "B ..."]]]
)
"""A cost, or outputs, or outputs and the inputs of each layer."""

Readings: TypeAlias = (
    Float[Array | np.ndarray, "K ..."]
    | tuple[Float[Array | np.ndarray, "K B O"], dict[str, Float[Array | np.ndarray, "K B ..."]]]
)
"""The readings of a block."""

BLOCK = 65
"""The largest block of probes: 64 perturbations and their reference."""

ROOMS = (1, 2, 8, BLOCK)
"""The compiled block sizes; compiling each takes a large part of a second at the start of a run."""

BLOCK_BYTES = 2**23
"""The largest size of a block with more than one setting, in double precision, bytes."""


def largest_block(parameters: int) -> int:
    """The largest block of probes for a number of parameters."""
    fits = BLOCK_BYTES // (8 * max(parameters, 1))
    return max(room for room in ROOMS if room <= max(fits, 1))


class Asked(NamedTuple):
    """K probes, the samples of their batches, and the K + 1 clocks before and after them.

    The containers are ones that JAX flattens without Python; for sparse writes, `parameters` holds
    places and values.
    """

    parameters: Float[Array, "K P"] | tuple[Int[Array, "K _"], Float[Array, "K _"]]
    sites: dict[str, Array] | None
    updated: Bool[Array, " K"]
    changed: Bool[Array, " K"]
    batch_index: Int[Array, " K"]
    rows: Int[Array, "K B"]
    tick: Int[Array, " K+1"]
    part: Int[Array, " K+1"]

    def moment(self, k: int | Int[Array, ""]) -> Clock:
        """The clock of the k-th probe."""
        return Clock(tick=self.tick[k], part=self.part[k])

    def probe(self, k: Int[Array, ""]) -> Probe:
        """The k-th probe."""
        parameters, sites, updated, changed, batch_index = jax.tree.map(lambda x: x[k], self[:5])
        if isinstance(parameters, tuple):
            parameters = SparseWrite(*parameters)
        return Probe(self.moment(k), parameters, updated, batch_index, sites, changed)


def ask_block(
    algorithm: AbstractAlgorithm,
    k: int,
    task: Task,
    state: State,
    sampling: Any,
    data: Key[Array, ""],
) -> Asked:
    """The next K probes. `ask` changes only the clock: first all clocks, then all probes.

    `sampling` is the state of the task's sampler, `data` the key of the batches.
    """

    def at(clock: Clock) -> State:
        return eqx.tree_at(lambda state: state.clock, state, clock)

    def tick(clock: Clock, _: None) -> tuple[Clock, Clock]:
        after: Clock = algorithm.ask(at(clock))[1].clock
        return after, after

    def one(clock: Clock) -> tuple[Probe, Int[Array, " B"]]:
        probe = algorithm.ask(at(clock))[0]
        begun = task.sampler.begin(sampling, probe.batch_index)
        return probe, task.sample(data, probe.batch_index, begun)

    now = state.clock
    _, later = jax.lax.scan(tick, now, length=k, unroll=8)
    clocks = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), now, later)
    probes, rows = jax.vmap(one)(jax.tree.map(lambda leaf: leaf[:k], clocks))
    written: Any = probes.parameters
    if isinstance(written, SparseWrite):
        written = written.places, written.values
    return Asked(
        parameters=written,
        sites=probes.sites,
        updated=probes.updated,
        changed=jnp.broadcast_to(probes.changed, k),
        batch_index=probes.batch_index,
        rows=rows,
        tick=clocks.tick,
        part=clocks.part,
    )


def tell_block(
    algorithm: AbstractAlgorithm,
    task: Task,
    state: State,
    sampling: Any,
    asked: Asked,
    readings: Readings,
    n: Int[Array, ""],
    taken_off: Any = (),
    known: Float[Array | np.ndarray, "K B"] | None = None,
) -> tuple[State, Any, Float[Array, " K"]]:
    """Tell the first n probes of a block; readings are costs, or outputs that give costs.

    `taken_off` is the constant subtracted from costs; `known`, each sample's cost minus
    that constant, if it was computed before. An adaptive sampler receives blocks of one probe.
    """
    outputs, x = readings if isinstance(readings, tuple) else (readings, None)
    costs = each = jnp.asarray(outputs)
    if known is not None:
        each = jnp.asarray(known)
        costs = jnp.mean(each, axis=1)
    elif outputs.ndim > 1:
        each = jax.vmap(lambda y, r: task.cost(y, task.targets[r]))(outputs, asked.rows)
        costs = jnp.mean(each, axis=1)
    if task.sampler.learns:
        sampling, rows = task.sampler.begin(sampling, asked.batch_index[0]), asked.rows[0]
        weights = task.weights(sampling, rows)
        sampling = task.sampled(sampling, rows, jnp.asarray(outputs)[0])
        each = each if weights is None else weights * each
        costs = jnp.mean(each, axis=1)

    def step(k: Int[Array, ""], state: State) -> State:
        shown, sites = None, None
        if algorithm.access_level >= AccessLevel.OUTPUTS:
            rows = asked.rows[k]
            shown = Outputs(outputs[k], task.targets[rows], task.inputs[rows])
        if x is not None:
            sites = Sites(each[k], jax.tree.map(lambda leaf: leaf[k], x))
        measurement = Measurement(costs[k], shown, sites, taken_off=taken_off)
        return algorithm.tell(state, asked.probe(k), measurement)[0]

    state = eqx.tree_at(lambda state: state.clock, state, asked.moment(n))
    return jax.lax.fori_loop(0, n, step, state), sampling, costs


@dataclass(frozen=True)
class Layout:
    """The layout of a pytree as a list of arrays, with random keys as their data.

    Compiled functions take and return such lists: JAX needs tens of microseconds to flatten a
    pytree of classes, and more if it holds a key.
    """

    structure: jax.tree_util.PyTreeDef
    keys: tuple[Any, ...]

    @classmethod
    def of(cls, tree: Any) -> "Layout":
        """The layout of a pytree."""
        leaves, structure = jax.tree.flatten(tree)
        return cls(structure, tuple(jax.random.key_impl(x) if _is_key(x) else None for x in leaves))

    def apart(self, tree: Any) -> tuple[Array, ...]:
        """The arrays of a pytree."""
        leaves = jax.tree.leaves(tree)
        return tuple(jax.random.key_data(x) if k else x for x, k in zip(leaves, self.keys))

    def together(self, leaves: Sequence[Array]) -> Any:
        """The pytree made from the arrays."""
        back = [jax.random.wrap_key_data(x, impl=k) if k else x for x, k in zip(leaves, self.keys)]
        return jax.tree.unflatten(self.structure, back)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


@cache
def compiled(
    algorithm: AbstractAlgorithm, states: Layout, tasks: Layout, keys: Layout
) -> tuple[Asking, Telling]:
    """`ask_block` and `tell_block` of an algorithm, compiled for lists of arrays.

    The states of the algorithm and the sampler that are passed in are donated to the result.
    """

    def ask(k: int, task: Arrays, before: Arrays, data: Arrays) -> Asked:
        state, sampling = states.together(before)
        key = keys.together(data)
        return ask_block(algorithm, k, tasks.together(task), state, sampling, key)

    def tell(task: Arrays, before: Arrays, *told: Any) -> tuple[Arrays, Float[Array, " K"]]:
        state, sampling = states.together(before)
        *after, costs = tell_block(algorithm, tasks.together(task), state, sampling, *told)
        return states.apart(tuple(after)), costs

    return jax.jit(ask, static_argnums=0), jax.jit(tell, donate_argnums=1)


def stacked(room: int, readings: Sequence[Reading], dtype: np.dtype) -> Readings:
    """Stacked readings, padded with zeros."""
    first, *others = readings
    if isinstance(first, np.ndarray):
        return _filled(room, dtype, readings)
    stack: Readings = jax.tree.map(lambda *leaves: _filled(room, dtype, leaves), first, *others)
    return stack


def _filled(room: int, dtype: np.dtype, leaves: Sequence[Any]) -> Float[np.ndarray, "room ..."]:
    rows: Float[np.ndarray, ...] = np.zeros((room, *leaves[0].shape), dtype)
    rows[: len(leaves)] = leaves
    return rows
