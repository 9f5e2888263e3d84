"""What this machine can do: operations and bytes per second of the cores in use."""

import time

import numpy as np


def gemm() -> float:
    """Operations per second of a large product of matrices in single precision."""
    a = np.ones((1024, 1024), "f4")
    a @ a
    return max(2 * 1024**3 / _seconds(lambda: a @ a) for _ in range(20))


def bandwidth() -> float:
    """Bytes per second that a copy of 256 MB reads and writes."""
    a = np.ones(2**26, "f4")
    b = np.empty_like(a)
    np.copyto(b, a)
    return max(2 * a.nbytes / _seconds(lambda: np.copyto(b, a)) for _ in range(3))


def _seconds(work) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun
