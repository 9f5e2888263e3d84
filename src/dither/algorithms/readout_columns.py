"""The columns of a linear readout, learned from its output traces after flips.

The output is y = X w, here with the columns x_i of X as rows, `columns[N, T]`. A step d_i of weight
i changes y by d_i x_i.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def flip_columns(
    reference: Float[Array, " T"], traces: Float[Array, "N T"], steps: Float[Array, " N"]
) -> Float[Array, "N T"]:
    """All columns from the traces after one flip each.

    `x_i = (y_i − y_0) / d_i`; noise of variance σ² per sample leaves 2 σ² / d_i²

    Arguments: `reference`, y_0, the output before any flip, T samples; `traces`, y_i after a step
    of weight i alone; `steps`, d_i ≠ 0, for Boolean weights w before the flip 1 − 2w.
    Source: derived here, checked by the tests.
    """
    return (traces - reference) / steps[:, None]


def group_count(neurons: int) -> int:
    """M, the number of groups: the next power of two ≥ N + 1."""
    return 1 << neurons.bit_length()


def group(number: Int[Array, ""], neurons: int) -> Bool[Array, " N"]:
    """The weights that move together in group k; group 0 is empty.

    Weight i moves if `H_k,i+1 = (−1)^popcount(k & (i + 1)) = −1`, with H the Sylvester Hadamard
    matrix of size M; column 0 of H, all ones, belongs to the constant part of the output.

    Arguments: `number`, k in 0 … M − 1, see `group_count`; N ≥ 1.
    """
    places = jnp.arange(1, neurons + 1, dtype=jnp.uint32)
    return jax.lax.population_count(number.astype(jnp.uint32) & places) % 2 == 1


def group_columns(traces: Float[Array, "M T"], steps: Float[Array, " N"]) -> Float[Array, "N T"]:
    """All columns from the traces of all groups.

    With v_i = d_i x_i, a trace is `Y_k = y_0 + Σ_i v_i/2 − ½ Σ_i H_k,i+1 v_i`, so that

    `v_i = −(2/M) Σ_k H_k,i+1 Y_k`; noise of variance σ² per sample leaves 4 σ² / (M d_i²)

    independent between columns: M/2 times less than single flips, for at most twice as many
    measurements. A fast Walsh-Hadamard transform: O(M log M) per sample.

    Arguments: `traces`, Y_k, the outputs after moving group k = 0 … M − 1; `steps`, d_i ≠ 0, of
    each weight, for Boolean weights w before the flip 1 − 2w.
    Source: derived here, checked by the tests.
    """
    moved = walsh_transform(traces)[1 : steps.size + 1]
    return -2 / len(traces) * moved / steps[:, None]


def walsh_transform(values: Float[Array, "M T"]) -> Float[Array, "M T"]:
    """`Σ_k (−1)^popcount(j & k) values_k` for all j = 0 … M − 1, M a power of two."""
    size, samples = values.shape
    half = 1
    while half < size:
        pairs = values.reshape(-1, 2, half, samples)
        values = jnp.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1)
        half *= 2
    return values.reshape(size, samples)
