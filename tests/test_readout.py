"""Readouts of mirrors: the simulated device, a lab's mirrors, series as tasks, the shell."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import RequestError, Until
from dither.algorithms import CoordinateDescent
from dither.contract import AccessLevel, Batch, SparseWrite
from dither.devices import CostNoise, OutputNoise, ReadoutDevice, RelativeNoise
from dither.networks import PhotonicReservoir, StateNoise
from dither.tasks import (
    HeaderRecognition,
    MackeyGlass,
    OwnError,
    SeriesTask,
    make_series,
    nmse,
    nmse_cost,
    series_task,
    symbol_error_rate,
)

N, T, M, WASHOUT = 25, 60, 40, 20
SERIES = MackeyGlass(washout=WASHOUT, train=T, test=M, skip=100.0)
RESERVOIR = PhotonicReservoir(neurons=N)
NOISES = {
    "additive": StateNoise(additive=0.05),
    "additive_common": StateNoise(additive_common=0.02),
    "multiplicative": StateNoise(multiplicative=0.1),
    "multiplicative_common": StateNoise(multiplicative_common=0.05),
    "all": StateNoise(
        additive=0.05, additive_common=0.02, multiplicative=0.1, multiplicative_common=0.05
    ),
}


@cache
def load():
    return SERIES.load(), SeriesTask(series=SERIES).load()


def fresh(device, task, seed=0):
    """The state of one instance, ready to be written."""
    states = jax.vmap(device.fabricate)(jax.random.split(jax.random.key(seed), 1))
    return jax.tree.map(lambda leaf: leaf[0], device.prepare(states, task))


def true_columns(state, inputs, coherent=False):
    """What every neuron sends to the detector, from the whole series at once: steps × N."""
    instance = RESERVOIR.fabricate(state.fabrication)
    if coherent:
        return np.asarray(1 - RESERVOIR.internal_states(instance, jnp.asarray(inputs)), float)
    return np.asarray(RESERVOIR.states(instance, jnp.asarray(inputs)), float)


# ----------------------------------------------------------------------------------- the device


def random_writes(rng, levels, count):
    """Up to three different places for each write, N for none, and what to write there."""
    places = np.stack([rng.permutation(N)[:3] for _ in range(count)])
    places[rng.random(places.shape) < 0.4] = N
    return np.int32(places), np.float32(rng.choice(levels, places.shape))


@eqx.filter_jit
def write_all(device, state, writes):
    def one(state, write):
        state = device.write(state, SparseWrite(*write), jnp.bool_(True))
        return state, (state.weights, state.light, state.squares)

    return jax.lax.scan(one, state, writes)


@pytest.mark.parametrize("readout", ["incoherent", "coherent"])
@pytest.mark.parametrize("weights", ["boolean", "ternary"])
def test_the_light_kept_over_many_flips_is_the_matrix_product(weights, readout):
    series, task = load()
    noise = StateNoise(multiplicative=0.1 if readout == "incoherent" else 0.0)
    device = ReadoutDevice(reservoir=RESERVOIR, weights=weights, readout=readout, noise=noise)
    state = fresh(device, task)
    c = true_columns(state, series.inputs, readout == "coherent")[series.train_part].T
    levels = [0.0, 1.0] if weights == "boolean" else [-1.0, 0.0, 1.0]
    rng = np.random.default_rng(1)

    w = rng.choice(levels, N)
    state = device.write(state, jnp.asarray(w, jnp.float32), jnp.bool_(False))
    np.testing.assert_allclose(state.light, w @ c, atol=N * 64 * 2.0**-25)
    writes = random_writes(rng, levels, 500)
    state, (seen, light, squares) = write_all(device, state, jax.tree.map(jnp.asarray, writes))
    assert int(state.written) == 501
    wanted = []
    for places, values in zip(*writes):
        real = places < N
        w[places[real]] = values[real]
        wanted.append(w.copy())
    wanted = np.array(wanted)
    assert np.array_equal(seen, wanted)
    # no rounding adds up: the light is the sum of the columns as they are kept, to the last bit
    kept = np.asarray(state.columns.train, float)
    assert np.array_equal(np.asarray(light, float), wanted @ kept)
    # these differ from the true ones by half a step of the grid, 2⁻²⁴ of a sum below 64
    np.testing.assert_allclose(kept, c, rtol=0, atol=1.1 * 64 * 2.0**-25)
    assert np.std(wanted @ c, axis=0).min() > 1e3 * N * 64 * 2.0**-25
    # 1500 roundings of numbers below 25, each of at most 25 · 2⁻²⁴, add up like a random walk
    slack = 5 * math.sqrt(1500) * N * 2.0**-24
    if readout == "incoherent":
        np.testing.assert_allclose(squares, wanted**2 @ c**2, rtol=0, atol=slack)
    else:
        assert squares == ()


@pytest.mark.parametrize("readout", ["incoherent", "coherent"])
@pytest.mark.parametrize("weights", ["boolean", "ternary"])
def test_measured_error_and_test_outputs_are_those_of_the_equations(weights, readout):
    series, task = load()
    device = ReadoutDevice(reservoir=RESERVOIR, weights=weights, readout=readout)
    state = fresh(device, task)
    theta = device.initial(jax.random.key(4))
    state = device.write(state, theta, jnp.bool_(False))
    w, coherent = np.asarray(theta, float), readout == "coherent"
    assert set(w) == ({0.0, 1.0} if weights == "boolean" else {-1.0, 0.0, 1.0})

    y = true_columns(state, series.inputs, coherent)[series.train_part] @ w
    y = y**2 if coherent else y
    batch = Batch(task.inputs, task.targets)
    measured, _, after = device.measure(state, batch, nmse_cost, None, AccessLevel.OUTPUTS)
    np.testing.assert_allclose(measured.outputs.y[0], y, atol=1e-3 if coherent else 1e-5)
    assert float(measured.cost) == pytest.approx(nmse(y, series.targets[series.train_part]), 1e-4)
    assert int(after.measured) == 1
    hidden, *_ = device.measure(state, batch, nmse_cost, None, AccessLevel.COST)
    with pytest.raises(TypeError, match="no outputs"):
        _ = hidden.outputs

    # the test part is run in by as many steps as the training part
    run_in = series.inputs[WASHOUT + T - WASHOUT :]
    y = true_columns(state, run_in, coherent)[WASHOUT:] @ w
    y = y**2 if coherent else y
    outputs = device.outputs(state, task.test_inputs)
    np.testing.assert_allclose(outputs[0], y, atol=1e-3 if coherent else 1e-5)


@eqx.filter_jit
def repeat(device, state, task, draws):
    def one(number):
        now = replace(state, measured=number)
        batch = Batch(task.inputs, task.targets)
        measured, *_ = device.measure(now, batch, task.cost, None, AccessLevel.OUTPUTS)
        return measured.outputs.y[0], device.outputs(now, task.test_inputs)[0]

    return jax.vmap(one)(jnp.arange(draws))


@pytest.mark.long
@pytest.mark.parametrize("kind", NOISES)
def test_repeated_measurements_scatter_as_the_neurons_noise_summed(kind):
    """Against draws of the noise of every single neuron, added up."""
    series, task = load()
    noise, draws = NOISES[kind], 4000
    device = ReadoutDevice(reservoir=RESERVOIR, weights="ternary", noise=noise)
    state = fresh(device, task)
    theta = device.initial(jax.random.key(1))
    state = device.write(state, theta, jnp.bool_(False))
    w = np.asarray(theta, float)
    assert len(set(w)) == 3
    states = jnp.asarray(true_columns(state, series.inputs)[series.train_part], jnp.float32)
    one_by_one = jax.jit(jax.vmap(lambda key: noise(key, states) @ theta))
    summed = np.asarray(one_by_one(jax.random.split(jax.random.key(9), draws)), float)
    train, test = (np.asarray(y, float) for y in repeat(device, state, task, draws))

    noiseless = np.asarray(states, float) @ w
    spread = summed.std(axis=0)
    for y in (train, summed):
        assert np.abs(y.mean(axis=0) - noiseless).max() < 5 * spread.max() / math.sqrt(draws)
    # the variance of a ratio of two sample variances is 4 / draws; 60 steps are compared
    ratio = train.var(axis=0) / summed.var(axis=0)
    assert np.abs(ratio - 1).max() < 5 * math.sqrt(4 / draws)
    assert abs(ratio.mean() - 1) < 5 * math.sqrt(4 / draws / T)
    # new at every step and at every measurement
    correlation = np.corrcoef(train.T) - np.eye(T)
    assert np.abs(correlation).max() < 6 / math.sqrt(draws)
    again = np.corrcoef(train[0] - noiseless, train[1] - noiseless)[0, 1]
    assert abs(again) < 5 / math.sqrt(T)

    # the same law over the test part
    tested = jnp.asarray(true_columns(state, task.test_inputs[0])[WASHOUT:], jnp.float32)
    one_by_one = jax.jit(jax.vmap(lambda key: noise(key, tested) @ theta))
    summed = np.asarray(one_by_one(jax.random.split(jax.random.key(8), draws)), float)
    ratio = test.var(axis=0) / summed.var(axis=0)
    assert np.abs(ratio - 1).max() < 5 * math.sqrt(4 / draws)


def test_relative_noise_is_relative_to_how_much_the_output_varies():
    outputs = jnp.asarray(7 + 3 * np.sin(np.arange(50.0))[None], jnp.float32)
    keys = jax.random.split(jax.random.key(0), 4000)
    noisy = jax.vmap(lambda key: RelativeNoise(sigma=0.2).outputs((), key, outputs))(keys)
    noise = np.asarray(noisy, float)[:, 0] - np.asarray(outputs, float)[0]
    wanted = 0.2 * np.asarray(outputs, float).std()
    assert noise.std() == pytest.approx(wanted, rel=5 / math.sqrt(2 * noise.size))
    each = noise.std(axis=0) / wanted
    assert np.abs(each - 1).max() < 5 / math.sqrt(2 * 4000)
    assert abs(noise.mean()) < 5 * wanted / math.sqrt(noise.size)


def test_imperfections_act_on_outputs_and_on_the_cost_in_their_order():
    """Output noise alone: its variance; cost noise leaves the outputs alone."""
    series, task = load()
    quiet = ReadoutDevice(reservoir=RESERVOIR)
    theta = quiet.initial(jax.random.key(2))
    noisy = quiet.model_copy(update={"imperfections": (OutputNoise(sigma=0.3),)})
    costly = quiet.model_copy(update={"imperfections": (CostNoise(sigma=0.1),)})
    state = noisy.write(fresh(noisy, task), theta, jnp.bool_(False))
    y = np.asarray(state.columns.train, float).T @ np.asarray(theta, float)
    outputs = np.asarray(repeat(noisy, state, task, 1000)[0], float)
    assert (outputs - y).std() == pytest.approx(0.3, rel=5 / math.sqrt(2 * outputs.size))

    state = costly.write(fresh(costly, task), theta, jnp.bool_(False))

    @jax.jit
    def cost(number):
        now = replace(state, measured=number)
        batch = Batch(task.inputs, task.targets)
        found, *_ = costly.measure(now, batch, task.cost, None, AccessLevel.OUTPUTS)
        return found.cost, found.outputs.y[0]

    costs, outputs = jax.vmap(cost)(jnp.arange(1000))
    y = np.asarray(state.columns.train, float).T @ np.asarray(theta, float)
    np.testing.assert_allclose(outputs, np.broadcast_to(y, outputs.shape), atol=1e-5)
    exact = nmse(y, series.targets[series.train_part])
    assert float(np.mean(costs)) == pytest.approx(exact, abs=5 * 0.1 / math.sqrt(1000))
    assert float(np.std(costs)) == pytest.approx(0.1, rel=5 / math.sqrt(2000))


def test_a_checkpoint_leaves_the_columns_out_and_they_come_back():
    _, task = load()
    device = ReadoutDevice(reservoir=RESERVOIR, noise=NOISES["multiplicative"])
    states = jax.vmap(device.fabricate)(jax.random.split(jax.random.key(0), 2))
    states = device.prepare(states, task)
    theta = jnp.stack([device.initial(jax.random.key(k)) for k in range(2)])
    states = jax.vmap(lambda s, t: device.write(s, t, jnp.bool_(False)))(states, theta)
    bare = device.bare(states)
    assert bare.columns is None
    for one, two in zip(jax.tree.leaves(states), jax.tree.leaves(device.prepare(bare, task))):
        assert one.dtype == two.dtype
        if not jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            assert np.array_equal(one, two)


@pytest.mark.parametrize(
    "settings",
    [
        {"imperfections": ("dac",)},
        {"imperfections": ({"kind": "dac", "bits": 1, "low": 0.0, "high": 1.0},)},
        {"imperfections": ({"kind": "activation-defects", "sigma": 0.1},)},
        {"readout": "coherent", "noise": {"additive": 0.1}},
        {"weights": "quaternary"},
    ],
)
def test_a_readout_that_cannot_be_is_refused(settings):
    with pytest.raises(RequestError):
        ReadoutDevice(reservoir=RESERVOIR, **settings)


# ------------------------------------------------------------------------------ series as tasks


def test_the_cost_is_the_nmse_of_z_scored_series():
    rng = np.random.default_rng(0)
    outputs = np.float32(rng.normal(size=(3, 50)) * [[1.0], [-40.0], [0.01]] + [[0], [3], [500]])
    targets = np.float32(rng.normal(size=(3, 50)))
    wanted = [nmse(y.astype(float), t.astype(float)) for y, t in zip(outputs, targets)]
    found = np.asarray(nmse_cost(jnp.asarray(outputs), jnp.asarray(targets)))
    # 0.01 around 500 leaves two digits in single precision: the same two in both
    for one, two, digits in zip(found, wanted, (1e-5, 1e-5, 1e-2)):
        assert one == pytest.approx(two, rel=digits)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, -7.7, 1 / 3, 1234.567])
def test_a_constant_output_costs_one(value):
    targets = jnp.asarray(np.random.default_rng(1).normal(size=(1, 61)), jnp.float32)
    assert float(nmse_cost(jnp.full((1, 61), value), targets)[0]) == pytest.approx(1.0, abs=1e-5)


def test_the_parts_line_up_with_the_series():
    series, task = load()
    assert task.inputs.shape == (1, WASHOUT + T)
    assert task.targets.shape == (1, T)
    assert task.test_inputs.shape == (1, WASHOUT + M)
    assert task.test_targets.shape == (1, M)
    x = np.float32(series.inputs)
    assert np.array_equal(task.inputs[0], x[: WASHOUT + T])
    assert np.array_equal(task.test_inputs[0], x[T : WASHOUT + T + M])
    # one step ahead: each target is the next input, in the series' own units
    scale = np.polyfit(series.inputs[1:], series.targets[:-1], 1)
    for inputs, targets in ((task.inputs, task.targets), (task.test_inputs, task.test_targets)):
        np.testing.assert_allclose(
            targets[0, :-1], np.polyval(scale, inputs[0, WASHOUT + 1 :]), atol=1e-5
        )
    y = jnp.asarray(np.random.default_rng(2).normal(size=(1, M)), jnp.float32)
    wanted = 1 - nmse(np.asarray(y[0], float), series.targets[series.test_part])
    assert float(task.score(y, task.test_targets)) == pytest.approx(wanted, abs=1e-5)
    assert task.score_name == "1 - NMSE"
    assert task.batch == 1


def test_symbols_are_scored_by_their_error_rate():
    task = SeriesTask(series=HeaderRecognition(washout=5, train=50, test=80)).load()
    series = HeaderRecognition(washout=5, train=50, test=80).load()
    targets = series.targets[series.test_part]
    assert task.score_name == "1 - SER"
    rng = np.random.default_rng(3)
    scores = []
    for noise in (0.0, 0.3, 1.0, 3.0):
        y = 5 * targets + 2 + 5 * noise * rng.normal(size=targets.shape)
        found = float(task.score(jnp.asarray(y[None], jnp.float32), task.test_targets))
        assert found == pytest.approx(1 - symbol_error_rate(y, targets), abs=1e-6)
        scores.append(found)
    assert scores[0] == 1
    assert scores[-1] < 0.9

    # several levels, none of which single precision holds
    levels = rng.choice([-0.3, 0.1, 0.7], 135)
    four = make_series(
        rng.random(135), levels, HeaderRecognition(washout=5, train=50, test=80),
        symbol_error_rate, "SER",
    )  # fmt: skip
    task = series_task(four)
    y = four.targets[four.test_part] + 0.3 * rng.normal(size=80)
    found = float(task.score(jnp.asarray(y[None], jnp.float32), task.test_targets))
    wanted = 1 - symbol_error_rate(y, four.targets[four.test_part])
    assert 0.3 < wanted < 1
    assert found == pytest.approx(wanted, abs=1e-6)


# -------------------------------------------------------------------------------- a lab's mirrors


class Bench:
    """Mirrors in plain NumPy that log what is done to them; they start as their maker left them."""

    parameters = N

    def __init__(self):
        series, _ = load()
        rng = np.random.default_rng(0)
        mix = rng.normal(size=(3, N))
        past = np.stack([np.roll(series.inputs, k) for k in range(3)], axis=1)
        X = np.tanh(past @ mix)
        self.X, self.tested = X[series.train_part], X[series.test_part]
        self.target = series.targets[series.train_part]
        self.test_target = series.targets[series.test_part]
        self._w = rng.integers(0, 2, N).astype(float)
        self.start = self._w.copy()
        self.flips, self.log = 0, []

    def flip(self, i):
        assert type(i) is int
        self._w[i] = 1 - self._w[i]
        self.flips += 1


class ErrorBench(Bench):
    def error(self):
        found = nmse(self.X @ self._w, self.target)
        self.log.append((self._w.copy(), found))
        return found


class OutputBench(Bench):
    def output(self):
        y = self.X @ self._w
        self.log.append((self._w.copy(), nmse(y, self.target)))
        return y


class FedBench(Bench):
    """Plays the series that it is handed: training or test part, with its wash-out."""

    def output(self, inputs):
        assert inputs.shape in {(WASHOUT + T,), (WASHOUT + M,)}
        here, target = (
            (self.X, self.target) if len(inputs) == WASHOUT + T else (self.tested, self.test_target)
        )
        y = here @ self._w
        self.log.append((self._w.copy(), nmse(y, target)))
        return y


class Shown:
    """With its weights to be seen."""

    @property
    def weights(self):
        return [int(w) for w in self._w]


BENCHES = {
    f"{cls.__name__}{'-shown' if shown else ''}": type(
        cls.__name__, (Shown, cls) if shown else (cls,), {}
    )
    for cls in (ErrorBench, OutputBench, FedBench)
    for shown in (False, True)
}


@pytest.mark.parametrize("kind", BENCHES)
def test_a_labs_mirrors_are_trained_by_flipping_them(kind):
    bench = BENCHES[kind]()
    task = OwnError() if "Error" in kind else SeriesTask(series=SERIES)
    result = dither.train(
        bench, task, CoordinateDescent(), key=3, until=Until(measurements=202),
        score_every=10**6,
    )  # fmt: skip
    # the self-test, the training, and at the end the look, of the mirrors that were kept
    assert result.ledger["measurements"] == len(bench.log) == 202
    weights = np.array([w for w, _ in bench.log])
    errors = np.array([e for _, e in bench.log])
    assert np.array_equal(weights[0], bench.start)
    assert np.array_equal(weights[1], bench.start)
    best, error, kept = weights[1], errors[1], 0
    for w, e in zip(weights[2:-1], errors[2:-1]):
        assert np.sum(w != best) == 1  # one mirror off what is kept
        if e < error:
            best, error, kept = w, e, kept + 1
    assert 5 < kept < 100
    assert np.array_equal(weights[-1], best)
    expected = best if "shown" in kind else np.abs(best - bench.start)
    assert np.array_equal(result.parameters[0], expected)
    assert nmse(bench.X @ best, bench.target) == pytest.approx(error, rel=1e-12)
    assert error < 0.5 * errors[1]

    # a test costs a flip, a rejected one another to undo it; where the mirror just rejected is
    # tested again, it is left as it is
    again = int(np.sum(np.all(weights[2:-2] == weights[3:-1], axis=1)))
    tests = len(weights) - 3
    assert bench.flips == tests + (tests - kept) - 2 * again

    if "Error" in kind:
        assert result.score is None
        assert result.replicas[0].test_cost == pytest.approx(error, rel=1e-5)
    elif "Fed" in kind:
        wanted = nmse(bench.tested @ best, bench.test_target)
        assert result.replicas[0].test_cost == pytest.approx(wanted, rel=1e-3)
        assert result.score == pytest.approx(1 - wanted, rel=1e-3)
    else:
        # it plays one series only: what is shown at the end is that of the training part
        assert result.replicas[0].test_cost == pytest.approx(error, rel=1e-3)
        assert result.score == pytest.approx(1 - error, rel=1e-3)


def broken(**members):
    return type("Broken", (Bench,), members)()


@pytest.mark.parametrize(
    ("bench", "task", "parts"),
    [
        (lambda: broken(output=lambda _: np.full(T, np.nan)), "series", ["self-test", "NaN"]),
        (lambda: broken(output=lambda _: np.zeros(T - 1)), "series", ["self-test", "59", "60"]),
        (lambda: broken(error=lambda _: math.nan), "own", ["self-test", "NaN"]),
        (lambda: broken(error=lambda _: 1 / 0), "own", ["self-test", "ZeroDivisionError"]),
        (lambda: broken(error=lambda _: 1.0, weights=np.full(N, 0.5)), "own", ["0 and 1"]),
        (lambda: broken(error=lambda _: 1.0, weights=np.ones(N - 1)), "own", ["24", "25"]),
        (lambda: broken(), "own", ["error()", "output()"]),
        (lambda: broken(error=lambda _: 1.0, parameters=None), "own", ["parameters"]),
        (lambda: broken(error=lambda _: 1.0, parameters=(5, 5)), "own", ["parameters"]),
    ],
)
def test_mirrors_that_do_not_fit_are_refused_in_one_sentence(bench, task, parts):
    task = OwnError() if task == "own" else SeriesTask(series=SERIES)
    with pytest.raises(RequestError) as refused:
        dither.train(bench(), task, CoordinateDescent(), until=Until(measurements=5))
    assert "\n" not in str(refused.value)
    for part in parts:
        assert part in str(refused.value)


class Trits:
    """Ternary weights of a device that takes them whole, or a few at a time."""

    parameters, bounds, levels = N, (-1.0, 1.0), 3

    def __init__(self):
        self.bench, self.theta, self.whole = Bench(), None, 0

    def write(self, theta):
        self.theta, self.whole = np.array(theta), self.whole + 1

    def cost(self, *_):
        assert set(self.theta) <= {-1.0, 0.0, 1.0}
        return nmse(self.bench.X @ self.theta, self.bench.target)


class TritsAt(Trits):
    def write_at(self, places, values):
        assert len(places) == len(values) <= 2
        self.theta[places] = values


def test_few_parameters_at_a_time_are_what_all_of_them_would_be():
    whole, few = Trits(), TritsAt()
    one, two = (
        dither.train(chip, OwnError(), CoordinateDescent(), until=Until(measurements=150))
        for chip in (whole, few)
    )
    assert np.array_equal(one.parameters, two.parameters)
    assert one.replicas[0].test_cost == two.replicas[0].test_cost
    assert len(set(one.parameters[0])) == 3
    assert whole.whole == one.ledger["writes"]
    # the self-test, the first write, and the evaluations that found something else written
    assert 2 < few.whole <= 2 + len(two.history)


# -------------------------------------------------------------------------------------- the shell

TOML = """
replicas = 1
[task]
kind = "series"
series = { kind = "mackey-glass", washout = 20, train = 60, test = 40, skip = 100.0 }
[device]
kind = "readout"
reservoir = { kind = "photonic", neurons = 25 }
[algorithm]
kind = "coordinate-descent"
[until]
measurements = 30
"""

SHELL = """
import contextlib, io, json, sys
from dither.cli import main
answers = []
for words in json.loads(sys.stdin.read()):
    sys.argv, out, err, status = ["dither", *words], io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
    answers.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
"""

FILE = 'task.series={kind="series-file", file="%s", washout=20, train=60, test=40}'
WRONG = {
    "no square": (["device.reservoir.neurons=24"], ["a.toml, line 8", "neurons", "square"]),
    "selection": (["algorithm.selection=gredy"], ["gredy", "did you mean greedy?"]),
    "small steps": (
        ['algorithm={kind="weight-mgd", learning_rate=0.1, delta=0.1}'],
        ["weight-mgd", "2 levels", "coordinate-descent"],
    ),
    "continuous": (
        ['task={kind="xor"}', 'device={kind="simulated", network={kind="mlp", widths=[2,2,1]}}'],
        ["coordinate-descent", "continuous"],
    ),
    "no series": (['task={kind="xor"}'], ["series"]),
    "own error": (['task={kind="own-error"}'], ["series"]),
    "too short": ([FILE % "short.csv"], ["short.csv", "50 values", "121"]),
    "negative": (["task.series.washout=-1"], ["washout"]),
    "constant": ([FILE % "constant.csv"], ["constant"]),
    "constant targets": ([FILE % "flat.csv"], ["constant over the training part"]),
    "imperfection": (
        ['device.imperfections=[{kind="dac", bits=1, low=0.0, high=1.0}]'],
        ["device", "dac"],
    ),
    "temperature": (["algorithm.temperature=0.1"], ["cooling"]),
    "sees": (
        ['device.access="cost"', 'algorithm={kind="boolean-least-squares"}'],
        ["boolean-least-squares", "outputs", "cost"],
    ),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What the shell says to every wrong request, from one process."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "a.toml").write_text(TOML)
    rng = np.random.default_rng(0)
    np.savetxt(folder / "short.csv", rng.random(50))
    np.savetxt(folder / "constant.csv", np.full(121, 2.5))
    np.savetxt(folder / "flat.csv", np.concatenate([rng.random(20), np.full(101, 0.5)]))
    words = [
        ["train", "a.toml", *(w for change in changes for w in ("--set", change))]
        for changes, _ in WRONG.values()
    ]
    done = subprocess.run(
        [sys.executable, "-c", SHELL],
        cwd=folder, input=json.dumps(words), capture_output=True, text=True, timeout=300,
        env={**os.environ, "COLUMNS": "200"}, check=True,
    )  # fmt: skip
    written = sorted(path.name for path in folder.iterdir())
    return dict(zip(WRONG, json.loads(done.stdout))), written


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_request_for_a_readout_is_one_sentence(kind, answers):
    said, written = answers
    status, out, err = said[kind]
    assert status == 2, err
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    for part in WRONG[kind][1]:
        assert part in err
    assert written == ["a.toml", "constant.csv", "flat.csv", "short.csv"]
