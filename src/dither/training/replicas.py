"""Replicas dealt out over the machine's devices."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dither.training.loop import Carry


def replica_sharding(carry: Carry, axes: Any) -> tuple[Mesh, Any] | None:
    """Replicas dealt out over the machine's devices, where there are several and it comes out."""
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


def deal_out(carry: Carry, axes: Any) -> Carry:
    """Place every replica on the processor that will run it."""
    sharding = replica_sharding(carry, axes)
    if sharding is None:
        return carry
    mesh, specs = sharding
    dealt: Carry = jax.tree.map(
        lambda leaf, spec: jax.device_put(leaf, NamedSharding(mesh, spec)), carry, specs
    )
    return dealt
