"""Simulated and Python devices: each imperfection against its equation, spaces, wrong devices."""

import math
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dither
from dither import MLP, PythonDevice, RequestError, SimulatedDevice, Until, WeightMGD
from dither._places import find_object
from dither.algorithms import ActivityDifference, NodePerturbation, WhitenedNodePerturbation
from dither.contract import AccessLevel, Batch, Parameter, Space, Status
from dither.devices import (
    DAC,
    ActivationDefects,
    Blueprint,
    Bounds,
    CostNoise,
    FailedReads,
    OutputNoise,
    RelativeNoise,
    UpdateNoise,
)
from dither.instruments.guard import Guard
from dither.tasks import Parity, mse
from dither.testing.devices import NumpyDevice

NETWORK = MLP(widths=(3, 4, 2), output="sigmoid")
P = 26
RNG = np.random.default_rng(0)
INPUTS = jnp.asarray(RNG.standard_normal((5, 3)))
BATCH = Batch(INPUTS, jnp.asarray([0, 1, 1, 0, 1]))
THETA = jnp.asarray(0.5 * RNG.standard_normal(P))


def device(*imperfections):
    return SimulatedDevice(network=NETWORK, imperfections=imperfections)


def clean_outputs(theta=THETA):
    return np.asarray(NETWORK(device().space.unravel(theta), INPUTS))


@eqx.filter_jit
def measured(device, keys, updates=1):
    """After `updates` updates: the cost and status of two measurements, a instance for each key."""

    def one(key):
        instance = device.fabricate(key)
        for _ in range(updates):
            instance = device.write(instance, THETA, jnp.bool_(True))
        first, status, instance = device.measure(instance, BATCH, mse, None, AccessLevel.COST)
        second, status2, _ = device.measure(instance, BATCH, mse, None, AccessLevel.COST)
        return jnp.stack([first.cost, second.cost]), jnp.stack([status, status2])

    costs, statuses = jax.vmap(one)(keys)
    return costs, statuses


@eqx.filter_jit
def seen(device, keys, updates=1):
    """The outputs of a instance for each key after `updates` updates."""

    def one(key):
        instance = device.fabricate(key)
        for _ in range(updates):
            instance = device.write(instance, THETA, jnp.bool_(True))
        return device.outputs(instance, INPUTS)

    return jax.vmap(one)(keys)


def keys(number):
    return jax.random.split(jax.random.key(3), number)


def close_in_statistics(sample, mean, deviation):
    """Mean and standard deviation within 5 standard errors of normal samples."""
    n = sample.size
    assert abs(sample.mean() - mean) < 5 * deviation / math.sqrt(n)
    assert abs(sample.std() / deviation - 1) < 5 / math.sqrt(2 * n)


CLEAN_COST = np.mean((clean_outputs() - np.eye(2)[[0, 1, 1, 0, 1]]) ** 2)


def test_without_imperfections_the_device_is_its_network():
    cost, status = measured(device(), keys(1))
    assert np.allclose(cost, CLEAN_COST, rtol=1e-5)
    assert np.all(status == Status.DONE)
    assert np.allclose(seen(device(), keys(1))[0], clean_outputs(), atol=1e-6)


def test_cost_noise():
    cost = np.asarray(measured(device(CostNoise(sigma=0.3)), keys(5000))[0])
    close_in_statistics(cost, CLEAN_COST, 0.3)
    assert abs(np.corrcoef(cost.T)[0, 1]) < 5 / math.sqrt(5000)


def test_output_noise():
    noise = np.asarray(seen(device(OutputNoise(sigma=0.2)), keys(2000))) - clean_outputs()
    close_in_statistics(noise, 0.0, 0.2)
    assert abs(np.corrcoef(noise[:, 0, 0], noise[:, 0, 1])[0, 1]) < 5 / math.sqrt(2000)


def test_relative_noise():
    noise = np.asarray(seen(device(RelativeNoise(sigma=0.2)), keys(2000))) - clean_outputs()
    close_in_statistics(noise, 0.0, 0.2 * np.std(clean_outputs()))


def test_noise_composes():
    """Variances add; the order is that given, and equal kinds draw apart."""
    both = device(CostNoise(sigma=0.3), CostNoise(sigma=0.4))
    close_in_statistics(np.asarray(measured(both, keys(5000))[0]), CLEAN_COST, 0.5)


def test_update_noise_is_a_random_walk():
    """After k updates every parameter is off by N(0, k sigma²), which the outputs show."""
    noisy = device(UpdateNoise(sigma=0.02))

    @eqx.filter_jit
    def errors(keys):
        def one(key):
            instance = noisy.fabricate(key)
            for k in range(6):
                # three updates and three perturbed writes in between
                instance = noisy.write(instance, THETA + k, jnp.bool_(k % 2 == 0))
            return instance.imperfections[0], noisy.outputs(instance, INPUTS)

        return jax.vmap(one)(keys)

    error, outputs = errors(keys(1000))
    close_in_statistics(np.asarray(error), 0.0, 0.02 * math.sqrt(3))
    wanted = clean_outputs(THETA + 5 + error[0])
    assert np.allclose(outputs[0], wanted, atol=1e-5)


def test_activation_defects_follow_their_equation():
    """f(x) = L f₀(k (x − x0)) + y0, by NumPy with the instance's own constants."""
    defective = device(ActivationDefects(sigma=0.2))
    instance = defective.write(defective.fabricate(jax.random.key(1)), THETA, jnp.bool_(True))
    defects = jax.tree.map(np.asarray, instance.imperfections[0])
    theta = {k: np.asarray(v) for k, v in defective.space.unravel(THETA).items()}
    x = np.asarray(INPUTS)
    for layer, f in [("dense0", np.tanh), ("dense1", lambda z: 1 / (1 + np.exp(-z)))]:
        d = defects[layer]
        z = x @ theta[f"{layer}/weight"] + theta[f"{layer}/bias"]
        x = d["L"] * f(d["k"] * (z - d["x0"])) + d["y0"]
    assert np.allclose(defective.outputs(instance, INPUTS), x, atol=1e-5)


def test_activation_defects_have_their_statistics():
    wide = ActivationDefects(sigma=0.2).fabricate(
        jax.random.key(0),
        Blueprint(0, 0, {"a/x": (3,), "a/z": (4000,), "a/a": (4000,), "b/z": (4000,)}),
    )
    assert set(wide) == {"a", "b"}
    for neurons in wide.values():
        for name, mean in {"k": 1, "L": 1, "x0": 0, "y0": 0}.items():
            close_in_statistics(np.asarray(neurons[name]), mean, 0.2)
    assert not np.allclose(wide["a"]["k"], wide["b"]["k"])


def test_failed_reads():
    _, status = measured(device(FailedReads(probability=0.3)), keys(5000))
    failed = np.asarray(status) == Status.FAILED
    error = math.sqrt(0.3 * 0.7 / failed.size)
    assert abs(failed.mean() - 0.3) < 5 * error
    assert abs(np.corrcoef(failed.T)[0, 1]) < 5 / math.sqrt(5000)
    assert device(FailedReads(probability=0.3)).fails
    assert not device(CostNoise(sigma=1.0)).fails


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_a_dac_writes_the_nearest_of_its_levels(bits):
    converter = device(DAC(bits=bits, low=-0.6, high=0.9))
    instance = converter.write(converter.fabricate(jax.random.key(0)), THETA, jnp.bool_(True))
    levels = np.linspace(-0.6, 0.9, 2**bits)
    nearest = levels[np.abs(np.asarray(THETA)[:, None] - levels).argmin(axis=1)]
    assert np.allclose(instance.parameters, nearest, atol=1e-6)
    assert np.allclose(seen(converter, keys(1))[0], clean_outputs(jnp.asarray(nearest)), atol=1e-5)


def test_bounds_and_dac_compose():
    both = device(Bounds(low=-1, high=2), Bounds(low=-3, high=0.5))
    assert (both.space.low, both.space.high) == (-1, 0.5)
    instance = both.write(both.fabricate(jax.random.key(0)), 9 * THETA, jnp.bool_(True))
    assert np.allclose(instance.parameters, np.clip(9 * np.asarray(THETA), -1, 0.5), atol=1e-6)


@pytest.mark.parametrize(
    "imperfections",
    [
        (Bounds(low=-0.3, high=0.4), DAC(bits=4, low=-1, high=1)),
        (DAC(bits=4, low=-1, high=1), Bounds(low=-0.3, high=0.4)),
    ],
    ids=["bounds-first", "dac-first"],
)
def test_the_narrower_of_bounds_and_dac_holds(imperfections):
    """Neither order lets a write leave the bounds, nor the converter's own levels."""
    both = device(*imperfections)
    instance = both.write(both.fabricate(jax.random.key(0)), 9 * THETA, jnp.bool_(True))
    written = np.asarray(instance.parameters)
    assert written.min() >= -0.3 - 1e-6
    assert written.max() <= 0.4 + 1e-6
    level = (written + 1) / (2 / 15)
    assert np.allclose(level, np.round(level), atol=1e-4)


def test_a_perturbation_at_a_site_adds_to_what_goes_into_the_neurons():
    instance = device().write(device().fabricate(jax.random.key(0)), THETA, jnp.bool_(True))
    shift = jnp.asarray([0.1, -0.2, 0.3, 0.4])
    sites = {"dense0/z": shift}
    cost, _, _ = device().measure(instance, BATCH, mse, sites, AccessLevel.COST)
    moved = {**device().space.unravel(THETA)}
    moved["dense0/bias"] = moved["dense0/bias"] + shift
    wanted = np.mean((np.asarray(NETWORK(moved, INPUTS)) - np.eye(2)[[0, 1, 1, 0, 1]]) ** 2)
    assert np.allclose(cost.cost, wanted, rtol=1e-5)
    assert not np.allclose(cost.cost, CLEAN_COST, rtol=1e-3)


def test_gradients_are_shown_only_when_asked_for():
    instance = device().write(device().fabricate(jax.random.key(0)), THETA, jnp.bool_(True))
    unseen, _, _ = device().measure(instance, BATCH, mse, None, AccessLevel.COST)
    shown, _, _ = device().measure(instance, BATCH, mse, None, AccessLevel.GRADIENTS)
    with pytest.raises(TypeError, match="no gradient"):
        _ = unseen.gradient
    step = 1e-2 * np.eye(P)[3]
    cost = [np.mean((clean_outputs(THETA + s) - np.eye(2)[[0, 1, 1, 0, 1]]) ** 2)
            for s in (step, -step)]  # fmt: skip
    assert np.allclose(shown.gradient[3], (cost[0] - cost[1]) / 2e-2, atol=1e-4)


# -------------------------------------------------------------------------------------- spaces

finite = st.floats(-100, 100).map(lambda x: round(x, 3))


@st.composite
def tables(draw):
    """The settings of a space's parameters."""
    parameters = []
    for number in range(draw(st.integers(1, 3))):
        shape = tuple(draw(st.lists(st.integers(1, 3), min_size=0, max_size=2)))
        if draw(st.booleans()):
            low = draw(finite)
            high = low + draw(st.floats(0.01, 50))
            levels = draw(st.sampled_from([0, 2, 3, 16, 1024]))
            parameters.append((f"p{number}", shape, low, high, levels))
        else:
            parameters.append((f"p{number}", shape))
    return parameters


def make(table):
    return Space(tuple(Parameter(*settings) for settings in table))


def spread(space, name):
    return np.concatenate([np.full(p.size, getattr(p, name)) for p in space.parameters])


@settings(max_examples=40)
@given(table=tables(), seed=st.integers(0, 2**16))
def test_snap_gives_the_nearest_that_can_be_written(table, seed):
    space = make(table)
    with jax.enable_x64(True):
        theta = np.random.default_rng(seed).normal(0, 60, space.size)
        snapped = np.asarray(space.snap(jnp.asarray(theta)))
        for x, y, low, high, levels in zip(
            theta, snapped, *(spread(space, n) for n in ("low", "high", "levels"))
        ):
            if levels:
                grid = np.linspace(low, high, int(levels))
                assert abs(y - x) <= np.abs(grid - x).min() + 1e-9
                assert np.abs(grid - y).min() < 1e-9
            else:
                assert y == min(max(x, low), high)
        assert np.allclose(space.snap(jnp.asarray(snapped)), snapped, rtol=0, atol=1e-12)


@pytest.mark.long
@settings(max_examples=40)
@given(table=tables(), delta=st.floats(1e-3, 30), seed=st.integers(0, 2**16))
def test_amplitude_is_whole_steps_and_confine_leaves_room_for_it(table, delta, seed):
    space = make(table)
    with jax.enable_x64(True):
        amplitude = np.broadcast_to(np.asarray(space.amplitude(delta)), space.size)
        low, high, levels = (spread(space, n) for n in ("low", "high", "levels"))
        theta = np.random.default_rng(seed).normal(0, 60, space.size)
        kept = np.asarray(space.confine(jnp.asarray(theta), jnp.asarray(amplitude)))
        on_grid = np.asarray(space.snap(jnp.asarray(kept)))
        for a, lo, hi, n, start, now, grid in zip(
            amplitude, low, high, levels, theta, kept, on_grid
        ):
            if n:
                step = (hi - lo) / (n - 1)
                assert a == pytest.approx(max(1, round(delta / step)) * step) or (
                    abs(delta / step % 1 - 0.5) < 1e-6  # a tie rounds either way
                )
            else:
                assert a == delta
            assert lo <= now <= hi
            if hi - lo >= 2 * a * (1 + 1e-9):
                assert grid + a <= hi + 1e-9 * (1 + abs(hi))
                assert grid - a >= lo - 1e-9 * (1 + abs(lo))
            if lo + a <= start <= hi - a:
                assert now == start


@settings(max_examples=30)
@given(table=tables(), seed=st.integers(0, 2**16))
def test_ravel_and_unravel_are_inverse(table, seed):
    space = make(table)
    theta = jnp.asarray(np.random.default_rng(seed).normal(size=space.size), jnp.float32)
    arrays = space.unravel(theta)
    assert {name: a.shape for name, a in arrays.items()} == {
        p.name: p.shape for p in space.parameters
    }
    assert np.array_equal(space.ravel(arrays), theta)


def test_spaces_that_cannot_be_are_refused():
    with pytest.raises(RequestError, match="low < high"):
        Parameter("w", (2,), 1.0, 1.0)
    with pytest.raises(RequestError, match="no bounds"):
        Parameter("w", (2,), levels=4)


# ------------------------------------------------------------------------------ Python devices


class Bare:
    parameters = 4


class OnlyWrites(Bare):
    def write(self, theta):
        self.theta = theta


class Reads(OnlyWrites):
    def __init__(self, reading):
        self.reading = reading

    def measure(self, inputs):
        return self.reading(inputs)


def train_on(target, rule=None):
    return dither.train(
        target,
        Parity(bits=3),
        rule or WeightMGD(learning_rate=0.1, delta=0.01),
        until=Until(measurements=5),
    )


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (Bare(), "no write"),
        (OnlyWrites(), "neither measure"),
        (object(), "how many parameters"),
        (Reads(lambda x: np.zeros((len(x) - 1, 1))), r"shape \(7, 1\) for 8 inputs"),
        (Reads(lambda x: np.full(len(x), np.nan)), "NaN"),
        (Reads(lambda x: np.zeros((len(x), 3))), "3 outputs per sample"),
        (Reads(lambda _: "dark"), "instead of numbers"),
        (Reads(lambda _: 1 / 0), "ZeroDivisionError"),
    ],
)
def test_a_wrong_device_is_refused_in_one_sentence(target, sentence):
    with pytest.raises(RequestError, match=sentence) as caught:
        train_on(target)
    assert str(caught.value).startswith("The device ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"parameters": 0}, "at least one"),
        ({"parameters": "many"}, "integer or a table"),
        ({"bounds": (1, 0)}, "low < high"),
        ({"bounds": 3}, "pair"),
        ({"bits": 4}, "no bounds"),
    ],
)
def test_wrong_settings_of_a_device_are_refused(settings, sentence):
    wrong = NumpyDevice()
    vars(wrong).update(settings)
    with pytest.raises(RequestError, match=sentence):
        PythonDevice(wrong)


def test_layers_of_a_device_that_lacks_what_they_need_are_refused():
    chip = NumpyDevice()
    chip.layers = ("dense0",)
    with pytest.raises(RequestError, match="'dense0/weight' of shape"):
        PythonDevice(chip)
    chip.show_sites()
    with pytest.raises(RequestError, match="reads the neurons' preactivations"):
        train_on(chip, ActivityDifference(learning_rate=0.1))
    with pytest.raises(RequestError, match="give the device an attribute output_activation"):
        train_on(chip, WhitenedNodePerturbation(learning_rate=0.1, known_output=True))

    class Mute(OnlyWrites):
        layers = ("dense0",)

        def measure(self, inputs):
            return inputs

    with pytest.raises(RequestError, match="measure_sites"):
        PythonDevice(Mute())


@pytest.mark.parametrize("guard", [None, {"timeout": 5.0}])
def test_a_layers_inputs_of_the_wrong_shape_are_a_failed_measurement(guard):
    class Crooked(NumpyDevice):
        def measure_sites(self, inputs, added):
            outputs, seen = super().measure_sites(inputs, added)
            return outputs, {**seen, "dense1": seen["dense1"][:, :1]}

    chip = Crooked()
    chip.show_sites()
    device = PythonDevice(chip, guard=guard and Guard(**guard))
    rule = NodePerturbation(learning_rate=0.1)
    result = dither.train(device, Parity(bits=3), rule, until=Until(measurements=50, failures=3))
    assert result.stop_reason == "failures"
    assert "inputs of layer dense1" in result.failure


def test_wrong_initial_parameters_are_refused():
    with pytest.raises(RequestError, match="3 initial parameters"):
        train_on(NumpyDevice(initial=np.zeros(3)))
    with pytest.raises(RequestError, match="finite"):
        train_on(NumpyDevice(initial=np.full(14, np.nan)))


def test_a_function_is_a_device():
    def chip(theta, inputs):
        return np.tanh(inputs @ theta[:3] + theta[3])

    chip.parameters = 4
    assert train_on(chip).ledger["measurements"] >= 5


def test_a_device_that_shows_only_a_cost():
    class Meter(OnlyWrites):
        def cost(self, inputs, targets):
            return np.mean((inputs @ self.theta[:3] - targets) ** 2)

    result = train_on(Meter())
    assert result.score is None
    assert result.history["test_cost"].notna().all()
    with pytest.raises(RequestError, match="gives no score"):
        dither.train(
            Meter(), Parity(bits=3), WeightMGD(learning_rate=0.1),
            until=Until(score=0.9, measurements=5),
        )  # fmt: skip


def test_a_device_may_change_the_array_that_it_is_given():
    class Rude(NumpyDevice):
        def write(self, theta):
            super().write(theta)
            theta *= 0

    polite, rude = NumpyDevice(), Rude()
    train_on(polite)
    train_on(rude)
    assert np.array_equal(polite.received, rude.received)


def test_tables_of_names_and_shapes():
    space = PythonDevice(
        NumpyDevice(), parameters={"a": (2, 3), "b": (8,)}, bounds=(0.0, 3.3)
    ).space
    assert space.size == 14
    assert [p.name for p in space.parameters] == ["a", "b"]


def test_what_an_algorithm_must_see_must_be_shown():
    blind = SimulatedDevice(network=NETWORK, access="cost")
    with pytest.raises(RequestError, match="needs gradients"):
        dither.train(blind, Parity(bits=3), dither.Backpropagation(learning_rate=0.1))


# --------------------------------------------------------------------------------- find_object


def test_objects_are_found_in_files_and_modules(tmp_path):
    file = tmp_path / "found_lab.py"
    file.write_text("class Chip:\n    parameters = 3\nchip = Chip()\n")
    try:
        assert find_object(f"{file}:chip").parameters == 3
        assert find_object(f"{file}:Chip").parameters == 3
    finally:
        sys.modules.pop("found_lab", None)
    assert find_object("math:sqrt") is math.sqrt


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("nothing", "not of the form"),
        (":name", "not of the form"),
        ("no_such_module:name", "cannot be imported"),
        ("no_such_file.py:name", "does not exist"),
        ("math:sqroot", "did you mean sqrt"),
    ],
)
def test_objects_that_cannot_be_found(place, sentence):
    with pytest.raises(RequestError, match=sentence):
        find_object(place)


def test_a_file_that_fails_to_import(tmp_path):
    file = tmp_path / "broken_lab.py"
    file.write_text("raise OSError('no instrument')\n")
    with pytest.raises(RequestError, match="no instrument"):
        find_object(f"{file}:chip")
    assert "broken_lab" not in sys.modules
