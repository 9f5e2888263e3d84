"""Predictions of training held against drawn estimates, closed forms and trainings."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import hadamard

from dither import MLP, RequestError, SimulatedDevice, Until, read_specification, train
from dither.algorithms import (
    Backpropagation,
    FiniteDifferences,
    LocalLosses,
    NodePerturbation,
    WeightMGD,
)
from dither.devices.imperfections import CostNoise
from dither.planning import Prediction, predict, predict_run
from dither.planning.here import Here
from dither.planning.question import read_question
from dither.planning.race import raced, trained
from dither.planning.rates import Start, Tried, with_settings
from dither.planning.rules import rule_of
from dither.tasks import make_task
from dither.training.fit import problem_of
from dither.training.flow import _estimate
from dither.training.fused import FusedLoop
from dither.training.specification import to_toml

CURVATURE = 2.0
"""Of the mean squared error of one output, in every direction, where inputs are orthonormal."""


def classes(batch):
    """Three classes of noisy patterns."""
    draw = np.random.default_rng(0)
    labels = np.arange(96) % 3
    x = draw.normal(size=(3, 5))[labels] + 0.7 * draw.normal(size=(96, 5))
    return make_task(x, labels, x, labels, batch=batch)


DEVICE = SimulatedDevice(network=MLP(widths=(5, 4, 3)))
NOISY = SimulatedDevice(network=MLP(widths=(5, 4, 3)), imperfections=(CostNoise(sigma=0.02),))
RATE = {"learning_rate": 0.1}
RULES = [
    (NOISY, WeightMGD(delta=0.1, tau_theta=3, pairs="central", **RATE)),
    (NOISY, FiniteDifferences(delta=0.02, **RATE)),
    (DEVICE, NodePerturbation(delta=1e-2, layers="each", normalise=True, **RATE)),
    (NOISY, NodePerturbation(delta=0.1, per_example=True, pairs="central", **RATE)),
]


@pytest.mark.parametrize(
    ("device", "rule"), RULES, ids=[f"{n}-{rule.kind}" for n, (_, rule) in enumerate(RULES)]
)
def test_law_has_the_mean_and_the_covariance_of_drawn_estimates(device, rule):
    task, key = classes(8), jax.random.key(1)
    theta, chip = device.initial(key), device.fabricate(key)
    chip = device.write(chip, theta, jnp.bool_(False))
    n = 1000

    def drawn(key):
        own = eqx.tree_at(lambda c: c.key, chip, key)  # noise anew
        return _estimate(rule, device, task, key, own, theta)[0]

    E = np.asarray(eqx.filter_jit(jax.vmap(drawn))(jax.random.split(jax.random.key(2), n)))
    if getattr(rule, "normalise", False):
        # the driver divides by the growth after the estimate
        grown = {name: (w.size, w) for name, w in device.network.init(key).items()}
        nodes = {"dense0": 4, "dense1": 3}
        by = {k: jnp.full(w.shape, nodes[k.split("/")[0]] ** -0.5) for k, (_, w) in grown.items()}
        E = E * np.asarray(device.space.ravel(by))
    law = rule_of(rule, problem_of(device, task), device.network.layers)
    sigma = 0.02**2 if device is NOISY else 0.0
    here = Here(device, task, chip, jnp.arange(96), jnp.asarray(sigma), jnp.zeros(()))

    def told(key):
        return law.estimate(here, key, law.delta, law.batches / task.batch)

    keys = jax.random.split(jax.random.key(3), n)
    law_g, law_n, law_v = map(np.asarray, jax.jit(lambda keys: jax.lax.map(told, keys))(keys))
    squares = np.sum((E - E.mean(0)) ** 2, axis=1)
    error = squares.std() / math.sqrt(n)
    bias = np.linalg.norm(E.mean(0) - law_g[0]) ** 2
    # the mean of n has the squared error tr cov / n; finite differences miss by some of δ beside
    assert bias < 3 * squares.mean() / n + (0.05 * np.linalg.norm(law_g[0])) ** 2
    spread = np.sum(law_n**2, axis=1)
    both = math.hypot(error, spread.std() / math.sqrt(n))
    near = pytest.approx(float(squares.mean()), abs=5 * both + 0.05 * float(squares.mean()))
    assert float(spread.mean()) == near
    total = np.sum(np.broadcast_to(law_v, law_n.shape), axis=1).mean()
    assert float(total) == near


@pytest.fixture(scope="module")
def orthonormal():
    """32 inputs of ±1 with the unit matrix as their covariance, a linear target, a linear model."""
    x = hadamard(64)[:, 1:33].astype(float)
    t = x @ np.random.default_rng(0).normal(size=(32, 1))
    return SimulatedDevice(network=MLP(widths=(32, 1))), make_task(x, t, x, t)


def decades(device, task, key, target):
    """The logarithm by which 1 − score must fall from the weights of a seed."""
    initial = jax.random.split(jax.random.key(key), 4)[0]
    theta = device.initial(initial)
    outputs = device.network(device.space.unravel(theta), task.inputs)
    return math.log(float(jnp.mean((outputs - task.targets) ** 2) / jnp.mean(task.targets**2))
                    / (1 - target))  # fmt: skip


def test_exact_gradients_take_the_time_of_the_exponential(orthonormal):
    """Δ ← (1 − eta λ) Δ: the squared error falls by (1 − eta λ)² an update."""
    device, task = orthonormal
    eta, target = 1e-3, 0.9
    told = predict(device, task, Backpropagation(learning_rate=eta),
                   Until(score=target, measurements=10**6), trajectories=1, key=4)  # fmt: skip
    exact = -decades(device, task, 4, target) / (2 * math.log(1 - eta * CURVATURE))
    # long steps fall behind the exponential by half of h λ at the most, h λ ≤ ½
    assert told.measurements == pytest.approx(exact, rel=0.3)
    assert told.low < exact < told.high
    assert told.cost_of_prediction < exact / 4


def test_perturbed_weights_take_the_time_that_their_scatter_costs(orthonormal):
    """E|Δ|² ← (1 − 2 eta λ + eta² λ² (P + 1 − 2)) E|Δ|²: E|G|² = (P + ...) |g|²."""
    device, task = orthonormal
    P, target = device.space.size, 0.9
    eta = 0.5 / (CURVATURE * P)
    rule = WeightMGD(learning_rate=eta, delta=1e-3, pairs="central")
    told = predict(
        device, task, rule, Until(score=target, measurements=10**6), trajectories=5, key=4
    )
    fall = -math.log(1 - 2 * eta * CURVATURE + (eta * CURVATURE) ** 2 * P)
    exact = 2 * np.median([decades(device, task, k, target) for k in range(4, 9)]) / fall
    assert told.measurements == pytest.approx(exact, rel=0.25)


def test_prediction_is_near_trainings():
    """The median of 32 trainings of other seeds, by one prediction."""
    task = classes(4)
    rule = WeightMGD(learning_rate=0.1, delta=1e-2)
    until = Until(score=0.9, measurements=20_000)
    told = predict(DEVICE, task, rule, until, trajectories=9, key=100)
    loop = FusedLoop(rule, DEVICE, task, list(range(32)))
    found, after = np.full(32, np.inf), 0
    while np.isinf(found).sum() > 8 and after < 20_000:
        n = max(8, after // 30)
        loop.advance(n)
        after += n
        found = np.where((loop.evaluate().score >= 0.9) & np.isinf(found), after, found)
    assert told.measurements == pytest.approx(np.median(found), rel=0.4)


def test_fine_tuning_takes_the_time_of_the_exponential_from_its_start(orthonormal):
    """The same from weights whose distance to the optimum is 0.3 of a seed's: 2 ln 0.3 less."""
    device, task = orthonormal
    eta, target = 1e-3, 0.99
    theta = device.initial(jax.random.split(jax.random.key(4), 4)[0])

    def cost(theta):
        outputs = device.network(device.space.unravel(theta), task.inputs)
        return jnp.mean(task.cost(outputs, task.targets))

    best = theta - jax.grad(cost)(theta) / CURVATURE
    begin = np.asarray(best + 0.3 * (theta - best))[None]
    told = predict(
        device, task, Backpropagation(learning_rate=eta), Until(score=target, measurements=10**6),
        trajectories=1, start=begin,
    )  # fmt: skip
    left = decades(device, task, 4, target) + 2 * math.log(0.3)
    exact = -left / (2 * math.log(1 - eta * CURVATURE))
    assert exact > 0
    assert told.measurements == pytest.approx(exact, rel=0.3)


def test_a_run_is_predicted_from_the_run_that_it_starts_from(tmp_path):
    """From weights at the target, the first update; a plan refuses such a run."""
    run = read_specification("nist7x7", ["replicas=1", "until.score=0.6"])
    assert run.train(out=tmp_path / "first").stop_reason == "score"
    again = run.model_copy(update={"start_from": str(tmp_path / "first")})
    assert predict_run(again).measurements <= 2
    assert predict_run(run).measurements > 10
    (tmp_path / "again.toml").write_text(to_toml(again))
    with pytest.raises(RequestError, match="start_from is set"):
        read_question(str(tmp_path / "again.toml"))


def test_what_is_not_reached_is_infinite():
    told = predict(DEVICE, classes(8), Backpropagation(learning_rate=1e-4),
                   Until(score=0.99, measurements=100))  # fmt: skip
    assert math.isinf(told.measurements)
    assert math.isinf(told.high)
    assert told.reason == "not reached within 100 measurements"


def test_what_has_no_law_is_not_a_number():
    rule = LocalLosses(learning_rate=0.1)
    told = predict(DEVICE, classes(8), rule, Until(score=0.9, measurements=100))
    assert math.isnan(told.measurements)
    assert "no law" in told.reason
    told = predict(DEVICE, classes(8), Backpropagation(learning_rate=0.1), Until(measurements=9))
    assert told.reason == "until.score is not set"


def test_long_steps_do_not_overdraw_the_noise_of_the_batches():
    """SGD stays at cov θ = eta sigma² / B about a least-squares fit with inputs of unit covariance.

    The mean squared error is then D eta sigma² / B above its least.
    """
    draw, D, B, eta = np.random.default_rng(1), 9, 16, 1e-3
    x = np.linalg.qr(draw.normal(size=(2048, D - 1)))[0] * math.sqrt(2048)
    t = x @ draw.normal(size=(D - 1, 1)) + draw.normal(size=(2048, 1))
    x1 = np.column_stack([x, np.ones(2048)])
    fit = np.linalg.lstsq(x1, t, rcond=None)[0]
    least = float(np.mean((x1 @ fit - t) ** 2))
    told = predict(
        SimulatedDevice(network=MLP(widths=(D - 1, 1))), make_task(x, t, x, t, batch=B),
        Backpropagation(learning_rate=eta), Until(score=0.9999, measurements=400_000),
        trajectories=1,
    )  # fmt: skip
    scores = np.array([score for _, score in told.curve])[-150:]
    excess = np.var(t) - least - np.var(t) * scores
    error = 2 * excess.std() / math.sqrt(len(excess))  # neighbours are not independent
    assert excess.mean() == pytest.approx(D * eta * least / B, abs=4 * error)


def test_the_race_is_won_by_the_rate_whose_training_is_first_at_the_target():
    task, until = classes(8), Until(score=0.9, measurements=20_000)
    start = Start.of(DEVICE, task, 3)
    found = raced(DEVICE, task, WeightMGD(**RATE, pairs="central"), start, until, key=3)

    def training(rate):
        rule = with_settings(found.algorithm, learning_rate=rate)
        history = train(DEVICE, task, rule, key=3, until=until, score_every=10).history
        there = history.measurements[history.score >= 0.9]
        return float(there.min()) if len(there) else math.inf

    rate = found.algorithm.learning_rate
    took = {one: training(one) for one in (rate / 9, rate / 3, rate, rate * 3, rate * 9)}
    # between two evaluations of the race lie 100 measurements or a seventh of them
    assert took[rate] <= 1.2 * min(took.values()) + 100
    assert found.prediction.measurements == pytest.approx(took[rate], rel=0.2, abs=100)
    assert found.prediction.low < took[rate] < found.prediction.high


def test_a_target_that_the_start_reaches_takes_one_measurement():
    until, rule = Until(score=1e-6, measurements=1000), WeightMGD(**RATE, pairs="central")
    _, found = trained(DEVICE, classes(8), rule, [0, 1, 2], until, 2)
    assert found.measurements == 1.0


@pytest.mark.parametrize(("high", "worth"), [(200.0, 100.0), (math.inf, 300.0)])
def test_a_rate_that_a_trajectory_fails_with_counts_thrice(high, worth):
    rule = WeightMGD(learning_rate=0.1)
    assert Tried(rule, Prediction(100.0, 50.0, high, 1.0)).worth == worth
    assert Tried(rule, Prediction(math.inf, 50.0, math.inf, 1.0)).worth == math.inf
