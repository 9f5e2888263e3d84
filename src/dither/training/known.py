"""What many probes of one batch and one θ have in common, computed once.

The layers before the perturbed one; or, where the z of several are added to, z of the first.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dither.algorithms.algorithm import AbstractAlgorithm
from dither.contract import Known, Reference
from dither.devices.device import AbstractDevice
from dither.tasks.task import Task
from dither.training.loop import Carry
from dither.training.settings import vary


class Kept(eqx.Module):
    """What is known of the reference pass (see `Known`), and whether it is to be computed anew.

    They are no part of a run: a loop begins with none, and computes them by the same code.
    """

    inputs: tuple[Float[Array, "B ..."], ...]
    stale: Bool[Array, ""]


def _reference(
    algorithm: AbstractAlgorithm, device: AbstractDevice, carry: Carry
) -> Reference | None:
    """The reference of the next probe, its layers numbered as the device's; None if not shared."""
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
    device: AbstractDevice, reference: Reference, x: Float[Array, "B ..."]
) -> tuple[Float[Array, "B ..."], ...]:
    """What probes have in common with their reference, whose batch is x."""
    if reference.first is None:
        return x, device.first_z(reference.parameters, x)
    return device.inputs_of_layers(reference.parameters, x)


def nothing_kept(
    algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task, carry: Carry, replicas: int
) -> tuple[Kept | None, Any]:
    """What a loop of some replicas begins with, `carry` being one; and which axis counts them.

    None where probes share nothing with a reference.
    """
    reference = _reference(algorithm, device, carry)
    if reference is None or task.sampler.learns:
        return None, None
    batch = jax.ShapeDtypeStruct((task.batch, *task.inputs.shape[1:]), task.inputs.dtype)
    shapes = jax.eval_shape(partial(_shared, device, reference), batch)
    inputs = tuple(jnp.zeros((replicas, *x.shape), x.dtype) for x in shapes)
    kept = Kept(inputs, jnp.asarray(True))
    return kept, eqx.tree_at(lambda k: k.stale, jax.tree.map(lambda _: 0, kept), None)


def keep(
    algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task, carry: Carry, kept: Kept
) -> tuple[Kept, Known]:
    """What is kept for the next probe, computed anew if its reference is another, and its use."""
    algorithm = vary(algorithm, "algorithm", carry.varied)
    device = vary(device, "device", carry.varied)
    reference = _reference(algorithm, device, carry)
    assert reference is not None

    def anew() -> tuple[Float[Array, "B ..."], ...]:
        sampling = task.sampler.begin(carry.sampling, reference.batch_index)
        rows = task.sample(carry.data, reference.batch_index, sampling)
        return _shared(device, reference, task.inputs[rows])

    inputs = jax.lax.cond(reference.new | kept.stale, anew, lambda: kept.inputs)
    return Kept(inputs, jnp.asarray(False)), Known(inputs, reference.first)
