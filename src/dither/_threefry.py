"""JAX's own random numbers without a loop in the hash.

On CPUs, JAX compiles Threefry to a loop of five steps, each of which takes longer than the forward
pass of a small network. Unrolled, the hash is one fused operation. The numbers are identical bit
for bit: `random_key(seed)` and `jax.random.key(seed)` draw the same. To JAX they are two key types,
which cannot be the two branches of a conditional; `key_for` gives foreign code JAX's own type. A
run begins with keys of a third type, which compile faster: `first_key` and `lasting`.

Source: Salmon2011 (Threefry-2x32, 20 rounds).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt, UInt32
from pydantic import BaseModel

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)


Words: TypeAlias = tuple[UInt32[Array, "*S"], UInt32[Array, "*S"]]


@partial(jax.jit, inline=True)  # traced once for each shape, and compiled as if written out
def threefry(key: UInt32[Array, "2"], x0: UInt32[Array, "*S"], x1: UInt32[Array, "*S"]) -> Words:
    """Two words of a counter, hashed with a key.

    Twenty rounds of `x0 ← x0 + x1, x1 ← (x1 ⋘ r) ⊕ x0`, a word of the key added after every four.
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ PARITY)
    x0, x1 = x0 + schedule[0], x1 + schedule[1]
    for step in range(5):
        for r in ROTATIONS[step % 2]:
            x0 = x0 + x1
            x1 = ((x1 << np.uint32(r)) | (x1 >> np.uint32(32 - r))) ^ x0
        x0 = x0 + schedule[(step + 1) % 3]
        x1 = x1 + schedule[(step + 2) % 3] + np.uint32(step + 1)
    return x0, x1


def _counters(shape: tuple[int, ...]) -> Words:
    """The indices of an array, from 0, as high and low words."""
    size = int(np.prod(shape))
    if size >= 2**32:
        raise ValueError(f"at most 2^32 random numbers are drawn at once, not {size}")
    low = jax.lax.iota(jnp.uint32, size).reshape(shape)
    return jnp.zeros_like(low), low


def _seed(seed: Int[Array, ""]) -> UInt32[Array, "2"]:
    wide = seed.dtype.itemsize > 4
    high = (seed >> 32).astype(jnp.uint32) if wide else jnp.zeros_like(seed, jnp.uint32)
    return jnp.stack([high, seed.astype(jnp.uint32)])


def _split(key: UInt32[Array, "2"], shape: tuple[int, ...]) -> UInt32[Array, "... 2"]:
    return jnp.stack(threefry(key, *_counters(shape)), axis=-1)


def _fold_in(key: UInt32[Array, "2"], data: Any) -> UInt32[Array, "2"]:
    return jnp.stack(threefry(key, jnp.zeros_like(data), data))


def _bits(key: UInt32[Array, "2"], width: int, shape: tuple[int, ...]) -> UInt[Array, "..."]:
    def hashed() -> Words:
        words: Words = threefry(key, *_counters(shape))
        return words

    return _joined(hashed() if np.prod(shape) == 1 else _once(key, hashed), width)


def _first_bits(key: UInt32[Array, "2"], width: int, shape: tuple[int, ...]) -> UInt[Array, "..."]:
    return _joined(threefry(key, *_counters(shape)), width)


def _joined(words: Words, width: int) -> UInt[Array, "..."]:
    high, low = words
    if width == 64:
        return (high.astype(jnp.uint64) << 32) | low.astype(jnp.uint64)
    return (high ^ low).astype(f"uint{width}")


def _once(key: UInt32[Array, "2"], words: Callable[[], Words]) -> Words:
    """Words that are computed once, in a loop whose single iteration the compiler cannot foresee.

    If the hash were fused with its uses, such as 32 signs drawn from one word, it would be computed
    again for each use.
    """
    turns = jnp.where((key[0] >> 31) > 1, 2, 1)
    nothing = jax.tree.map(lambda w: jnp.zeros(w.shape, w.dtype), jax.eval_shape(words))
    after: Words = jax.lax.while_loop(
        lambda turn: turn[0] < turns, lambda turn: (turn[0] + 1, words()), (0, nothing)
    )[1]
    return after


def _implementation(random_bits: Callable[..., Any], name: str, tag: str) -> Any:
    return jex.random.define_prng_impl(
        key_shape=(2,), seed=_seed, split=_split, random_bits=random_bits, fold_in=_fold_in,
        name=name, tag=tag,
    )  # fmt: skip


IMPLEMENTATION = _implementation(_bits, "threefry2x32_without_loop", "fry")
FIRST = _implementation(_first_bits, "threefry2x32_written_out", "fry1")


def random_key(seed: int | Int[Array, ""]) -> Key[Array, ""]:
    """The key of a seed; it draws the same numbers as `jax.random.key(seed)`."""
    return jax.random.key(seed, impl=IMPLEMENTATION)


def first_key(seed: int | Int[Array, ""]) -> Key[Array, ""]:
    """As `random_key`, with faster compilation, for programs that draw little and run once.

    The compiler may compute the hash again for each use of a number.
    """
    return jax.random.key(seed, impl=FIRST)


def lasting(tree: Any) -> Any:
    """A pytree with each key of `first_key` as that of `random_key`, which draws the same."""

    def last(leaf: Any) -> Any:
        if not jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
            return leaf
        if jax.random.key_impl(leaf) != FIRST:
            return leaf
        return jax.random.wrap_key_data(jax.random.key_data(leaf), impl=IMPLEMENTATION)

    return jax.tree.map(last, tree)


def key_for(part: Any, key: Key[Array, "*S"]) -> Key[Array, "*S"]:
    """A key for a part of a run: JAX's own type if foreign code may combine it with other keys.

    Arguments: an algorithm or a device, with its parts; a key of either type.
    Returns: a key that draws the same.
    """
    if _ours(part):
        return key
    own: Key[Array, "*S"] = jax.random.wrap_key_data(jax.random.key_data(key), impl="threefry2x32")
    return own


def _ours(part: Any) -> bool:
    """Whether every class in a configuration belongs to dither."""
    if isinstance(part, BaseModel):
        return type(part).__module__.startswith("dither.") and all(_ours(v) for _, v in part)
    if isinstance(part, Mapping):
        return all(map(_ours, part.values()))
    return all(map(_ours, part)) if isinstance(part, tuple | list) else True
