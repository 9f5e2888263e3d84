"""The columns learned from flips, and the Boolean problem solved on them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import hadamard

from dither.algorithms.boolean_search import (
    error,
    moved,
    neighbours,
    nmse,
    one_opt,
    output,
    quadratic,
    solve,
    steps,
)
from dither.algorithms.readout_columns import (
    flip_columns,
    group,
    group_columns,
    group_count,
    walsh_transform,
)
from dither.networks import PhotonicReservoir
from dither.tasks import MackeyGlass

SOLVE = jax.jit(solve, static_argnames="levels")
GROUPS = jax.jit(jax.vmap(group, in_axes=(0, None)), static_argnums=1)
LEARNED = jax.jit(group_columns)
ONE_OPT = jax.jit(one_opt, static_argnames="levels")


def plain_nmse(outputs, target):
    """Both z-scored, plainly; outputs a row each."""
    y = outputs - outputs.mean(-1, keepdims=True)
    t = (target - target.mean()) / target.std()
    spread = y.std(-1, keepdims=True)
    constant = spread[..., 0] < 1e-9
    z = y / np.where(spread < 1e-9, 1.0, spread)
    return np.where(constant, 1.0, np.mean((z - t) ** 2, -1))


def levels_of(levels):
    return [0.0, 1.0] if levels == 2 else [-1.0, 0.0, 1.0]


def draw(seed, neurons, samples, levels=2):
    """Columns of unequal size with an offset, a target that they only partly reach, weights."""
    g = np.random.default_rng(seed)
    size = np.exp(0.5 * g.standard_normal((neurons, 1)))
    columns = size * (3 + g.standard_normal((neurons, samples)))
    weights = g.choice(levels_of(levels), neurons)
    target = g.choice(levels_of(levels), neurons) @ columns
    target = target + 0.5 * target.std() * g.standard_normal(samples)
    return columns, target, weights


def all_traces(columns, weights, change):
    """The output of every group, from a plain loop."""
    moves = all_groups(len(columns))
    return np.stack([np.where(move, weights + change, weights) @ columns for move in moves])


def all_groups(neurons):
    return np.asarray(GROUPS(jnp.arange(group_count(neurons)), neurons))


def single(x):
    return jnp.asarray(x, jnp.float32)


@pytest.mark.parametrize("neurons", [1, 3, 7, 8, 30])
def test_groups_are_columns_of_a_hadamard_matrix(neurons):
    count = group_count(neurons)
    groups = all_groups(neurons)
    assert neurons + 1 <= count <= 2 * neurons
    np.testing.assert_array_equal(groups, hadamard(count)[:, 1 : neurons + 1] < 0)
    values = np.random.default_rng(0).standard_normal((count, 5))
    np.testing.assert_allclose(walsh_transform(single(values)), hadamard(count) @ values, atol=1e-4)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("neurons", [1, 7, 8, 21])
def test_columns_without_noise_come_back_exactly(neurons, levels):
    columns, _, weights = draw(neurons, neurons, 11, levels)
    change = np.asarray(steps(jnp.asarray(weights), levels))[-1]
    learned = LEARNED(jnp.asarray(all_traces(columns, weights, change)), jnp.asarray(change))
    np.testing.assert_allclose(learned, columns, rtol=1e-10, atol=1e-10)
    flips = np.stack([(weights + np.eye(neurons)[i] * change) @ columns for i in range(neurons)])
    learned = flip_columns(jnp.asarray(weights @ columns), jnp.asarray(flips), jnp.asarray(change))
    np.testing.assert_allclose(learned, columns, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("x64")
def test_noise_left_in_learned_columns():
    neurons, samples, sigma = 50, 400, 0.3
    columns, _, weights = draw(0, neurons, samples)
    change = 1 - 2 * weights
    g = np.random.default_rng(1)
    traces = all_traces(columns, weights, change)
    noisy = traces + sigma * g.standard_normal(traces.shape)
    left = np.asarray(LEARNED(jnp.asarray(noisy), jnp.asarray(change))) - columns
    one_se = np.sqrt(2 / left.size)
    assert np.var(left) == pytest.approx(4 * sigma**2 / len(traces), rel=5 * one_se)
    between = np.corrcoef(left)[np.triu_indices(neurons, 1)]
    assert np.mean(between**2) == pytest.approx(1 / samples, rel=5 * np.sqrt(2 / between.size))

    before = weights @ columns
    reference = before + sigma * g.standard_normal((samples,))
    flips = before + change[:, None] * columns + sigma * g.standard_normal((neurons, samples))
    learned = flip_columns(*(jnp.asarray(a) for a in (reference, flips, change)))
    # the reference's noise is in every column: it averages over the samples alone
    assert np.var(learned - columns) == pytest.approx(2 * sigma**2, rel=5 * np.sqrt(2 / samples))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("levels", [2, 3])
def test_error_of_weights(levels):
    columns, target, _ = draw(5, 12, 40, levels)
    problem = quadratic(jnp.asarray(columns), jnp.asarray(target))
    tried = np.random.default_rng(0).choice(levels_of(levels), (50, 12))
    tried[0] = 0.0
    expected = plain_nmse(tried @ columns, target)
    found = jax.jit(jax.vmap(nmse, in_axes=(None, 0)))(problem, jnp.asarray(tried))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert expected[0] == 1
    assert levels == 2 or expected.max() > 2  # outputs against the target were among them


@pytest.mark.long
def test_small_errors_survive_single_precision():
    g = np.random.default_rng(0)
    target = g.standard_normal(50)
    for size in (1e-1, 1e-2, 1e-3):
        columns = target + size * g.standard_normal((3, 50))
        with jax.enable_x64(True):
            exact = nmse(quadratic(jnp.asarray(columns), jnp.asarray(target)), jnp.ones(3))
        found = nmse(quadratic(single(columns), single(target)), jnp.ones(3))
        np.testing.assert_allclose(found, exact, rtol=1e-3)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("levels", [2, 3])
def test_maintained_outputs_are_the_recomputed_ones(levels):
    columns, target, weights = draw(2, 20, 50, levels)
    problem = quadratic(jnp.asarray(columns), jnp.asarray(target))
    w = jnp.asarray(weights)
    y = output(problem, w)
    g = np.random.default_rng(0)

    @jax.jit
    def take(w, y, k, i):
        d = steps(w, levels)
        predicted = error(*neighbours(problem, y, d))[k, i]
        after = w.at[i].add(d[k, i])
        return predicted, moved(problem, y, i, d[k, i]), after, output(problem, after)

    for _ in range(60):
        k, i = g.integers(levels - 1), g.integers(20)
        predicted, y, w, fresh = take(w, y, k, i)
        np.testing.assert_allclose(predicted, plain_nmse(np.asarray(w) @ columns, target))
        for kept, new in zip(y, fresh):
            np.testing.assert_allclose(kept, new, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("levels", [2, 3])
def test_steps_lead_to_the_other_levels(levels):
    for level in levels_of(levels):
        reached = level + steps(single([level]), levels)[:, 0]
        assert sorted(map(float, reached)) == [v for v in levels_of(levels) if v != level]


@pytest.mark.parametrize("levels", [2, 3])
def test_one_opt_ends_where_no_single_step_helps(levels):
    for seed in range(5):
        columns, target, weights = draw(seed, 30, 60, levels)
        problem = quadratic(single(columns), single(target))
        w = np.asarray(ONE_OPT(problem, single(weights), levels), float)
        here = plain_nmse(w @ columns, target)
        assert here < plain_nmse(weights @ columns, target)
        others = w + np.array([row for step in steps(single(w), levels) for row in np.diag(step)])
        assert np.all(plain_nmse(others @ columns, target) > here * (1 - 1e-4))


@pytest.mark.parametrize(("levels", "neurons"), [(2, 14), (3, 9)])
def test_solve_finds_the_optimum_of_small_problems(levels, neurons):
    every = np.array(list(itertools.product(levels_of(levels), repeat=neurons)))
    found = []
    for seed in range(40):
        columns, target, weights = draw(seed, neurons, 30, levels)
        lowest = plain_nmse(every @ columns, target).min()
        w = SOLVE(jax.random.key(seed), *map(single, (columns, target, weights)), 50, levels=levels)
        reached = plain_nmse(np.asarray(w, float) @ columns, target)
        assert reached >= lowest * (1 - 1e-9)
        found.append(reached < lowest * (1 + 1e-4))
    assert np.mean(found) >= 0.95


def greedy(columns, target, weights, seed):
    """The error that greedy coordinate descent ends with, by the papers' rule, in plain NumPy."""
    g = np.random.default_rng(seed)
    w, bias = weights.copy(), g.random(len(weights))
    y = w @ columns
    e = plain_nmse(y, target)
    for _ in range(15 * len(w)):
        i = np.argmax(g.random(len(w)) * bias)
        bias += 1 / len(w)
        bias[i] = 0
        flipped = y + (1 - 2 * w[i]) * columns[i]
        lower = plain_nmse(flipped, target)
        if lower < e:
            w[i], y, e = 1 - w[i], flipped, lower
    return e


@pytest.mark.long
def test_solve_ends_far_below_greedy_descent_on_a_reservoir():
    series = MackeyGlass().load()
    reservoir = PhotonicReservoir(neurons=100)
    inputs = single(series.inputs)
    target = np.asarray(series.targets, float)[series.train_part]
    for seed in range(3):
        states = reservoir.states(reservoir.fabricate(jax.random.key(seed)), inputs)
        columns = np.asarray(states, float)[series.train_part].T
        weights = np.random.default_rng(seed).integers(0, 2, 100).astype(float)
        w = SOLVE(jax.random.key(seed), *map(single, (columns, target, weights)))
        reached = plain_nmse(np.asarray(w, float) @ columns, target)
        assert reached < 0.75 * greedy(columns, target, weights, seed)


def test_no_sweeps_cost_and_change_nothing():
    columns, target, weights = (single(a) for a in draw(0, 12, 30))
    keys = jax.random.split(jax.random.key(0), 2)
    batch = jax.jit(jax.vmap(solve, in_axes=(0, None, None, None, 0)))
    untouched, solved = batch(keys, columns, target, weights, jnp.array([0, 20]))
    np.testing.assert_array_equal(untouched, weights)
    np.testing.assert_array_equal(solved, SOLVE(keys[1], columns, target, weights, 20))
    # nothing is computed: columns that are not numbers do not matter
    missing = jnp.full_like(columns, jnp.nan)
    np.testing.assert_array_equal(SOLVE(keys[0], missing, target, weights, 0), weights)
