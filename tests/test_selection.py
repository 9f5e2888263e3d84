"""Selection rules against plain NumPy versions and the frequencies that define them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy.stats import chi2

from dither import RequestError
from dither.algorithms.selection import (
    SELECTIONS,
    AmplitudeWeighted,
    AnySelection,
    Cyclic,
    Greedy,
    Priority,
    Uniform,
)

KEY = jax.random.key(11)
ALL = [rule() for rule in SELECTIONS.values()]


def mirrors_tested(rule, size, count, falls=None, key=KEY):
    """The mirrors that a rule tests, falls[i] being what mirror i's flip lowers the error by."""
    falls = jnp.zeros(size) if falls is None else jnp.asarray(falls)

    def test(memory, key):
        place = rule.choose(memory, key)
        return rule.learn(memory, key, place, falls[place], falls[place] > 0), place

    scan = jax.jit(lambda keys: jax.lax.scan(test, rule.init(size), keys)[1])
    return np.asarray(scan(jax.random.split(key, count)))


def assert_frequencies(places, chances):
    """Pearson's chi-square at a level of 1e-5."""
    counts, wanted = np.bincount(places, minlength=len(chances)), len(places) * chances
    statistic = np.sum((counts - wanted) ** 2 / wanted)
    assert statistic < chi2.isf(1e-5, len(chances) - 1)


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.kind)
def test_rules_run_batched_as_they_do_alone(rule):
    size, falls = 6, jnp.array([0.3, -0.1, -0.2, 0.1, -0.4, -0.5])

    def step(memory, key):
        place = rule.choose(memory, key)
        return rule.learn(memory, key, place, falls[place], falls[place] > 0), place

    def many(key):
        return jax.lax.scan(step, rule.init(size), jax.random.split(key, 40))[1]

    keys = jax.random.split(KEY, 3)
    batched = np.asarray(jax.vmap(many)(keys))
    assert np.array_equal(batched, np.stack([many(key) for key in keys]))
    assert batched.min() >= 0
    assert batched.max() < size
    assert not np.array_equal(batched[0], batched[1])


@pytest.mark.parametrize("kind", sorted(SELECTIONS))
def test_rules_are_asked_for_by_kind(kind):
    rule = TypeAdapter(AnySelection).validate_python(kind)
    assert type(rule) is SELECTIONS[kind]
    assert rule.kind == kind


def test_uniform_tests_all_mirrors_equally_often():
    places = mirrors_tested(Uniform(), 20, 20_000)
    assert_frequencies(places, np.full(20, 1 / 20))
    pairs = 20 * places[::2] + places[1::2]
    assert_frequencies(pairs, np.full(400, 1 / 400))


def test_cyclic_tests_every_mirror_once_a_sweep_in_a_fresh_order():
    size, sweeps = 7, 6000
    orders = mirrors_tested(Cyclic(), size, size * sweeps).reshape(sweeps, size)
    assert np.array_equal(np.sort(orders, axis=1), np.tile(np.arange(size), (sweeps, 1)))
    for place in range(size):
        assert_frequencies(orders[:, place], np.full(size, 1 / size))
    # the order of a sweep says nothing of that of the next one
    assert_frequencies(size * orders[:-1:2, 0] + orders[1::2, 0], np.full(size**2, 1 / size**2))


def test_greedy_is_the_published_equation():
    size, count = 30, 300
    places = mirrors_tested(Greedy(), size, count)
    bias = np.ones(size, np.float32)
    for key, place in zip(jax.random.split(KEY, count), places):
        select = np.asarray(jax.random.uniform(key, (size,))) * bias
        assert place == np.argmax(select)
        bias = bias + np.float32(1 / size)
        bias[place] = 0


def test_greedy_comes_back_to_a_mirror_after_n_tests():
    size, sweeps = 400, 25
    places = mirrors_tested(Greedy(), size, size * sweeps)
    visits = [np.flatnonzero(places == place) for place in range(size)]
    gaps = np.concatenate([np.diff(when) for when in visits])
    assert 0.97 < gaps.mean() / size < 1.03
    # a uniform draw has gaps of a standard deviation of 1 N
    assert gaps.std() / size < 0.5


def test_weights_follow_given_amplitudes():
    amplitudes = np.array([0.5, 1.0, 2.0, 4.0, 0.0])
    for power in (0.5, 1.0, 2.0):
        rule = AmplitudeWeighted(power=power, amplitudes=tuple(amplitudes))
        places = mirrors_tested(rule, 5, 20_000, falls=np.ones(5))
        assert 4 not in places
        chances = amplitudes[:4] ** power
        assert_frequencies(places, chances / chances.sum())


def test_weights_follow_the_mean_change_of_the_error():
    falls = np.array([0.5, -1.0, 2.0, -4.0])
    places = mirrors_tested(AmplitudeWeighted(), 4, 20_004, falls)
    assert sorted(places[:4]) == [0, 1, 2, 3]
    assert_frequencies(places[4:], np.abs(falls) / np.abs(falls).sum())


def test_the_running_mean_is_that_of_the_absolute_falls():
    rule, falls = AmplitudeWeighted(), [0.3, -0.1, 0.8]
    memory = rule.init(2)
    for fall in falls:
        memory = rule.learn(memory, KEY, jnp.int32(1), jnp.float32(fall), jnp.bool_(fall > 0))
    assert np.allclose(memory.amplitudes, [0, np.mean(np.abs(falls))], rtol=1e-6)
    assert rule.choose(memory, KEY) == 0  # not yet tested


def test_mirrors_of_no_amplitude_are_tested_where_there_are_no_others():
    places = mirrors_tested(AmplitudeWeighted(), 4, 8004)
    assert_frequencies(places[4:], np.full(4, 1 / 4))


def test_wrong_amplitudes_are_refused():
    with pytest.raises(RequestError, match="has 2 amplitudes for 3 mirrors"):
        AmplitudeWeighted(amplitudes=(1.0, 2.0)).init(3)
    with pytest.raises(RequestError):
        AmplitudeWeighted(amplitudes=(1.0, -2.0))
    with pytest.raises(RequestError):
        AmplitudeWeighted(power=-1.0)


def descent(rule, X, t, w, key, count):
    """The mirrors that a descent with the rule tests, and the error |t − X w|² after each test."""
    columns = X.T

    def test(carry, key):
        w, residual, memory = carry
        place = rule.choose(memory, key)
        flipped = residual - (1 - 2 * w[place]) * columns[place]
        error, after = jnp.sum(residual**2), jnp.sum(flipped**2)
        kept = after < error
        memory = rule.learn(memory, key, place, error - after, kept)
        w = jnp.where(kept, w.at[place].set(1 - w[place]), w)
        return (w, jnp.where(kept, flipped, residual), memory), (place, jnp.minimum(error, after))

    start = w, t - X @ w, rule.init(w.size)
    return jax.lax.scan(test, start, jax.random.split(key, count))[1]


def planted(key, size, samples):
    """Independent normal columns, what a Boolean readout makes of them, weights to start from."""
    for_X, for_teacher, for_w = jax.random.split(key, 3)
    X = jax.random.normal(for_X, (samples, size))
    teacher, w = (jax.random.bernoulli(k, 0.5, (size,)).astype(float) for k in (for_teacher, for_w))
    return X, X @ teacher, w


@pytest.mark.usefixtures("x64")
def test_priority_is_thompson_sampling_of_a_random_walk():
    """Run into the local minimum and on, with a plain loop given the same normal numbers."""
    size, count = 20, 300
    X, t, w = planted(KEY, size, 30)
    places, errors = (np.asarray(v) for v in descent(Priority(), X, t, w, KEY, count))
    falls, errors_then, last = {}, {}, {}
    squares, moves, kinds = [], [], []
    before = float(jnp.sum((t - X @ w) ** 2))
    X, t, w = np.asarray(X), np.asarray(t), np.asarray(w).copy()
    for test, key in enumerate(jax.random.split(KEY, count)):
        n = np.asarray(jax.random.normal(key, (size,)))
        kappa = np.sqrt(np.sum(squares) / np.sum(moves)) if moves else 0.0
        new = [i for i in range(size) if i not in falls]
        old = [i for i in falls if errors_then[i] > before]
        if new:
            place = max(new, key=lambda i: n[i])
        elif old:
            drifts = {i: kappa * np.sqrt(errors_then[i] - before) for i in old}
            place = max(old, key=lambda i: falls[i] + drifts[i] * n[i])
        else:
            place = min(range(size), key=lambda i: last[i])
        kinds.append(0 if new else 1 if old else 2)
        assert places[test] == place
        w[place] = 1 - w[place]
        after = np.sum((t - X @ w) ** 2)
        if not new and old:
            squares.append((before - after - falls[place]) ** 2)
            moves.append(errors_then[place] - before)
        falls[place] = before - after
        if after < before:
            falls[place] = -falls[place]
            before = after
        else:
            w[place] = 1 - w[place]
        errors_then[place], last[place] = before, test
        assert np.isclose(errors[test], before, rtol=1e-9)
    assert min(np.bincount(kinds, minlength=3)) >= size


@pytest.mark.long
def test_priority_needs_fewer_tests_than_greedy():
    """Tests until 99 % of a planted problem's error is gone, over 40 problems."""
    size, runs, count = 64, 40, 256

    def tests(rule, key):
        X, t, w = planted(key, size, 4 * size)
        errors = descent(rule, X, t, w, jax.random.fold_in(key, 1), count)[1]
        return jnp.sum(errors > 0.01 * jnp.sum((t - X @ w) ** 2))

    keys = jax.random.split(KEY, runs)
    greedy, priority = (
        np.asarray(jax.jit(jax.vmap(lambda key, rule=rule: tests(rule, key)))(keys), float)
        for rule in (Greedy(), Priority())
    )
    assert greedy.max() < count
    saved = greedy - priority
    assert saved.mean() > 4 * saved.std() / np.sqrt(runs)


def test_greedy_takes_the_known_number_of_tests_on_a_planted_teacher():
    # expected from an independent simulation: 0.64–0.69 N and 1.5 N
    size, count = 500, 1250

    def tests(key):
        X, t, w = planted(key, size, 4 * size)
        errors = descent(Greedy(), X, t, w, jax.random.fold_in(key, 1), count)[1]
        start = jnp.sum((t - X @ w) ** 2)
        return jnp.stack([jnp.sum(errors > share * start) for share in (np.exp(-1), 0.01)])

    found = np.asarray(jax.lax.map(jax.jit(tests), jax.random.split(KEY, 12)), float) / size
    assert found.max() < count / size
    assert found.mean(axis=0) == pytest.approx([0.665, 1.5], rel=0.1)
