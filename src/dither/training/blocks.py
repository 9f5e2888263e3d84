"""Blocks of probes for a Python device: asked for together, and told together."""

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

BLOCK_BYTES = 2**23
"""The most that the settings of a block take in double precision, unless one alone takes more."""


def largest_block(parameters: int) -> int:
    """The most probes of so many parameters that are asked for at once."""
    fits = BLOCK_BYTES // (8 * max(parameters, 1))
    return max(room for room in ROOMS if room <= max(fits, 1))


class Asked(NamedTuple):
    """K probes, the samples of their batches, and the K + 1 moments before and after them.

    In containers that JAX takes apart without Python; `parameters` are the places and the values
    of sparse writes.
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
        """The moment of the k-th probe."""
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
    """The next K probes. An ask moves nothing but the clock: the moments first, then side by side.

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
    """Tell the first n probes of a block; readings are costs, or outputs from which they come.

    `taken_off` is what has been taken off costs; `known`, each sample's cost less that, where it
    was computed before. A sampler that learns is told blocks of one probe.
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
    """How a pytree is taken apart into arrays, random keys into their data, and put together.

    What is compiled takes and returns such rows of arrays: JAX needs tens of microseconds to take
    a pytree of classes apart, and more where it holds a key.
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
        """The pytree of some arrays."""
        back = [jax.random.wrap_key_data(x, impl=k) if k else x for x, k in zip(leaves, self.keys)]
        return jax.tree.unflatten(self.structure, back)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


@cache
def compiled(
    algorithm: AbstractAlgorithm, states: Layout, tasks: Layout, keys: Layout
) -> tuple[Asking, Telling]:
    """`ask_block` and `tell_block` of an algorithm, compiled for arrays in a row.

    What is told, the states of the algorithm and of the sampler, is given up for what is returned.
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
    """Readings one behind the other, with zeros where there are no more."""
    first, *others = readings
    if isinstance(first, np.ndarray):
        return _filled(room, dtype, readings)
    stack: Readings = jax.tree.map(lambda *leaves: _filled(room, dtype, leaves), first, *others)
    return stack


def _filled(room: int, dtype: np.dtype, leaves: Sequence[Any]) -> Float[np.ndarray, "room ..."]:
    rows: Float[np.ndarray, ...] = np.zeros((room, *leaves[0].shape), dtype)
    rows[: len(leaves)] = leaves
    return rows
