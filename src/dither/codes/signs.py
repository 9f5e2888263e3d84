"""Random signs that use one random bit each."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32

WORD = 32


def random_signs(key: Key[Array, ""], size: int) -> Float[Array, " P"]:
    """`size` independent signs ±1 drawn as packed words, one random bit per sign."""
    words = jax.random.bits(key, (-(-size // WORD),), jnp.uint32)
    return unpack_signs(words, size)


def unpack_signs(words: UInt32[Array, " W"], size: int) -> Float[Array, " P"]:
    """Bit b of the packed words as the sign 1 − 2 b."""
    bits = (words[:, None] >> jnp.arange(WORD, dtype=jnp.uint32)) & 1
    return 1.0 - 2.0 * bits.reshape(-1)[:size].astype(jnp.result_type(float))
