"""The effect of a probe on a traceable device: its write and its perturbation of neurons."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from dither.contract import Probe
from dither.devices.device import AbstractDevice


def written(
    device: AbstractDevice, instance: Any, probe: Probe, first_try: Bool[Array, ""]
) -> tuple[Any, Int[Array, ""]]:
    """The device after a probe's write, if there is one, and the number of writes."""

    def write() -> Any:
        return device.write(instance, probe.parameters, probe.updated & first_try)

    if probe.changed is True:
        return write(), jnp.int32(1)
    needed = probe.changed | ~first_try if device.fails else jnp.asarray(probe.changed)
    after: Any = jax.lax.cond(needed, write, lambda: instance)
    return after, needed.astype(jnp.int32)


def perturbed(probe: Probe) -> Int[Array, ""]:
    """1 if the sites are perturbed, else 0."""
    added = [jnp.any(value != 0) for value in (probe.sites or {}).values()]
    return jnp.any(jnp.array(added, bool)).astype(jnp.int32)
