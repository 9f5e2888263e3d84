"""Selection rules against plain NumPy versions and the frequencies that define them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy.stats import chi2

from dither import RequestError
from dither.algorithms.selection import (
    SELECTIONS,
    AmplitudeWeighted,
    AnySelection,
    Cyclic,
    Greedy,
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
    with pytest.raises(RequestError, match="given 2 amplitudes and there are 3 mirrors"):
        AmplitudeWeighted(amplitudes=(1.0, 2.0)).init(3)
    with pytest.raises(ValidationError):
        AmplitudeWeighted(amplitudes=(1.0, -2.0))
    with pytest.raises(ValidationError):
        AmplitudeWeighted(power=-1.0)
