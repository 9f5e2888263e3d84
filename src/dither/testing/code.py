"""The test battery of perturbation codes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Key

from dither.codes import AbstractCode
from dither.testing.settings import SettingsBattery

KEY = jax.random.key(7)


def tables(
    code: AbstractCode, size: int, ticks: int, keys: Key[Array, " K"], first: int = 0
) -> Float[np.ndarray, "K T P"]:
    """The code's values for each key at each tick."""
    times = jnp.arange(first, first + ticks, dtype=jnp.int32)
    over = jax.vmap(jax.vmap(lambda k, t: code(k, t, size), (None, 0)), (0, None))
    return np.asarray(jax.jit(over)(keys, times), np.float64)


class CodeBattery(SettingsBattery):
    """A code is a pure function, orthogonal on average, with its declared power and kappa."""

    def test_it_is_a_pure_function_of_key_and_tick(self, subject: AbstractCode) -> None:
        at = jax.jit(lambda key, tick: subject(key, tick, 20))
        forwards = [np.asarray(at(KEY, jnp.int32(t))) for t in range(5)]
        backwards = [np.asarray(at(KEY, jnp.int32(t))) for t in reversed(range(5))]
        assert all(np.array_equal(a, b) for a, b in zip(forwards, reversed(backwards)))
        assert all(p.shape == (20,) for p in forwards)

    def test_parameters_are_told_apart_with_its_power(self, subject: AbstractCode) -> None:
        """`<p_i p_j> = power [i = j]` over 3000 keys and a cycle, 5 standard errors."""
        size, keys = 6, 3000
        p = tables(subject, size, subject.cycle(size) or 12, jax.random.split(KEY, keys))
        each = np.einsum("kti,ktj->kij", p, p) / p.shape[1]
        error = each.std(axis=0) / math.sqrt(keys)
        off = np.abs(each.mean(axis=0) - subject.power(size) * np.eye(size))
        assert np.all(off < 5 * error + 1e-5)

    def test_its_peak_is_reached_and_not_passed(self, subject: AbstractCode) -> None:
        p = np.abs(tables(subject, 6, 48, jax.random.split(KEY, 300)))
        assert 0.99 * subject.peak() < p.max() <= subject.peak() + 1e-6

    @pytest.mark.parametrize("size", [1, 2, 9, 16, 33])
    def test_it_is_orthogonal_over_any_whole_cycle(self, subject: AbstractCode, size: int) -> None:
        if (cycle := subject.cycle(size)) is None:
            pytest.skip("has no cycle")
        assert cycle >= size
        for first in (0, 3 * cycle):
            p = tables(subject, size, cycle, KEY[None], first)[0]
            # single precision: phases to 2⁻²⁴ of a turn
            wanted = subject.power(size) * np.eye(size)
            assert np.allclose(p.T @ p / cycle, wanted, atol=2e-6 * size)

    def test_its_kappa_is_that_of_its_estimates(self, subject: AbstractCode) -> None:
        """`E|G|²/|g|² − 1` of `G = (g·p) p / power` for random g, over keys and a cycle."""
        size, keys = 9, 3000
        g = np.random.default_rng(0).standard_normal(size)
        p = tables(subject, size, subject.cycle(size) or 12, jax.random.split(KEY, keys))
        G = (p @ g)[..., None] * p / subject.power(size)
        growth = ((G**2).sum(axis=2) / (g @ g)).mean(axis=1)
        error = growth.std() / math.sqrt(keys)
        assert abs(growth.mean() - 1 - subject.kappa(size)) < 5 * error + 1e-4
        assert error < 0.03 * size
