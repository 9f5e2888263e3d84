"""Replicas side by side: the shared parts of the carry, and the placement on processors."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dither.devices.device import AbstractDevice
from dither.training.loop import Carry


def replica_axes(carry: Carry, device: AbstractDevice) -> Any:
    """The replica axis of each leaf.

    The clock is common to all replicas unless failures separate them. Decisions that depend on the
    clock alone, such as whether an update is due, are then made once instead of once per replica.
    """
    axes = jax.tree.map(lambda _: 0, carry)
    if device.fails:
        return axes
    return eqx.tree_at(
        lambda c: c.algorithm.clock, axes, jax.tree.map(lambda _: None, carry.algorithm.clock)
    )


def replica_sharding(carry: Carry, axes: Any) -> tuple[Mesh, Any] | None:
    """The distribution of replicas over JAX's devices, if there are several that divide them."""
    devices = jax.local_devices()
    replicas = carry.tally.cost.shape[0]
    if len(devices) == 1 or replicas % len(devices):
        return None
    specs = jax.tree.map(
        lambda axis: PartitionSpec() if axis is None else PartitionSpec("replicas"),
        axes,
        is_leaf=lambda axis: axis is None,
    )
    return Mesh(np.array(devices), ("replicas",)), specs


def deal_out(device: AbstractDevice, carry: Carry) -> Carry:
    """Place every replica on its processor."""
    sharding = replica_sharding(carry, replica_axes(carry, device))
    if sharding is None:
        return carry
    mesh, specs = sharding

    def deal(leaf: Any, spec: PartitionSpec) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            words = deal(jax.random.key_data(leaf), spec)
            return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
        # from the host, where splitting an array needs no compiled program
        return jax.device_put(np.asarray(leaf), NamedSharding(mesh, spec))

    dealt: Carry = jax.tree.map(deal, carry, specs)
    return dealt
