"""`learning_rate="auto"`: the rate against a plain loop, its account, and that it trains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

import dither
from dither import MLP, SimulatedDevice, Until
from dither.algorithms import FiniteDifferences, NodePerturbation, WeightMGD
from dither.algorithms.calibration import (
    CLIP,
    PROMISE,
    START,
    TRIAL,
    WINDOW,
    Calibration,
    proposed,
    tried,
)
from dither.tasks import XOR, Digits, NIST7x7, Parity, make_task
from dither.training.fused import advance, start_all
from numpy_device import NumpyDevice

DEVICE = SimulatedDevice(network=MLP(widths=(2, 2, 1), activation="sigmoid", output="sigmoid"))
LETTERS = SimulatedDevice(network=MLP(widths=(49, 4, 4), activation="sigmoid", output="sigmoid"))


@pytest.mark.parametrize("ticks", [1, 10])
def test_rate_follows_its_formula(ticks):
    rng = np.random.default_rng(0)
    n, first = int(1.5 * WINDOW), max(1, START // ticks)
    G = rng.normal(size=(n, 20)) * np.linspace(1, 0.3, n)[:, None]
    G[n // 2 :: 50] *= 10
    C = rng.uniform(0.5, 1.5, size=n)

    def one(now, seen):
        now = proposed(now, *seen, 4.0, ticks)
        return now, now.rate

    seen = jnp.asarray(G, jnp.float32), jnp.asarray(C, jnp.float32)
    rates = np.asarray(jax.lax.scan(one, Calibration.empty(), seen)[1], float)

    cost = square = 0.0
    most = np.inf
    for k in range(n):
        weight = max(1 / (k + 1), 1 / WINDOW)
        cost = (1 - weight) * cost + weight * C[k]
        square = (1 - weight) * square + weight * (G[k] @ G[k])
        free = 4.0 * cost / (PROMISE * max(square, CLIP * (G[k] @ G[k])))
        if k + 1 <= first:
            most = free
        assert rates[k] == pytest.approx(0.0 if k + 1 < first else min(free, most), rel=1e-4)
    assert rates[-1] <= most * 1.0001  # a gradient that falls raises no rate


def linear(seed=0):
    """A linear layer on whitened inputs, its bias among them, of which the Hessian is lambda I."""
    rng = np.random.default_rng(seed)
    X = np.linalg.qr(np.column_stack([np.ones(16), rng.normal(size=(16, 5))]))[0] * 4
    x = (X[:, 1:] * np.sign(X[0, 0])).astype(np.float32)
    t = rng.normal(size=(16, 3)).astype(np.float32)
    task = make_task(x, t, x, t, cost="mse")
    return SimulatedDevice(network=MLP(widths=(5, 3))), task


def run(algorithm, device, task, measurements, replicas):
    algorithm = algorithm.for_task(task).for_device(device)
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
    auto = WeightMGD(learning_rate="auto", pairs="central", delta=0.01)
    state = run(auto, device, task, 2 * START + TRIAL, replicas=4)
    found = jax.vmap(Calibration.limit)(state.calibration)
    np.testing.assert_allclose(found, 1 / (H[0, 0] * len(H)), rtol=1e-3)
    assert np.all(np.asarray(state.calibration.rate) <= np.asarray(found))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", ["weight", "node"])
def test_first_rate_is_the_cost_over_both_gradients(kind):
    """`E[1/eta] = 3 |g|² spread / C` where theta stands still; 3 nodes, or P weights."""
    device, task = linear()
    if kind == "weight":
        auto = WeightMGD(learning_rate="auto", pairs="central", delta=0.01)
    else:
        auto = NodePerturbation(learning_rate="auto", pairs="central", delta=0.01)
    state = run(auto, device, task, 2 * START, replicas=256)
    # the last tick's update, of a node's estimate, has moved theta: the start is that of its seed
    starts = jax.vmap(lambda s: device.initial(jax.random.split(jax.random.key(s), 4)[0]))(
        jnp.arange(256)
    )
    C, g = jax.vmap(jax.value_and_grad(cost_of(device, task)))(starts)
    spread = np.sqrt(3 if kind == "node" else device.space.size)
    law = PROMISE * np.sum(np.asarray(g) ** 2, axis=1) * spread / np.asarray(C)
    # the rate is clipped where the last estimate is far above the mean, so the account is tested
    met = PROMISE * state.calibration.square / (spread * state.calibration.cost)
    ratio = np.asarray(met) / law
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
    step = jax.jit(lambda now, G: proposed(now, G, jnp.float32(1.0), 2.0, 1))
    for _ in range(START):
        now = step(now, G)
    assert 100 * float(step(now, 100 * G).rate) < 0.2 * float(now.rate)


def test_a_trial_that_raises_the_cost_lowers_the_rate():
    now = Calibration.empty()
    G = jnp.ones(4)
    for _ in range(START):
        now = proposed(now, G, jnp.float32(1.0), 2.0, 1)
    for bad in (3.0, np.inf, np.nan):
        before = tried(now, jnp.int32(0), G, jnp.float32(1.0), 2.0)
        after = tried(before, jnp.int32(1), G, jnp.float32(bad), 2.0)
        assert float(before.rate) == float(now.rate)
        assert 0 < float(after.rate) < float(now.rate) / 2


def test_first_ticks_move_nothing_and_are_counted():
    auto = WeightMGD(learning_rate="auto", pairs="central", delta=0.1)
    untrained = WeightMGD(learning_rate=0.0, pairs="central", delta=0.1)
    until = Until(measurements=2 * START - 2)
    ends = [dither.train(DEVICE, XOR(), a, until=until, replicas=2) for a in (auto, untrained)]
    assert ends[0].ledger["measurements"] == 2 * START - 2
    np.testing.assert_array_equal(ends[0].parameters, ends[1].parameters)
    # the first update is tried before it is made
    until = Until(measurements=2 * START + TRIAL)
    later = dither.train(DEVICE, XOR(), auto, until=until, replicas=2)
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
    with pytest.raises(ValidationError, match="plain descent"):
        NodePerturbation(learning_rate="auto", optimizer="adam")
    with pytest.raises(ValidationError, match="valid number"):
        WeightMGD(learning_rate="fast")
    with pytest.raises(ValidationError, match="valid number"):
        FiniteDifferences(learning_rate="auto")
