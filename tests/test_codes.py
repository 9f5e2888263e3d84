"""Perturbation codes against their defining properties, by brute force in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import hadamard

from dither.codes import CODES, Rademacher, Sequential, Sinusoidal, Walsh
from dither.testing import battery
from dither.testing.code import tables

KEY = jax.random.key(7)
CYCLIC = [Sequential(), Walsh(), Sinusoidal()]
ALL = [*CYCLIC, Rademacher(), Rademacher(density=0.3), Sinusoidal(low=0.1, high=0.4)]


def named(code):
    return code.kind + ("" if code == type(code)() else "-set")


def table(code, size, ticks, first=0):
    return tables(code, size, ticks, KEY[None], first)[0]


TestEveryCode = battery(*CODES.values())
TestOtherSettings = battery(Rademacher(density=0.3), Sinusoidal(low=0.1, high=0.4))


@pytest.mark.parametrize("code", ALL, ids=named)
def test_codes_have_zero_mean_and_their_power(code):
    """Over 300 keys and 48 ticks. Time division is one-sided: its mean is its power."""
    size, keys, ticks = 6, 300, 48
    p = tables(code, size, ticks, jax.random.split(KEY, keys))
    mean, square = p.mean(axis=1), (p**2).mean(axis=1)
    wanted = 1 / size if code.kind == "sequential" else 0.0
    # 5 standard errors over independent keys, and what single precision adds
    error = mean.std(axis=0) / math.sqrt(keys)
    assert np.all(np.abs(mean.mean(axis=0) - wanted) < 5 * error + 1e-6)
    error = square.std(axis=0) / math.sqrt(keys)
    assert np.all(np.abs(square.mean(axis=0) - code.power(size)) < 5 * error + 1e-6)
    assert np.abs(p).max() <= code.peak() + 1e-6
    assert np.abs(p).max() > 0.99 * code.peak()


def test_sequential_is_the_identity_matrix():
    assert np.array_equal(table(Sequential(), 5, 10), np.vstack([np.eye(5), np.eye(5)]))


@pytest.mark.parametrize(("size", "n"), [(5, 8), (8, 8), (9, 16), (100, 128)])
def test_walsh_rows_are_all_rows_of_the_hadamard_matrix_up_to_sign(size, n):
    assert Walsh().cycle(size) == n
    rows = hadamard(n)[:, :size]
    for cycle in range(3):
        p = table(Walsh(), size, n, first=cycle * n)
        match = np.abs(p @ hadamard(n)[:size, :]) if size == n else np.abs(p @ rows.T)
        chosen = match.argmax(axis=1)
        assert np.all(match[np.arange(n), chosen] == size)
        if size == n:
            assert sorted(chosen) == list(range(n))


def test_walsh_order_is_fresh_each_cycle():
    one, two = (np.abs(table(Walsh(), 16, 16, first=f) @ hadamard(16)).argmax(1) for f in (0, 16))
    assert sorted(one) == sorted(two) == list(range(16))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("density", [0.05, 0.5, 1.0])
def test_sparse_rademacher_has_its_density(density):
    p = table(Rademacher(density=density), 500, 200)
    assert set(np.unique(p)) <= {-1.0, 0.0, 1.0}
    # 5 standard errors of a share of 10⁵
    error = math.sqrt(density * (1 - density) / p.size)
    assert abs(np.mean(p != 0) - density) <= 5 * error
    assert abs(p.mean()) < 5 * math.sqrt(density / p.size)


@pytest.mark.parametrize("tick", [0, 1, 12345, 10**9, 2**31 - 1])
def test_sinusoid_is_exact_however_long_the_run(tick):
    """Against whole-number arithmetic: the phase 2³² per turn at a tick, of unlimited size."""
    size = 7
    first, second = table(Sinusoidal(), size, 2)
    # the phase at ticks 0 and 1 gives start and step only up to rounding, so take the code's own
    order, phase = jax.random.split(KEY)
    start = [int(s) for s in jax.random.bits(phase, (size,), jnp.uint32)]
    place = [int(k) for k in jax.random.permutation(order, size)]
    spacing = round(2**31 / (size + 1))
    wanted = [
        math.sqrt(2) * math.sin(2 * math.pi * ((s + (k + 1) * spacing * tick) % 2**32) / 2**32)
        for s, k in zip(start, place)
    ]
    assert sorted(place) == list(range(size))
    now = np.asarray(Sinusoidal()(KEY, jnp.int32(tick), size))
    assert np.allclose(now, wanted, atol=2e-6)  # √2 · 2π · 2⁻²⁴, and the sine's own rounding
    assert not np.allclose(first, second)


@pytest.mark.parametrize("code", ALL, ids=named)
def test_the_key_decides_all_codes_but_time_division(code):
    one, other = (tables(code, 20, 5, jax.random.key(k)[None]) for k in (7, 8))
    assert np.array_equal(one, other) == (code.kind == "sequential")


def test_the_band_needs_room():
    with pytest.raises(ValueError, match="low < high"):
        Sinusoidal(low=0.3, high=0.3)
