"""Clipping of cost differences to a few times their running mean magnitude."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

MEMORY = 100
"""The averaging window, in differences."""


class Size(eqx.Module):
    """The running mean of |ΔC|, clipped, over `count` differences."""

    mean: Float[Array, ""]
    count: Int[Array, ""]

    @staticmethod
    def empty() -> "Size":
        """The size before any measurement."""
        return Size(jnp.zeros(()), jnp.int32(0))


def clipped(
    size: Size | tuple[()], change: Float[Array, "*B"], limit: float | None
) -> tuple[Float[Array, "*B"], Size | tuple[()]]:
    """Cost differences clipped to `limit` times their running mean magnitude, and its update.

    ```
    ΔC ← sign(ΔC) min(|ΔC|, limit s),   s ← s + (mean |ΔC| − s) / min(n + 1, 100)
    ```

    The first difference is not clipped, nor is any while s is 0. A size that is too small grows by
    up to limit/100 of itself with every measurement.

    Arguments: the size so far, () for no clipping; ΔC of a measurement, or of each of its samples.
    Source: Huber's ψ with an adaptive scale; the running form is our own.
    """
    if not isinstance(size, Size) or limit is None:
        return change, size
    bound = jnp.where(size.mean > 0, limit * size.mean, jnp.inf)
    change = jnp.clip(change, -bound, bound)
    weight = 1 / jnp.minimum(size.count + 1, MEMORY)
    mean = size.mean + weight * (jnp.mean(jnp.abs(change)) - size.mean)
    return change, Size(mean, size.count + 1)


def unless(skipped: Array, new: Size | tuple[()], old: Size | tuple[()]) -> Size | tuple[()]:
    """The old size if a measurement gave no difference."""
    if not isinstance(new, Size) or not isinstance(old, Size):
        return ()
    return Size(jnp.where(skipped, old.mean, new.mean), jnp.where(skipped, old.count, new.count))
