"""Reuse of the computation that many probes of one batch and one θ share.

The shared part is the layers before the perturbed one or, if the z of several layers are perturbed,
the z of the first.
"""

from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dither.algorithms.algorithm import AbstractAlgorithm
from dither.contract import Known, Reference
from dither.devices.device import AbstractDevice
from dither.tasks.task import Task
from dither.training.loop import Carry
from dither.training.settings import vary

Shared: TypeAlias = tuple[tuple[Float[Array, "..."], ...], Int[Array, "..."] | None]
"""Inputs and samples, as in `Known`."""


class Kept(eqx.Module):
    """The known part of the reference pass (see `Known`), and whether it must be recomputed.

    It is not part of a run's state: a loop begins without it and computes it by the same code.
    """

    known: Shared
    stale: Bool[Array, ""]


def _reference(
    algorithm: AbstractAlgorithm, device: AbstractDevice, carry: Carry
) -> Reference | None:
    """The reference of the next probe, with the device's layer numbers; None if not shared."""
    names = device.in_layers
    reference = algorithm.reference(carry.algorithm) if names or device.shares_z else None
    if reference is None:
        return None
    if reference.first is None:
        return reference if device.shares_z else None
    if set(reference.names) != set(names):
        return None
    numbers = [names.index(name) for name in reference.names]
    return replace(reference, first=jnp.array([*numbers, len(names)])[reference.first])


def _shared(
    device: AbstractDevice, task: Task, reference: Reference, rows: Int[Array, " B"]
) -> Shared:
    """The part that probes share with their reference, for those samples.

    The whole training set is not kept: all replicas read the same copy.
    """
    x = task.inputs[rows]
    if reference.first is not None:
        return device.inputs_of_layers(reference.parameters, x), None
    z = device.first_z(reference.parameters, x)
    return ((z,), None) if task.batch >= len(task.inputs) else ((x, z), rows)


def nothing_kept(
    algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task, carry: Carry, replicas: int
) -> tuple[Kept | None, Any]:
    """The initial value for a loop over replicas with one `carry`, and the replica axes.

    None if probes share nothing with a reference.
    """
    reference = _reference(algorithm, device, carry)
    if reference is None or task.sampler.learns:
        return None, None
    rows = jax.ShapeDtypeStruct((task.batch,), jnp.int32)
    shapes = jax.eval_shape(partial(_shared, device, task, reference), rows)
    nothing = jax.tree.map(lambda x: jnp.zeros((replicas, *x.shape), x.dtype), shapes)
    kept = Kept(nothing, jnp.asarray(True))
    return kept, eqx.tree_at(lambda k: k.stale, jax.tree.map(lambda _: 0, kept), None)


def keep(
    algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task, carry: Carry, kept: Kept
) -> tuple[Kept, Known]:
    """The part kept for the next probe, recomputed if its reference differs, and its use."""
    algorithm = vary(algorithm, "algorithm", carry.varied)
    device = vary(device, "device", carry.varied)
    reference = _reference(algorithm, device, carry)
    assert reference is not None

    def anew() -> Shared:
        sampling = task.sampler.begin(carry.sampling, reference.batch_index)
        rows = task.sample(carry.data, reference.batch_index, sampling).astype(jnp.int32)
        return _shared(device, task, reference, rows)

    inputs, rows = known = jax.lax.cond(reference.new | kept.stale, anew, lambda: kept.known)
    return Kept(known, jnp.asarray(False)), Known(inputs, reference.first, rows)
