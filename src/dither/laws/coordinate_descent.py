"""The decrease of the error of a Boolean readout when mirrors are tested one by one.

The error is f(w) = |t − X w|² with w in {0, 1}ᴺ. A test flips one w_i and keeps the flip if the
error fell. Derived here, checked by the tests.
"""

import numpy as np
from jaxtyping import Bool, Float, Num

from dither._errors import RequestError


def uniform_excess(
    neurons: int, tests: Num[np.ndarray, "..."] | float | int
) -> Float[np.ndarray, "..."]:
    """The mean share of the excess error that remains after k tests of uniformly drawn mirrors.

    `E[f_k − f*] / (f_0 − f*) = (1 − 1/N)^k`, exact for orthogonal columns: a mirror is correct from
    its first test on, and this is the probability that k draws miss it.

    Arguments: N ≥ 1; k ≥ 0, the tests, one number or many.
    """
    return np.asarray((1.0 - 1.0 / neurons) ** np.asarray(tests, float))


def sweep_excess(
    neurons: int, tests: Num[np.ndarray, "..."] | float | int
) -> Float[np.ndarray, "..."]:
    """The mean share of the excess error that remains after k tests of a sweep in random order.

    `E[f_k − f*] / (f_0 − f*) = max(0, 1 − k/N)`, exact for orthogonal columns; the *greedy* rule
    of the papers is in effect such a sweep.

    Arguments: N ≥ 1; k ≥ 0, the tests, one number or many.
    """
    return np.asarray(np.maximum(0.0, 1.0 - np.asarray(tests, float) / neurons))


def initial_fall(
    amplitudes: Float[np.ndarray, " N"],
    weights: Num[np.ndarray, " N"] | Bool[np.ndarray, " N"],
    optimum: Float[np.ndarray, " N"],
    error: float,
    samples: int,
) -> float:
    """The expected decrease of the error in the first test of a random mirror, for random columns.

    With s_i = 1 − 2 w_i and residual r = t − X w, a flip decreases the error by
    `2 s_i ⟨x_i, r⟩ − a_i²`, and is kept if that is positive. The column's own part of r and the
    crosstalk of the others make it normal with

    `m_i = a_i² (2 s_i (w*_i − w_i) − 1)`, `v_i = 2 a_i √((f − a_i² (w*_i − w_i)²) / T)`

    so that the expected fall is `mean_i [m_i Φ(m_i/v_i) + v_i φ(m_i/v_i)]`. The crosstalk is
    quenched, so this is valid for the first tests only.

    Arguments: `amplitudes`, a_i = |x_i| > 0, the norms of N columns whose T entries are independent
    normal; `weights`, w in {0, 1}; `optimum`, w*, the best real-valued weights; `error`, f = |X (w*
    − w)|² (without the part that real weights cannot reach); `samples`, T.
    Errors: `RequestError` for weights other than 0 and 1.
    """
    w = np.asarray(weights, float)
    if not np.all((w == 0) | (w == 1)):
        raise RequestError("The weights of a Boolean readout must be 0 or 1.")
    squared, missing = amplitudes**2, optimum - w
    m = squared * (2 * (1 - 2 * w) * missing - 1)
    crosstalk = np.maximum(error - squared * missing**2, 0.0)
    v = np.maximum(2 * amplitudes * np.sqrt(crosstalk / samples), 1e-12 * squared)
    z = m / v
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    from scipy.special import ndtr

    return float(np.mean(m * ndtr(z) + v * density))
