"""Every imperfection in the battery, and the newer ones against their equations."""

import math
from functools import cache
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import toeplitz
from scipy.stats import levy_stable

import dither
from dither import MLP, SimulatedDevice, Until, WeightMGD
from dither.contract import AccessLevel, Batch, SparseWrite, Status
from dither.devices import (
    ADC,
    DAC,
    IMPERFECTIONS,
    ActivationDefects,
    Blueprint,
    Bounds,
    Bursts,
    CostNoise,
    Crosstalk,
    Dead,
    DetectorMemory,
    Drift,
    FailedReads,
    HungReads,
    Latency,
    LayerConverter,
    LayerNoise,
    Mismatch,
    NonlinearUpdate,
    OutputDrift,
    OutputNoise,
    PinkNoise,
    ReadoutDevice,
    RelativeNoise,
    Stuck,
    UpdateNoise,
    Write,
    WriteNoise,
)
from dither.devices.imperfections.bursts import alpha_stable
from dither.networks import EchoState
from dither.tasks import NARMA10, Parity, SeriesTask, mse
from dither.testing import battery

NETWORK = MLP(widths=(3, 4, 2), output="sigmoid")
P = 26
RNG = np.random.default_rng(0)
INPUTS = jnp.asarray(RNG.standard_normal((5, 3)))
BATCH = Batch(INPUTS, jnp.asarray([0, 1, 1, 0, 1]))
THETA = jnp.asarray(0.5 * RNG.standard_normal(P))
MANY = Blueprint(4000, 3, {})


NONE = {
    "cost-noise": CostNoise(sigma=0.0),
    "output-noise": OutputNoise(sigma=0.0),
    "relative-noise": RelativeNoise(sigma=0.0),
    "pink-noise": PinkNoise(sigma=0.0),
    "bursts": Bursts(probability=1.0, sigma=0.0),
    "layer-noise": LayerNoise(sigma=0.0),
    "write-noise": WriteNoise(sigma=0.0),
    "update-noise": UpdateNoise(sigma=0.0),
    "nonlinear-update": NonlinearUpdate(low=-9.0, high=9.0, nonlinearity=0.0),
    "bounds": Bounds(low=-9.0, high=9.0),
    "dac": None,
    "adc": None,
    "layer-converter": None,
    "mismatch": Mismatch(),
    "activation-defects": ActivationDefects(sigma=0.0),
    "crosstalk": Crosstalk(coupling=0.0),
    "drift": Drift(form="jumps", amount=0.0, over=1),
    "output-drift": OutputDrift(form="relaxation", amount=0.0, over=1),
    "detector-memory": DetectorMemory(share=0.0, over=3.0),
    "dead": Dead(share=0.0),
    "stuck": Stuck(share=0.0),
    "failed-reads": FailedReads(probability=0.0),
    "hung-reads": HungReads(probability=0.0),
    "latency": Latency(),
}
"""The setting at which an imperfection is none, if there is such."""


def device(*imperfections, network=NETWORK):
    return SimulatedDevice(network=network, imperfections=imperfections)


def started(device, seed=0, theta=THETA):
    instance = device.fabricate(jax.random.key(seed))
    return device.write(instance, theta, jnp.bool_(True))


def clean_outputs(theta=THETA, network=NETWORK):
    arrays = device(network=network).space.unravel(jnp.asarray(theta))
    return np.asarray(network(arrays, INPUTS))


def keys(number, seed=3):
    return jax.random.split(jax.random.key(seed), number)


def close_in_statistics(sample, mean, deviation):
    """Mean and standard deviation within 5 standard errors of normal samples."""
    n = sample.size
    assert abs(sample.mean() - mean) < 5 * deviation / math.sqrt(n)
    assert abs(sample.std() / deviation - 1) < 5 / math.sqrt(2 * n)


def share_is(hits, probability):
    error = math.sqrt(probability * (1 - probability) / hits.size)
    assert abs(hits.mean() - probability) < 5 * error


def course(imperfection, steps, blueprint=MANY, seed=0):
    """What an imperfection holds from the start to after so many measurements."""
    making, noise = jax.random.split(jax.random.key(seed))
    first = imperfection.fabricate(making, blueprint)

    @eqx.filter_jit
    def run(first):
        def step(instance, key):
            after = imperfection.measured(instance, key, jnp.zeros((1, blueprint.outputs)))
            return after, after

        return jax.lax.scan(step, first, jax.random.split(noise, steps))[1]

    later = run(first)
    return jax.tree.map(lambda a, b: np.concatenate([a[None], b]), first, later)


# ----------------------------------------------------------------------------------- the battery


TestEveryImperfection = battery(*IMPERFECTIONS.values())


def test_every_imperfection_has_a_setting_at_which_it_is_none_or_has_none():
    missing = set(IMPERFECTIONS) - set(NONE)
    assert not missing, f"add one line to NONE in {__file__} for each of {missing}"
    assert all(none is None or kind == none.kind for kind, none in NONE.items())


def life(device):
    """Two writes and three measurements: every cost, status and output."""
    instance, found = started(device), []
    for theta in (THETA + 0.1, THETA):
        instance = device.write(instance, theta, jnp.bool_(False))
        measurement, status, instance = device.measure(
            instance, BATCH, mse, None, AccessLevel.OUTPUTS
        )
        found += [measurement.cost, measurement.outputs.y, status]
    return [np.asarray(x) for x in [*found, device.outputs(instance, INPUTS)]]


@cache
def clean_life():
    return life(device())


@pytest.mark.parametrize("kind", [kind for kind, none in NONE.items() if none])
def test_at_its_identity_setting_it_is_none(kind):
    for found, wanted in zip(life(device(NONE[kind])), clean_life()):
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("form", ["random-walk", "relaxation", "sinusoid", "jumps"])
def test_a_drift_of_nothing_is_none(form):
    still = Drift(form=form, amount=0.0, over=7), OutputDrift(form=form, amount=0.0, over=7)
    for found, wanted in zip(life(device(*still)), clean_life()):
        assert np.array_equal(found, wanted)


REMEMBERING = (
    "pink-noise",
    "detector-memory",
    "write-noise",
    "nonlinear-update",
    "drift",
    "hung-reads",
)
TOGETHER = SimulatedDevice(
    network=NETWORK,
    imperfections=tuple(IMPERFECTIONS[kind].example() for kind in REMEMBERING),
    seconds_per_write=1.0,
)
RUN = {"task": Parity(bits=3, batch=4), "replicas": 2, "score_every": 20}


def trained(n, **more):
    algorithm, until = WeightMGD(learning_rate=0.1, delta=0.05), Until(measurements=n)
    return dither.train(TOGETHER, algorithm=algorithm, until=until, **{**RUN, **more})


def test_all_together_stopped_and_resumed_is_the_undisturbed_run(tmp_path):
    whole = trained(74)
    trained(37, out=tmp_path / "run")
    again = trained(74, out=tmp_path / "run", resume=True)
    assert np.array_equal(whole.parameters, again.parameters)
    assert np.isfinite(whole.parameters).all()
    assert np.ptp(whole.parameters, axis=0).max() > 0.01
    columns = whole.history.drop(columns="wall_seconds")
    assert columns.equals(again.history.drop(columns="wall_seconds"))
    assert whole.ledger == again.ledger


def test_replicas_are_the_runs_that_their_seeds_alone_give():
    together, alone = trained(40, key=5), trained(40, key=6, replicas=1)
    # one replica and two are compiled apart: single precision over delta
    assert np.allclose(together.parameters[1], alone.parameters[0], atol=1e-3)
    assert together.replicas[1].ledger["failed"] == alone.ledger["failed"]


def test_where_costs_are_seen_per_sample_each_is_a_read():
    noises = [Bursts(probability=1.0, sigma=0.1, on="cost"), PinkNoise(sigma=0.1, on="cost")]
    clean, *noisy = [device(), *map(device, noises)]
    seen = [
        one.measure(started(one), BATCH, mse, None, AccessLevel.SITES)[0] for one in (clean, *noisy)
    ]
    off = [np.asarray(one.sites.costs - seen[0].sites.costs) for one in seen[1:]]
    assert np.ptp(off[0]) > 1e-3
    assert np.ptp(off[1]) < 1e-6 < np.abs(off[1]).max()
    assert all(np.allclose(one.cost, one.sites.costs.mean(), atol=1e-6) for one in seen)


@pytest.mark.parametrize(
    "pair",
    [
        (DAC(bits=5, low=-1.0, high=1.0), ADC(bits=4, low=0.0, high=1.0)),
        (Crosstalk(coupling=0.2), ADC(bits=4, low=0.0, high=1.0)),
        (LayerConverter(at="sums", bits=4, low=-2.0, high=2.0), Crosstalk(coupling=0.2)),
        (NonlinearUpdate(low=-2.0, high=2.0), LayerConverter(at="inputs", bits=3, low=-1, high=1)),
        (Latency(per_write=1.0), Bounds(low=-0.2, high=0.2)),
    ],
    ids=lambda pair: "-".join(one.kind for one in pair),
)
def test_what_acts_apart_commutes(pair):
    one, other = life(device(*pair)), life(device(*pair[::-1]))
    assert all(np.array_equal(a, b) for a, b in zip(one, other))
    alone = life(device(pair[1]))
    assert not all(np.array_equal(a, b) for a, b in zip(one, alone)) or pair[0].seconds


# ------------------------------------------------------------------------------------ parameters


def test_mismatch():
    found = np.asarray(Mismatch(gain=0.2, offset=0.3).fabricate(jax.random.key(0), MANY))
    close_in_statistics(found[0], 1.0, 0.2)
    close_in_statistics(found[1], 0.0, 0.3)
    assert abs(np.corrcoef(found)[0, 1]) < 5 / math.sqrt(4000)
    uneven = device(Mismatch(gain=0.2, offset=0.3))
    instance = started(uneven)
    gain, offset = instance.imperfections[0]
    wanted = clean_outputs(gain * THETA + offset)
    assert np.allclose(uneven.outputs(instance, INPUTS), wanted, atol=1e-6)


@pytest.mark.parametrize("reach", [1, 30])
def test_crosstalk_is_a_banded_matrix(reach):
    column = np.where(np.arange(P) <= reach, 0.3 ** np.arange(P), 0.0)
    wanted = toeplitz(column) @ np.asarray(THETA)
    found = Crosstalk(coupling=0.3, reach=reach).parameters((), THETA)
    assert np.allclose(found, wanted, atol=1e-5)


def gradient_and_outputs(imperfect, theta):
    instance = started(imperfect, theta=theta)
    measurement, _, _ = imperfect.measure(instance, BATCH, mse, None, AccessLevel.GRADIENTS)
    held = instance.imperfections[0] if instance.imperfections else None
    return held, np.asarray(measurement.gradient), measurement.outputs.y


def acts_as(theta, free, gradient, outputs):
    """The outputs are a clean network's at theta, and so is the gradient of what is free."""
    _, clean, wanted = gradient_and_outputs(device(), theta)
    assert np.allclose(outputs, wanted, atol=1e-6)
    assert np.allclose(gradient[free], clean[free], atol=1e-6)
    assert np.abs(clean[free]).max() > 1e-3


def test_dead_parameters():
    share_is(np.asarray(Dead(share=0.3).fabricate(jax.random.key(0), MANY)), 0.3)
    dead, gradient, outputs = gradient_and_outputs(device(Dead(share=0.4)), THETA)
    assert 0 < dead.sum() < P
    assert np.all(gradient[dead] == 0.0)
    left = jnp.where(dead, 0.0, THETA)
    acts_as(left, ~dead, gradient, outputs)
    _, _, moved = gradient_and_outputs(device(Dead(share=0.4)), THETA + 3.0 * dead)
    assert np.array_equal(outputs, moved)


@pytest.mark.parametrize("at", ["random", "low", "high"])
def test_stuck_parameters(at):
    stuck = Stuck(share=0.3, at=at, low=-0.7, high=2.0)
    which, value = (np.asarray(x) for x in stuck.fabricate(jax.random.key(0), MANY))
    share_is(which, 0.3)
    if at == "random":
        uniform = (value + 0.7) / 2.7
        assert uniform.min() >= 0
        assert uniform.max() <= 1
        close_in_statistics(uniform, 0.5, 1 / math.sqrt(12))
    else:
        assert np.all(value == np.float32(getattr(stuck, at)))
    (which, value), gradient, outputs = gradient_and_outputs(device(stuck), THETA)
    assert np.all(gradient[which] == 0.0)
    acts_as(jnp.where(which, value, THETA), ~which, gradient, outputs)


def test_write_noise():
    noise = WriteNoise(sigma=0.2)
    zeros = noise.fabricate(jax.random.key(0), MANY)
    write = Write(zeros, zeros, jnp.bool_(False))
    first, second = (np.asarray(noise.written(zeros, key, write)) for key in keys(2))
    close_in_statistics(first, 0.0, 0.2)
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / math.sqrt(4000)
    assert np.array_equal(noise.parameters(jnp.asarray(first), zeros + 1), 1 + first)


def test_a_write_of_few_lands_off_only_there():
    noisy = device(WriteNoise(sigma=0.2))
    instance = started(noisy)
    sparse = SparseWrite(jnp.asarray([2, 7, P]), jnp.asarray([1.0, -1.0, 9.0]))
    after = noisy.write(instance, sparse, jnp.bool_(True))
    changed = np.flatnonzero(after.imperfections[0] != instance.imperfections[0])
    assert list(changed) == [2, 7]
    assert list(np.flatnonzero(after.parameters != instance.parameters)) == [2, 7]


@pytest.mark.usefixtures("x64")
def test_nonlinear_update_follows_its_equation():
    """By a NumPy loop that holds what is really programmed, over random writes."""
    low, high, s, a = -1.0, 2.0, 0.7, 0.2
    uneven = NonlinearUpdate(low=low, high=high, nonlinearity=s, asymmetry=a)
    off = uneven.fabricate(jax.random.key(0), Blueprint(5, 1, {}))
    asked, g = np.zeros(5), np.zeros(5)
    for _ in range(40):
        after = asked + 0.4 * RNG.standard_normal(5)
        u = (2 * g - low - high) / (high - low)
        up, down = (1 + a) * (1 - s * u), (1 - a) * (1 + s * u)
        g = np.clip(g + np.where(after > asked, up, down) * (after - asked), low, high)
        write = Write(jnp.asarray(asked), jnp.asarray(after), jnp.bool_(True))
        off, asked = uneven.written(off, jax.random.key(0), write), after
        assert np.allclose(uneven.parameters(off, jnp.asarray(asked)), g, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_soft_bounds_are_approached_exponentially():
    """n steps up by Δ from 0: g = g_max (1 − (1 − Δ/g_max)ⁿ)."""
    soft = device(NonlinearUpdate(low=-2.0, high=2.0))
    instance = soft.fabricate(jax.random.key(0))
    for n in range(1, 31):
        instance = soft.write(instance, jnp.full(P, 0.1 * n), jnp.bool_(True))
    g = soft.imperfections[0].parameters(instance.imperfections[0], instance.parameters)
    assert np.allclose(g, 2 * (1 - 0.95**30), atol=1e-6)


# ----------------------------------------------------------------------------------------- drift


def test_a_random_walk_spreads_as_the_root_of_time():
    walk = course(Drift(form="random-walk", amount=0.3, over=50), 200)
    for t in (10, 50, 200):
        close_in_statistics(walk.d[t], 0.0, 0.3 * math.sqrt(t / 50))
    steps = np.diff(walk.d, axis=0)
    assert abs(np.corrcoef(steps[10], steps[11])[0, 1]) < 5 / math.sqrt(4000)


def test_relaxation_reaches_its_share():
    slow = course(Drift(form="relaxation", amount=0.3, over=20), 100)
    close_in_statistics(slow.d[100] / (1 - math.exp(-5)), 0.0, 0.3)
    assert np.allclose(slow.d[20], (1 - 1 / math.e) * 0.3 * slow.n[0], rtol=1e-5)
    assert np.all(slow.d[0] == 0)


def test_a_sinusoid_comes_round():
    wave = course(Drift(form="sinusoid", amount=0.3, over=20), 45)
    t = np.arange(46)[:, None]
    wanted = 0.3 * wave.n[0] * np.sin(2 * np.pi * (t / 20 + wave.phase[0]))
    assert np.allclose(wave.d, wanted, atol=1e-5)
    phases = jax.vmap(lambda key: Drift(form="sinusoid", amount=1.0, over=9).start(key, 1).phase)
    close_in_statistics(np.asarray(phases(keys(2000))), 0.5, 1 / math.sqrt(12))


def test_jumps_come_at_random():
    found = course(Drift(form="jumps", amount=0.3, over=10), 3000, Blueprint(40, 1, {}))
    steps = np.diff(found.d, axis=0)
    jumped = np.any(np.abs(steps) > 1e-3, axis=1)
    share_is(jumped, 0.1)
    assert np.allclose(np.abs(steps[jumped]), 0.3, atol=1e-4)
    close_in_statistics(np.sign(steps[jumped]), 0.0, 1.0)


@pytest.mark.parametrize("common", [False, True])
def test_what_drifts(common):
    setting = {"form": "random-walk", "amount": 0.3, "over": 1, "common": common}
    gains, offsets = Drift(**setting), Drift(of="offsets", **setting)
    drifting = device(gains, offsets, OutputDrift(**setting))
    instance = started(drifting)
    for _ in range(3):
        *_, instance = drifting.measure(instance, BATCH, mse, None, AccessLevel.COST)
    d = [one.d for one in instance.imperfections]
    assert [x.size for x in d] == ([1, 1, 1] if common else [P, P, 2])
    assert all(np.abs(x).max() > 0.1 for x in d)
    wanted = (1 + d[2]) * clean_outputs((1 + d[0]) * THETA + d[1])
    assert np.allclose(drifting.outputs(instance, INPUTS), wanted, atol=1e-5)


# --------------------------------------------------------------------------------- noise and reads


def test_the_spectrum_of_pink_noise():
    """Its closed form within the periodogram's statistics, and that falls as 1/f."""
    octaves, steps, channels = 8, 2**13, 64
    pink = PinkNoise(sigma=1.0, octaves=octaves)
    x = course(pink, steps - 1, Blueprint(1, channels, {})).sum(axis=1) / math.sqrt(octaves)
    close = 5 * math.sqrt(2 * 2 ** (octaves - 1) / steps / channels) * 2
    assert abs(x.var() - 1) < close
    window = np.hanning(steps)[:, None]
    power = np.abs(np.fft.rfft(window * x, axis=0)) ** 2 / (window**2).sum()
    f = np.fft.rfftfreq(steps)
    a = np.exp(-(2.0 ** -np.arange(octaves)))[:, None]
    lorentzians = (1 - a**2) / (1 - 2 * a * np.cos(2 * np.pi * f) + a**2)
    law = lorentzians.mean(axis=0)
    edges = 2.0 ** np.arange(-9, -4)
    measured = []
    for low, high in pairwise(edges):
        band = (f >= low) & (f < high)
        ratio = power[band] / law[band, None]
        # exponential numbers; the window correlates about three neighbours
        assert abs(ratio.mean() - 1) < 5 * math.sqrt(3 / ratio.size)
        measured.append((math.log(f[band].mean()), math.log(power[band].mean())))
    slope = np.polyfit(*np.array(measured).T, 1)[0]
    assert abs(slope + 1) < 0.1


@pytest.mark.parametrize("on", ["outputs", "cost"])
def test_where_pink_noise_and_bursts_go(on):
    clean = np.mean((clean_outputs() - np.eye(2)[[0, 1, 1, 0, 1]]) ** 2)
    for noise in (PinkNoise(sigma=0.3, on=on), Bursts(probability=1.0, sigma=0.3, on=on)):
        noisy = device(noise)
        measurement, _, _ = noisy.measure(started(noisy), BATCH, mse, None, AccessLevel.OUTPUTS)
        seen = np.abs(measurement.outputs.y - clean_outputs()).max()
        cost = np.mean((measurement.outputs.y - np.eye(2)[[0, 1, 1, 0, 1]]) ** 2)
        assert (seen > 1e-2) == (on == "outputs")
        assert (abs(measurement.cost - cost) > 1e-4) == (on == "cost")
        assert abs(measurement.cost - clean) > 1e-5


@pytest.mark.parametrize("alpha", [0.7, 1.0, 2.0])
def test_alpha_stable_numbers_have_their_distribution(alpha):
    x = np.asarray(alpha_stable(jax.random.key(1), alpha, (20_000,)))
    assert np.isfinite(x).all()
    for place in (-5.0, -0.7, 0.3, 1.5):
        share_is(x < place, levy_stable.cdf(place, alpha, 0.0))


def test_bursts_come_with_their_probability():
    bursts = Bursts(probability=0.2, sigma=1.0, on="cost")
    cost = jax.vmap(lambda key: bursts.cost((), key, jnp.asarray(1.0)))(keys(4000))
    share_is(np.asarray(cost) != 1.0, 0.2)
    # one burst takes all samples of a measurement, each by its own
    each = jax.vmap(lambda key: bursts.cost((), key, jnp.ones(3)))(keys(4000))
    hit = np.asarray(each) != 1.0
    assert np.array_equal(hit.any(axis=1), hit.all(axis=1))
    assert np.ptp(np.asarray(each)[hit.all(axis=1)], axis=1).min() > 0


@pytest.mark.parametrize("bits", [1, 4, 9])
def test_an_adc_reads_the_nearest_of_its_levels(bits):
    values = 2 * RNG.standard_normal((50, 4))
    levels = np.linspace(-1.0, 1.5, 2**bits)
    wanted = levels[np.abs(values[..., None] - levels).argmin(axis=-1)]
    adc = ADC(bits=bits, low=-1.0, high=1.5)
    found = adc.outputs((), jax.random.key(0), jnp.asarray(values))
    assert np.allclose(found, wanted, atol=1e-6)
    slope = jax.grad(lambda y: adc.outputs((), jax.random.key(0), y).sum())(jnp.asarray(values))
    assert np.all(slope == 1)


@pytest.mark.parametrize("at", ["inputs", "sums"])
def test_converters_between_layers(at):
    def rounded(v, here):
        levels = np.linspace(-0.8, 0.9, 2**4)
        return levels[np.abs(v[..., None] - levels).argmin(axis=-1)] if here == at else v

    converter = device(LayerConverter(at=at, bits=4, low=-0.8, high=0.9))
    theta = {k: np.asarray(v) for k, v in converter.space.unravel(THETA).items()}
    x = np.asarray(INPUTS)
    for layer, f in [("dense0", np.tanh), ("dense1", lambda z: 1 / (1 + np.exp(-z)))]:
        z = rounded(x, "inputs") @ theta[f"{layer}/weight"] + theta[f"{layer}/bias"]
        x = f(rounded(z, "sums"))
    assert np.allclose(converter.outputs(started(converter), INPUTS), x, atol=1e-5)


def test_layer_noise_is_drawn_apart_for_each_layer_and_sample():
    """With two linear layers, `y = (x W0 + b0 + n0) W1 + b1 + n1`."""
    linear = MLP(widths=(3, 2, 2), activation="identity")
    theta = jnp.asarray(RNG.standard_normal(14))
    noisy = device(LayerNoise(sigma=0.3), network=linear)

    def one(key):
        instance = noisy.write(noisy.fabricate(key), theta, jnp.bool_(True))
        return noisy.outputs(instance, INPUTS)

    found = np.asarray(jax.jit(jax.vmap(one))(keys(1000))) - clean_outputs(theta, linear)
    w = np.asarray(noisy.space.unravel(theta)["dense1/weight"])
    for k in range(2):
        close_in_statistics(found[:, :, k], 0.0, 0.3 * math.sqrt(1 + w[:, k] @ w[:, k]))
    assert abs(np.corrcoef(found[:, 0, 0], found[:, 1, 0])[0, 1]) < 5 / math.sqrt(1000)


# --------------------------------------------------------------------------------- what time costs


def test_hung_reads_take_their_time():
    """The ledger by hand; and time on the device ends the run, at most one hung read late."""
    hanging = SimulatedDevice(
        network=NETWORK,
        imperfections=(
            HungReads(probability=0.2, seconds_hung=8.0),
            HungReads(probability=0.0, seconds_hung=2.0),
            Latency(per_write=0.25, per_measurement=0.5),
        ),
        seconds_per_write=1.0,
        seconds_per_measurement=2.0,
        joules_per_write=3.0,
        joules_per_measurement=4.0,
    )
    assert hanging.fails
    algorithm = WeightMGD(learning_rate=0.1, delta=0.05)
    until = Until(device_seconds=2000.0)
    result = dither.train(hanging, Parity(bits=3), algorithm, until=until)
    assert result.stop_reason == "device_seconds"
    ledger = result.ledger
    assert 2000 <= ledger["device_seconds"] < 2000 + 3.75 + 8
    assert ledger["device_seconds"] == 3.75 * ledger["measurements"] + 8 * ledger["failed"]
    assert ledger["joules"] == 7.0 * ledger["measurements"]
    share_is(np.arange(ledger["measurements"]) < ledger["failed"], 0.2)


def test_of_failed_and_hung_the_graver_holds():
    certain = 1 - 1e-9
    for order in (1, -1):
        both = device(*(FailedReads(probability=certain), HungReads(probability=certain))[::order])
        _, status, _ = both.measure(started(both), BATCH, mse, None, AccessLevel.COST)
        assert status == Status.TIMED_OUT


ON_A_BENCH = [
    "output-noise",
    "adc",
    "pink-noise",
    "output-drift",
    "bursts",
    "hung-reads",
    "latency",
]


def test_a_readout_takes_what_acts_on_outputs_cost_and_reads():
    bench = ReadoutDevice(
        reservoir="photonic",
        imperfections=tuple(IMPERFECTIONS[kind].example() for kind in ON_A_BENCH),
    )
    assert bench.write_seconds + bench.measurement_seconds == 0.75
    assert bench.time_out == 2.0
    for kind in ("drift", "write-noise", "crosstalk", "layer-noise", "nonlinear-update"):
        with pytest.raises(ValueError, match=kind):
            ReadoutDevice(reservoir="photonic", imperfections=(IMPERFECTIONS[kind].example(),))


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "adc", "bits": 4, "low": 1.0, "high": 0.0},
        {"kind": "stuck", "share": 0.1, "low": 1.0, "high": 0.0},
        {"kind": "stuck", "share": 1.1},
        {"kind": "layer-converter", "at": "sums", "bits": 4, "low": 1.0, "high": 0.0},
        {"kind": "nonlinear-update", "low": 1.0, "high": 1.0},
        {"kind": "bursts", "probability": 0.1, "sigma": 1.0, "alpha": 2.5},
        {"kind": "drift", "form": "random-walk", "amount": 0.1, "over": 0},
        {"kind": "drift", "form": "sideways", "amount": 0.1, "over": 9},
    ],
    ids=lambda wrong: "-".join(map(str, wrong.values())),
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"imperfections\.0"):
        SimulatedDevice(network=NETWORK, imperfections=(wrong,))


# ------------------------------------------------------------------------------- what remembers


def test_a_detectors_memory_is_the_weighted_sum_of_what_it_read():
    """`r_n = a Σ_k (1 − a)^(n−1−k) x̄_k` where `1 − a = exp(−1/over)`."""
    share, over = 0.3, 4.0
    chip = device(DetectorMemory(share=share, over=over))
    clean, means = device(), []
    instance, bare = started(chip), started(clean)
    for n in range(12):
        theta = THETA + 0.1 * n
        instance = chip.write(instance, theta, jnp.bool_(True))
        bare = clean.write(bare, theta, jnp.bool_(True))
        x = np.asarray(clean.outputs(bare, INPUTS))
        weights = -np.expm1(-1 / over) * np.exp(-(n - 1 - np.arange(n)) / over)
        r = weights @ np.array(means) if means else np.zeros(2)
        # looking changes nothing
        assert np.allclose(chip.outputs(instance, INPUTS), x + share * r, atol=1e-6)
        assert np.allclose(chip.outputs(instance, INPUTS), x + share * r, atol=1e-6)
        measurement, _, instance = chip.measure(instance, BATCH, mse, None, AccessLevel.OUTPUTS)
        assert np.allclose(measurement.outputs.y, x + share * r, atol=1e-6)
        means.append(x.mean(axis=0))


def test_under_constant_light_a_detector_saturates_in_its_time():
    """`y_n = x̄ (1 + share (1 − exp(−n/over)))` for constant x, on a readout too."""
    share, over = 0.5, 3.0
    task = SeriesTask(series=NARMA10(washout=20, train=60, test=30)).load()
    bench = ReadoutDevice(
        reservoir=EchoState(neurons=12, degree=3),
        imperfections=(DetectorMemory(share=share, over=over),),
    )
    states = bench.prepare(jax.vmap(bench.fabricate)(keys(1)), task)
    state = jax.tree.map(lambda leaf: leaf[0], states)
    state = bench.write(state, jnp.ones(12), jnp.bool_(True))
    batch = Batch(task.inputs, task.targets)
    first = None
    for n in range(9):
        found, _, state = bench.measure(state, batch, task.cost, None, AccessLevel.OUTPUTS)
        first = np.asarray(found.outputs.y) if first is None else first
        wanted = first + share * first.mean() * -np.expm1(-n / over)
        assert np.allclose(found.outputs.y, wanted, rtol=1e-5)


def test_what_an_imperfection_remembers_is_what_came_to_it():
    """Two detectors in a row: the second sees what the first passed on."""
    two = DetectorMemory(share=1.0, over=1e-9), DetectorMemory(share=0.0, over=1e-9)
    chip = device(*two)
    instance = started(chip)
    x = clean_outputs()
    for n in range(3):
        _, _, instance = chip.measure(instance, BATCH, mse, None, AccessLevel.COST)
        held = [np.asarray(r) for r in instance.imperfections]
        assert np.allclose(held[0], x.mean(axis=0), atol=1e-6)
        assert np.allclose(held[1], x.mean(axis=0) * (1 if n == 0 else 2), atol=1e-6)
