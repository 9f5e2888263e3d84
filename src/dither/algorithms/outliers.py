"""Cost differences clipped to a few times their running size."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

MEMORY = 100
"""Differences over which the size is averaged."""


class Size(eqx.Module):
    """The running mean of |ΔC|, clipped, over `count` differences."""

    mean: Float[Array, ""]
    count: Int[Array, ""]

    @staticmethod
    def empty() -> "Size":
        """Nothing measured yet."""
        return Size(jnp.zeros(()), jnp.int32(0))


def clipped(
    size: Size | tuple[()], change: Float[Array, "*B"], limit: float | None
) -> tuple[Float[Array, "*B"], Size | tuple[()]]:
    """Cost differences no larger than `limit` times their running size, and the size after them.

    ```
    ΔC ← sign(ΔC) min(|ΔC|, limit s),   s ← s + (mean |ΔC| − s) / min(n + 1, 100)
    ```

    The first ones are not clipped, nor any while s is 0. A size that has become too small grows by
    up to limit/100 of itself with every measurement.

    Arguments: the size so far, () where nothing is clipped; ΔC of a measurement, or of each of its
    samples. Source: Huber's ψ with a scale that follows; the running form is ours.
    """
    if not isinstance(size, Size) or limit is None:
        return change, size
    bound = jnp.where(size.mean > 0, limit * size.mean, jnp.inf)
    change = jnp.clip(change, -bound, bound)
    weight = 1 / jnp.minimum(size.count + 1, MEMORY)
    mean = size.mean + weight * (jnp.mean(jnp.abs(change)) - size.mean)
    return change, Size(mean, size.count + 1)


def unless(skipped: Array, new: Size | tuple[()], old: Size | tuple[()]) -> Size | tuple[()]:
    """The old size where a measurement gave no difference."""
    if not isinstance(new, Size) or not isinstance(old, Size):
        return ()
    return Size(jnp.where(skipped, old.mean, new.mean), jnp.where(skipped, old.count, new.count))
