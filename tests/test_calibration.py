"""`learning_rate="auto"`: the rate against a plain loop, its account, and that it trains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

import dither
from dither import MLP, SimulatedDevice, Until
from dither.algorithms import FiniteDifferences, WeightMGD
from dither.algorithms.calibration import POLYAK, SHARE, START, WINDOW, Calibration, calibrated
from dither.tasks import XOR, Digits, NIST7x7, Parity
from numpy_device import NumpyDevice

DEVICE = SimulatedDevice(network=MLP(widths=(2, 2, 1), activation="sigmoid", output="sigmoid"))
LETTERS = SimulatedDevice(network=MLP(widths=(49, 4, 4), activation="sigmoid", output="sigmoid"))


@pytest.mark.parametrize("ticks", [1, 10])
def test_rate_follows_its_formula(ticks):
    rng = np.random.default_rng(0)
    n, kappa = int(1.5 * WINDOW), 19.0
    G = rng.normal(size=(n, 20)) * np.linspace(1, 0.3, n)[:, None]
    C = rng.uniform(0.5, 1.5, size=n)

    def one(now, seen):
        eta, now = calibrated(now, *seen, kappa, ticks)
        return now, eta

    seen = jnp.asarray(G, jnp.float32), jnp.asarray(C, jnp.float32)
    rates = np.asarray(jax.lax.scan(one, Calibration.empty(), seen)[1], float)

    cost = square = 0.0
    most = np.inf
    for k in range(n):
        weight = max(1 / (k + 1), 1 / WINDOW)
        cost = (1 - weight) * cost + weight * C[k]
        square = (1 - weight) * square + weight * (G[k] @ G[k])
        free = cost / square / (1 / POLYAK + 1 / (SHARE * (1 + kappa / ticks)))
        starting = k + 1 < max(1, START // ticks)
        if k + 1 <= max(1, START // ticks):
            most = free
        assert rates[k] == pytest.approx(0.0 if starting else min(free, most), rel=1e-4)
    assert rates[-1] == pytest.approx(most, rel=1e-4)  # a gradient that falls raises no rate


def test_one_estimate_far_above_the_mean_makes_a_small_step():
    now = Calibration.empty()
    G = jnp.ones(4)
    step = jax.jit(lambda now, G: calibrated(now, G, jnp.float32(1.0), 3.0, 1))
    for _ in range(START):
        eta, now = step(now, G)
    large, _ = step(now, 100 * G)
    assert 100 * float(large) < 0.2 * float(eta)


def test_first_ticks_move_nothing_and_are_counted():
    auto = WeightMGD(learning_rate="auto", pairs="central", delta=0.1)
    untrained = WeightMGD(learning_rate=0.0, pairs="central", delta=0.1)
    until = Until(measurements=2 * START - 2)
    ends = [dither.train(DEVICE, XOR(), a, until=until, replicas=2) for a in (auto, untrained)]
    assert ends[0].ledger["measurements"] == 2 * START - 2
    np.testing.assert_array_equal(ends[0].parameters, ends[1].parameters)
    later = dither.train(DEVICE, XOR(), auto, until=Until(measurements=2 * START + 2), replicas=2)
    assert np.all(np.any(later.parameters != ends[1].parameters, axis=1))


def test_a_run_resumed_is_the_run_undisturbed(tmp_path):
    auto = WeightMGD(learning_rate="auto", pairs="central", delta=0.1)
    more = {"replicas": 2, "score_every": 100}
    whole = dither.train(DEVICE, XOR(), auto, until=Until(measurements=600), **more)
    dither.train(DEVICE, XOR(), auto, until=Until(measurements=200), out=tmp_path / "r", **more)
    again = dither.train(
        DEVICE, XOR(), auto, until=Until(measurements=600), out=tmp_path / "r", resume=True, **more
    )
    np.testing.assert_array_equal(whole.parameters, again.parameters)


@pytest.mark.usefixtures("x64")
def test_a_python_device_takes_the_same_path():
    auto = WeightMGD(learning_rate="auto", pairs="central", delta=0.1)
    network = SimulatedDevice(network=MLP(widths=(3, 2, 2), gain=2.0))
    start = jax.random.split(jax.random.key(0), 4)[0]
    chip = NumpyDevice((3, 2, 2), initial=network.initial(start))
    # on a real device the self-test and the last look are measurements too
    until = Until(measurements=152)
    hosted = dither.train(chip, Parity(bits=3), auto, until=until, score_every=10**6)
    until = Until(measurements=150)
    fused = dither.train(network, Parity(bits=3), auto, until=until, score_every=10**6)
    moved = np.abs(fused.parameters[0] - network.initial(start)).max()
    assert moved > 0.01
    np.testing.assert_allclose(hosted.parameters, fused.parameters, rtol=0, atol=1e-9)


def test_letters_within_twice_the_measurements_of_a_tuned_rate():
    """0.1 and 0.2 are the best of a grid of factors of 2."""
    until = Until(measurements=20_000, score=0.95)
    took = {}
    for rate in ("auto", 0.1):
        algorithm = WeightMGD(learning_rate=rate, pairs="central", delta=0.01)
        result = dither.train(
            LETTERS, NIST7x7(), algorithm, until=until, replicas=16, key=100, score_every=200
        )
        took[rate] = np.median([end.ledger["measurements"] for end in result.replicas])
    assert took["auto"] < 2 * took[0.1]


def test_no_replica_diverges_on_digits():
    device = SimulatedDevice(network=MLP(widths=(64, 32, 10)))
    auto = WeightMGD(learning_rate="auto", pairs="central", delta=0.01)
    result = dither.train(
        device, Digits(), auto, until=Until(measurements=2000), replicas=32, score_every=1000
    )
    costs = result.history.groupby("replica")["test_cost"]
    assert len(costs) == 32
    assert (costs.last() < 2.0).all()  # log 10 = 2.3 is chance


def test_auto_is_refused_where_it_has_no_meaning():
    with pytest.raises(ValidationError, match="plain descent"):
        WeightMGD(learning_rate="auto", optimizer="adam")
    with pytest.raises(ValidationError, match="valid number"):
        WeightMGD(learning_rate="fast")
    with pytest.raises(ValidationError, match="valid number"):
        FiniteDifferences(learning_rate="auto")
