"""3×3 convolutions and 2×2 pooling, channels last."""

from itertools import product

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dither.contract import Parameters

KERNEL = 3
POOL = 2

FEW, SEVERAL = 3, 8
"""The input channels up to which a CPU convolves by shifts and by products (measured)."""


def convolve_same(own: Parameters, x: Float[Array, "B h w p"]) -> Float[Array, "B h w q"]:
    return convolve_valid(own, _padded(x))


def _padded(x: Float[Array, "B h w p"]) -> Float[Array, "B h2 w2 p"]:
    one = KERNEL // 2
    return jnp.pad(x, ((0, 0), (one, one), (one, one), (0, 0)))


def patches_same(x: Float[Array, "B h w p"]) -> Float[Array, "B h w m"]:
    return patches(_padded(x))


def patches(x: Float[Array, "B h w p"]) -> Float[Array, "B h2 w2 m"]:
    """The 3×3 patches, with values in the order of a kernel: row, column, channel."""
    rows, columns = (size - KERNEL + 1 for size in x.shape[1:3])
    shifts = product(range(KERNEL), repeat=2)
    return jnp.concatenate([x[:, i : i + rows, j : j + columns] for i, j in shifts], axis=-1)


def convolve_valid(own: Parameters, x: Float[Array, "B h w p"]) -> Float[Array, "B h2 w2 q"]:
    """`z = x ∗ W + b`."""
    return _correlate(x, own["weight"]) + own["bias"]


@jax.custom_jvp
def _correlate(
    x: Float[Array, "B h w p"], kernel: Float[Array, "3 3 p q"]
) -> Float[Array, "B h2 w2 q"]:
    """`z(h, w) = Σ_ij x(h + i, w + j) W_ij`."""
    p, q = kernel.shape[-2:]
    if p > SEVERAL:
        return _correlate_at_once(x, kernel)
    by_shifts = p <= FEW or p * q <= 2 * SEVERAL
    z: Float[Array, "B h2 w2 q"] = jax.lax.platform_dependent(
        x,
        kernel,
        cpu=_correlate_by_shifts if by_shifts else _correlate_by_products,
        default=_correlate_at_once,
    )
    return z


def _correlate_at_once(
    x: Float[Array, "B h w p"], kernel: Float[Array, "3 3 p q"]
) -> Float[Array, "B h2 w2 q"]:
    z: Float[Array, "B h2 w2 q"] = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return z


def _correlate_by_shifts(
    x: Float[Array, "B h w p"], kernel: Float[Array, "3 3 p q"]
) -> Float[Array, "B h2 w2 q"]:
    """Convolve with the examples as the last axis, the long inner loop."""
    rows, columns = (size - KERNEL + 1 for size in x.shape[1:3])
    channels = jnp.moveaxis(x, (3, 0), (0, 3))
    shifts = list(product(range(x.shape[-1]), range(KERNEL), range(KERNEL)))

    def one(kernel: Float[Array, "3 3 p"]) -> Float[Array, "h2 w2 B"]:
        z = jnp.zeros((), x.dtype)
        for c, i, j in shifts:
            z = z + kernel[i, j, c] * channels[c, i : i + rows, j : j + columns]
        return z

    z: Float[Array, "q h2 w2 B"] = jax.lax.map(one, jnp.moveaxis(kernel, 3, 0))
    return jnp.moveaxis(z, (0, 3), (3, 0))


def _correlate_by_products(
    x: Float[Array, "B h w p"], kernel: Float[Array, "3 3 p q"]
) -> Float[Array, "B h2 w2 q"]:
    """The same by three matrix products, whose derivatives are also matrix products."""
    rows, columns = (size - KERNEL + 1 for size in x.shape[1:3])
    beside = jnp.concatenate([x[:, :, j : j + columns] for j in range(KERNEL)], axis=-1)
    flat = kernel.reshape(KERNEL, -1, kernel.shape[-1])
    products = [jnp.dot(beside[:, i : i + rows], flat[i]) for i in range(KERNEL)]
    return products[0] + products[1] + products[2]


_correlate.defjvps(
    lambda change, _, __, kernel: _correlate_by_products(change, kernel),
    lambda change, _, x, __: _correlate_by_products(x, change),
)


def pool(x: Float[Array, "B h w q"]) -> Float[Array, "B h2 w2 q"]:
    """The largest of every 2×2 values; equal values share the derivative."""
    height, width = (size // POOL * POOL for size in x.shape[1:3])
    x = x[:, :height, :width]
    rows = jnp.maximum(x[:, ::POOL], x[:, 1::POOL])
    return jnp.maximum(rows[:, :, ::POOL], rows[:, :, 1::POOL])


def pool_and_flatten(x: Float[Array, "B h w q"]) -> Float[Array, "B p"]:
    return pool(x).reshape(x.shape[0], -1)
