"""Capacity of this machine: operations and bytes per second of the cores in use."""

import time

import numpy as np


def gemm() -> float:
    """Return the operations per second of a large matrix product in the faster of two libraries."""
    import jax
    import jax.numpy as jnp

    a = np.ones((1024, 1024), "f4")
    b, product = jnp.asarray(a), jax.jit(jnp.matmul)
    works = (lambda: a @ a, lambda: product(b, b).block_until_ready())
    return max(2 * 1024**3 / _seconds(work) for work in works for _ in range(20))


def bandwidth() -> float:
    """Return the bytes per second that a copy of 256 MB reads and writes."""
    a = np.ones(2**26, "f4")
    b = np.empty_like(a)
    np.copyto(b, a)
    return max(2 * a.nbytes / _seconds(lambda: np.copyto(b, a)) for _ in range(3))


def _seconds(work) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun
