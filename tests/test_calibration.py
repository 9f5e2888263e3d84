"""`learning_rate="auto"`: the rate against a plain loop, its account, and that it trains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import MLP, RequestError, SimulatedDevice, Until
from dither.algorithms import SPSA, NodePerturbation, WeightMGD
from dither.algorithms.calibration import (
    CLIP,
    EVERY,
    PROMISE,
    START,
    SURE,
    TRIAL,
    WINDOW,
    Calibration,
    proposed,
    tried,
)
from dither.contract import Clock
from dither.tasks import XOR, Digits, NIST7x7, Parity, make_task
from dither.testing.devices import NumpyDevice
from dither.training.fit import problem_of
from dither.training.fused import advance, start_all

DEVICE = SimulatedDevice(network=MLP(widths=(2, 2, 1), activation="sigmoid", output="sigmoid"))
LETTERS = SimulatedDevice(network=MLP(widths=(49, 4, 4), activation="sigmoid", output="sigmoid"))


CALIBRATING = START * (2 + TRIAL)
"""Measurements before the first update, in central pairs."""


@pytest.mark.parametrize("spread", [4.0, None])
def test_rate_follows_its_formula(spread):
    rng = np.random.default_rng(0)
    n = int(1.5 * WINDOW)
    G = rng.normal(size=(n, 20)) * np.linspace(1, 0.3, n)[:, None]
    G[n // 2 :: 50] *= 10
    C = rng.uniform(0.5, 1.5, size=n)

    def one(now, seen):
        now = proposed(now, *seen, spread)
        return now, (now.rate, now.step())

    seen = jnp.asarray(G, jnp.float32), jnp.asarray(C, jnp.float32)
    rates, steps = (np.asarray(x, float) for x in jax.lax.scan(one, Calibration.empty(), seen)[1])

    cost = square = 0.0
    most = np.inf
    for k in range(n):
        weight = max(1 / (k + 1), 1 / WINDOW)
        cost = (1 - weight) * cost + weight * C[k]
        square = (1 - weight) * square + weight * (G[k] @ G[k])
        free = cost / max(square, CLIP * (G[k] @ G[k])) * (spread / PROMISE if spread else 1.0)
        if k < START:
            most = free
        assert rates[k] == pytest.approx(min(free, most), rel=1e-4)
        assert steps[k] == (0 if k < START else rates[k])
    assert rates[-1] <= most * 1.0001  # a gradient that falls raises no rate


def test_trials_double_and_halve_by_their_standard_error():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(m, 1, size=150) for m in (0.6, -0.8, 0.0, 1.0, -1.0)])
    x[[20, 500]] = np.nan, np.inf

    def one(now, x):
        now = tried(now, jnp.int32(0), 5 + x)
        now = tried(now, jnp.int32(1), jnp.float32(5))
        return now, now.rate

    start = proposed(Calibration.empty(), jnp.ones(4), jnp.float32(2.0), None)
    rates = np.asarray(jax.lax.scan(one, start, jnp.asarray(x, jnp.float32))[1])

    k, seen, boosts = 1.0, [], []
    for each in np.where(np.isfinite(x), x, -2.0):
        seen.append(each)
        if abs(sum(seen)) > SURE * np.linalg.norm(seen):
            k, seen = max(1.0, 2 * k if sum(seen) > 0 else k / 2), []
        boosts.append(k)
    np.testing.assert_allclose(rates, 0.5 * np.array(boosts), rtol=1e-5)  # <C> / <|G|²> = 2/4
    assert max(boosts) >= 8
    assert boosts[-1] < max(boosts)


def linear(seed=0):
    """A linear layer on whitened inputs, its bias among them, of which the Hessian is lambda I."""
    rng = np.random.default_rng(seed)
    X = np.linalg.qr(np.column_stack([np.ones(16), rng.normal(size=(16, 5))]))[0] * 4
    x = (X[:, 1:] * np.sign(X[0, 0])).astype(np.float32)
    t = rng.normal(size=(16, 3)).astype(np.float32)
    task = make_task(x, t, x, t, cost="mse")
    return SimulatedDevice(network=MLP(widths=(5, 3))), task


def run(algorithm, device, task, measurements, replicas):
    carry = start_all(algorithm, device, task, jnp.arange(replicas))
    return advance((algorithm, device, task, jnp.int32(measurements)), carry).algorithm


def cost_of(device, task):
    def cost(theta):
        y = device.network(device.space.unravel(theta), task.inputs)
        return jnp.mean(task.cost(y, task.targets))

    return cost


@pytest.mark.usefixtures("x64")
def test_trials_find_the_best_rate_of_a_quadratic():
    """`|g|² / E[GᵀHG] = 1 / (lambda P)` where H = lambda I and G is of one tick."""
    device, task = linear()
    theta = device.initial(jax.random.key(0))
    H = np.asarray(jax.hessian(cost_of(device, task))(theta))
    np.testing.assert_allclose(H, H[0, 0] * np.eye(len(H)), atol=1e-6)
    best = 1 / (H[0, 0] * len(H))
    auto = WeightMGD(learning_rate="auto", pairs="central", delta=0.01)
    first = run(auto, device, task, 2 + TRIAL, replicas=4).calibration
    slope = np.asarray(first.square) / len(H)  # gᵀG
    x = first.rate * slope * (1 - first.rate / best)
    np.testing.assert_allclose(first.gain, x, rtol=1e-6)

    updates = 12 * EVERY
    state = run(auto, device, task, CALIBRATING + 2 * updates + 12 * TRIAL, replicas=16)
    boost, most = np.asarray(state.calibration.boost), np.asarray(state.calibration.most)
    assert boost.max() > 1
    assert np.all(boost[most > best] == 1)
    assert np.all((boost * most)[boost > 1] < 2.5 * best)  # doubled below the best at the latest


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("pairs", ["central", "baseline"])
@pytest.mark.parametrize("kind", ["weight", "node", "per example"])
def test_a_trial_measures_half_a_step_and_one_and_a_half(kind, pairs):
    device, task = linear()
    if kind == "weight":
        auto = WeightMGD(learning_rate="auto", pairs=pairs, delta=0.01)
    else:
        auto = NodePerturbation(learning_rate="auto", pairs=pairs, per_example=kind != "node")
    cost = cost_of(device, task)
    half = run(auto, device, task, 3, replicas=1)
    theta, G, eta = half.theta[0], half.gradient[0], half.calibration.rate[0]
    assert float(half.calibration.shorter[0]) == pytest.approx(
        float(cost(theta - eta * G / 2)), rel=1e-9
    )
    whole = run(auto, device, task, 2 + TRIAL, replicas=1)
    x = cost(theta - eta * G / 2) - cost(theta - 1.5 * eta * G)
    assert float(whole.calibration.gain[0]) == pytest.approx(float(x), rel=1e-6)
    np.testing.assert_array_equal(whole.theta[0], theta)
    later = run(auto, device, task, CALIBRATING, replicas=1)
    np.testing.assert_array_equal(later.theta[0], theta)


@pytest.mark.usefixtures("x64")
def test_normalised_estimates_are_tried_as_they_are_applied():
    device, task = linear()
    auto = NodePerturbation(learning_rate="auto", pairs="central", normalise=True)
    state = run(auto, device, task, 3, replicas=1)
    theta, G, eta = state.theta[0], state.gradient[0], state.calibration.rate[0]
    along = cost_of(device, task)(theta - eta * G / 3**0.5 / 2)  # three nodes
    assert float(state.calibration.shorter[0]) == pytest.approx(float(along), rel=1e-9)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", ["weight", "node"])
def test_first_rate_is_the_cost_over_both_gradients(kind):
    """`E[1/eta] = 6 |g|² spread / C` where theta stands still; 3 nodes, or P weights."""
    device, task = linear()
    if kind == "weight":
        auto = WeightMGD(learning_rate="auto", pairs="central", delta=0.01)
    else:
        auto = NodePerturbation(learning_rate="auto", pairs="central", delta=0.01)
    state = run(auto, device, task, CALIBRATING, replicas=256)
    C, g = jax.vmap(jax.value_and_grad(cost_of(device, task)))(state.theta)
    spread = np.sqrt(3 if kind == "node" else device.space.size)
    law = PROMISE * np.sum(np.asarray(g) ** 2, axis=1) * spread / np.asarray(C)
    ratio = 1 / (np.asarray(state.calibration.most) * law)
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / 16
    assert ratio.std() < 0.8


@pytest.mark.parametrize("per_example", [False, True])
def test_nodes_find_a_rate_that_trains(per_example):
    device = SimulatedDevice(network=MLP(widths=(64, 32, 10)))
    auto = NodePerturbation(learning_rate="auto", pairs="central", per_example=per_example)
    result = dither.train(
        device, Digits(), auto, until=Until(measurements=600), replicas=32, score_every=300
    )
    costs = result.history.groupby("replica")["test_cost"].last()
    assert len(costs) == 32
    assert (costs < (0.7 if per_example else 1.5)).all()  # log 10 = 2.3 is chance


def test_one_estimate_far_above_the_mean_makes_a_small_step():
    now = Calibration.empty()
    G = jnp.ones(4)
    step = jax.jit(lambda now, G: proposed(now, G, jnp.float32(1.0), 2.0))
    for _ in range(START):
        now = step(now, G)
    assert 100 * float(step(now, 100 * G).rate) < 0.2 * float(now.rate)


@pytest.mark.filterwarnings("ignore:The first update is due:dither.training.train.TrapWarning")
def test_first_ticks_move_nothing_and_are_counted():
    auto = WeightMGD(learning_rate="auto", pairs="central", delta=0.1)
    untrained = WeightMGD(learning_rate=0.0, pairs="central", delta=0.1)
    until = Until(measurements=CALIBRATING)
    ends = [dither.train(DEVICE, XOR(), a, until=until, replicas=2) for a in (auto, untrained)]
    assert ends[0].ledger["measurements"] == CALIBRATING
    np.testing.assert_array_equal(ends[0].parameters, ends[1].parameters)
    # the first update is tried before it is made
    until = Until(measurements=CALIBRATING + 2 + TRIAL)
    later = dither.train(DEVICE, XOR(), auto, until=until, replicas=2)
    assert np.all(np.any(later.parameters != ends[1].parameters, axis=1))


@pytest.mark.parametrize("pairs", ["central", "baseline"])
@pytest.mark.parametrize("kind", [WeightMGD, NodePerturbation])
def test_a_trial_that_fails_is_begun_again(kind, pairs):
    auto = kind(learning_rate="auto", pairs=pairs)
    problem = problem_of(DEVICE, XOR().load())
    for part in (2, 3):  # after a pair, or a baseline and what is held against it
        again = auto.retry(problem, Clock(tick=jnp.int32(0), part=jnp.int32(part)))
        assert (int(again.tick), int(again.part)) == (0, 2)


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


@pytest.mark.long
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


@pytest.mark.long
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
    with pytest.raises(RequestError, match="plain descent"):
        WeightMGD(learning_rate="auto", optimizer="adam")
    with pytest.raises(RequestError, match="plain descent"):
        NodePerturbation(learning_rate="auto", optimizer="adam")
    with pytest.raises(RequestError, match="must be a number"):
        WeightMGD(learning_rate="fast")
    with pytest.raises(RequestError, match="no setting"):
        SPSA(a=1.0, learning_rate="auto")
