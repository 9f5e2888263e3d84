"""The hash without a loop draws what JAX draws, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dither._threefry import random_key

DRAWS = {
    "normal": lambda key: jax.random.normal(key, (3, 5)),
    "uniform": lambda key: jax.random.uniform(key, (70,)),
    "randint": lambda key: jax.random.randint(key, (4,), 0, 77),
    "one": lambda key: jax.random.randint(key, (), 0, 77),
    "bytes": lambda key: jax.random.bits(key, (9,), jnp.uint8),
    "permutation": lambda key: jax.random.permutation(key, 11),
    "split": lambda key: jax.random.key_data(jax.random.split(key, (2, 3))),
    "folded": lambda key: jax.random.bits(jax.random.fold_in(key, jnp.int32(-3)), (40,)),
    "side by side": lambda key: jax.vmap(
        lambda n: jax.random.bits(jax.random.fold_in(key, n), (6,))
    )(jnp.arange(4)),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("seed", [0, 7, 2**31 - 1, -5])
def test_the_same_numbers_as_jax(draw, seed, compiled):
    drawn = jax.jit(draw) if compiled else draw
    assert np.array_equal(drawn(random_key(seed)), drawn(jax.random.key(seed)))


@pytest.mark.usefixtures("x64")
def test_the_same_numbers_in_double_precision():
    for seed in (3, 2**40 + 1, -1):
        ours, theirs = random_key(seed), jax.random.key(seed)
        assert np.array_equal(jax.random.normal(ours, (50,)), jax.random.normal(theirs, (50,)))
        assert np.array_equal(jax.random.key_data(ours), jax.random.key_data(theirs))


def test_too_many_numbers_at_once_are_refused():
    with pytest.raises(ValueError, match="at most 2\\^32"):
        jax.jit(lambda: jax.random.bits(random_key(0), (2**17, 2**16))).lower()
