"""The reservoirs against plain loops, their operating points, and noise on what is measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from dither.networks import (
    RESERVOIRS,
    AnyReservoir,
    ConsistencyWarning,
    EchoState,
    PhotonicReservoir,
    StateNoise,
    check_consistency,
)
from dither.networks.echo_state import spectral_radius
from dither.tasks import MackeyGlass, nmse

KEY = jax.random.key(0)
INPUTS = np.random.default_rng(0).uniform(size=30)


@pytest.fixture(scope="module")
def series():
    return MackeyGlass(skip=200, step=0.25).load()


def dense_kernel(reservoir, instance):
    """K as an N × N matrix, filled entry by entry."""
    side, radius = int(reservoir.neurons**0.5), reservoir.radius
    K = np.zeros((side, side, side, side), complex)
    for place, (dy, dx) in enumerate(
        (dy, dx) for dy in range(-radius, radius + 1) for dx in range(-radius, radius + 1)
    ):
        for y in range(side):
            for x in range(side):
                there = (y + dy, x + dx)
                if reservoir.boundary == "periodic":
                    there = (there[0] % side, there[1] % side)
                elif not (0 <= there[0] < side and 0 <= there[1] < side):
                    continue
                K[y, x, *there] += instance.kernel[place, y, x]
    return K.reshape(reservoir.neurons, -1)


@pytest.mark.parametrize("boundary", ["zero", "periodic"])
@pytest.mark.parametrize("bits", [None, 6])
def test_photonic_states_are_those_of_a_dense_loop(boundary, bits):
    reservoir = PhotonicReservoir(
        neurons=49, radius=1, boundary=boundary, slm_bits=bits, camera_bits=bits
    )
    instance = reservoir.fabricate(KEY)
    instance = jax.tree.map(np.asarray, instance)
    K = dense_kernel(reservoir, instance)
    E, expected = np.zeros(49), []
    # with 6 bits, rounding to levels forgives nothing: few steps, so that no level flips by chance
    inputs = INPUTS[: 30 if bits is None else 3]
    for u in inputs:
        field = np.abs(K @ E) ** 2
        phase = 0.8 * 0.2 * field + 0.4 * instance.input_weights * u + instance.offsets
        E = np.cos(2 * np.pi * phase)
        if bits:
            E = np.round((E + 1) / 2 * 63) / 63 * 2 - 1
        x = E**2
        expected.append(np.round(x * 63) / 63 if bits else x)
    states = reservoir.states(instance, jnp.asarray(inputs))
    assert states.dtype == jnp.float32
    assert np.asarray(states) == pytest.approx(np.array(expected), abs=2e-5)


@pytest.mark.parametrize("boundary", ["zero", "periodic"])
def test_photonic_specimen(boundary):
    reservoir = PhotonicReservoir(neurons=100, boundary=boundary)
    instance = jax.tree.map(np.asarray, reservoir.fabricate(KEY))
    K = dense_kernel(reservoir, instance)
    assert np.linalg.norm(K, axis=1) == pytest.approx(1, abs=1e-5)
    corner, middle = np.count_nonzero(K[0]), np.count_nonzero(K[55])
    assert (corner, middle) == ((9, 25) if boundary == "zero" else (25, 25))
    values, counts = np.unique(instance.offsets, return_counts=True)
    assert values == pytest.approx([0.17, 0.43])
    assert counts.tolist() == [55, 45]
    assert 0 <= instance.input_weights.min() < instance.input_weights.max() <= 1
    other = reservoir.fabricate(jax.random.key(1))
    assert not np.array_equal(other.kernel, instance.kernel)


def test_states_go_on_from_an_initial_state():
    reservoir = PhotonicReservoir(neurons=25)
    instance = reservoir.fabricate(KEY)
    E = jax.random.uniform(KEY, (25,))
    first = reservoir.step(instance, E, jnp.float32(INPUTS[0]))
    states = reservoir.states(instance, jnp.asarray(INPUTS), E)
    assert np.asarray(states[0]) == pytest.approx(np.asarray(first**2), abs=1e-6)
    rest = reservoir.states(instance, jnp.asarray(INPUTS[1:]), first)
    assert np.asarray(states[1:]) == pytest.approx(np.asarray(rest), abs=1e-4)


def test_photonic_reservoir_is_consistent_below_alpha_03(series):
    inputs = jnp.asarray(series.inputs)
    for key in jax.random.split(KEY, 2):
        weak, strong = (PhotonicReservoir(neurons=225, alpha=alpha) for alpha in (0.2, 0.4))
        found = check_consistency(weak, weak.fabricate(key), inputs, key)
        assert found.distance < 1e-3
        assert found.correlation > 0.999
        with pytest.warns(ConsistencyWarning, match="no fading memory"):
            found = check_consistency(strong, strong.fabricate(key), inputs, key)
        assert found.distance > 0.2
        assert found.correlation < 0.7


def test_echo_states_are_those_of_a_dense_loop():
    reservoir = EchoState(neurons=150, degree=4, leak=0.7, spectral_radius=0.8, input_scale=0.5)
    instance = jax.tree.map(np.asarray, reservoir.fabricate(KEY))
    W = np.zeros((150, 150))
    for i in range(150):
        for source, weight in zip(instance.sources[i], instance.weights[i]):
            W[i, source] += weight
    assert np.abs(np.linalg.eigvals(W)).max() == pytest.approx(0.8, rel=1e-3)
    assert np.abs(instance.input_weights).max() == pytest.approx(0.5, rel=0.1)
    E, expected = np.zeros(150), []
    for u in INPUTS:
        E = 0.3 * E + 0.7 * np.tanh(W @ E + instance.input_weights * u + instance.bias)
        expected.append(E)
    states = reservoir.states(instance, jnp.asarray(INPUTS))
    assert states.dtype == jnp.float32
    assert np.asarray(states) == pytest.approx(np.array(expected), abs=1e-5)


@pytest.mark.parametrize("neurons", [30, 300])
def test_spectral_radius_of_a_known_matrix(neurons):
    # a ring that everything goes round, twice a step: the eigenvalues are 2 times roots of unity,
    # but for one neuron on its own with 3
    sources = (np.arange(neurons)[:, None] + 1) % (neurons - 1)
    weights = np.full((neurons, 1), 2.0)
    sources[-1], weights[-1] = neurons - 1, 3.0
    assert spectral_radius(sources, weights) == pytest.approx(3, rel=1e-3)


def test_echo_state_forgets_only_below_its_edge(series):
    inputs = jnp.asarray(series.inputs)
    tame = EchoState(neurons=200, spectral_radius=0.8)
    assert check_consistency(tame, tame.fabricate(KEY), inputs, KEY).distance < 1e-3
    wild = EchoState(neurons=200, spectral_radius=4.0, input_scale=0.1)
    with pytest.warns(ConsistencyWarning, match="echo-state"):
        check_consistency(wild, wild.fabricate(KEY), inputs, KEY)


@pytest.mark.parametrize(
    "reservoir", [PhotonicReservoir(neurons=400), EchoState()], ids=lambda r: r.kind
)
def test_ridge_on_the_states_predicts_mackey_glass(reservoir, series):
    instance = reservoir.fabricate(KEY)
    states = np.asarray(reservoir.states(instance, jnp.asarray(series.inputs)), float)
    X = np.column_stack([states, np.ones(len(states))])
    now, later = X[series.train_part], X[series.test_part]
    w = np.linalg.solve(now.T @ now + 1e-4 * np.eye(401), now.T @ series.targets[series.train_part])
    assert nmse(later @ w, series.targets[series.test_part]) < 1e-3
    # predicting that nothing changes is much worse
    assert nmse(series.inputs, series.targets) > 1e-2


@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("relative", [False, True])
def test_noise_has_its_size_and_its_correlation(common, relative):
    name = ("multiplicative" if relative else "additive") + ("_common" if common else "")
    noise = StateNoise(**{name: 0.1})
    states = jnp.broadcast_to(jnp.linspace(1, 3, 5, dtype=jnp.float32), (20000, 5))
    measured = noise(KEY, states)
    assert measured.dtype == jnp.float32
    error = np.asarray(measured - states) / (np.asarray(states[0]) if relative else 1.0)
    # relative standard error of a standard deviation: 1/√(2 · 20000) = 0.5 %
    assert error.std(axis=0) == pytest.approx(0.1, rel=5 * 0.005)
    assert error.mean(axis=0) == pytest.approx(0, abs=5 * 0.1 / 20000**0.5)
    correlation = np.corrcoef(error.T)[0, 1:]
    assert correlation == pytest.approx(float(common), abs=5 / 20000**0.5)
    steps = np.corrcoef(error[1:, 0], error[:-1, 0])[0, 1]
    assert steps == pytest.approx(0, abs=5 / 20000**0.5)
    assert np.array_equal(noise(KEY, states), measured)
    assert not np.array_equal(noise(jax.random.key(1), states), measured)


def test_no_noise_changes_nothing():
    states = jnp.ones((4, 3), jnp.float32)
    assert np.array_equal(StateNoise()(KEY, states), states)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "photonic", "neurons": 1000}, "square number, such as 961"),
        ({"kind": "photonic", "neurons": 16}, "larger than the grid"),
        ({"kind": "echo-state", "neurons": 5}, "exceeds the 5 neurons"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(AnyReservoir).validate_python(settings)


def test_the_registry_makes_every_reservoir():
    for kind, cls in RESERVOIRS.items():
        assert type(TypeAdapter(AnyReservoir).validate_python(kind)) is cls


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "reservoir", [PhotonicReservoir(neurons=25, slm_bits=8), EchoState(neurons=20)]
)
def test_states_are_single_precision_where_the_rest_is_double(reservoir):
    states = reservoir.states(reservoir.fabricate(KEY), jnp.asarray(INPUTS))
    assert states.dtype == jnp.float32
