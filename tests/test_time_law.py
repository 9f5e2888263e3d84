"""The law of time to accuracy, on linear models whose time follows in closed form."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import hadamard

import dither
from dither import MLP, RequestError, SimulatedDevice, Until
from dither.algorithms import LayerwiseMGD, NodePerturbation, WeightMGD
from dither.tasks import make_task
from dither.training import Scatter, follow_flow, measurements_per_update, time_to_accuracy

CURVATURE = 2.0
"""Of the mean squared error of one output, in every direction, where inputs are orthonormal."""
TARGET = 0.99


@pytest.fixture(scope="module")
def orthonormal():
    """32 inputs of ±1 with the unit matrix as their covariance, a linear target, a linear model."""
    x = hadamard(64)[:, 1:33].astype(float)
    t = x @ np.random.default_rng(0).normal(size=(32, 1))
    return SimulatedDevice(network=MLP(widths=(32, 1))), make_task(x, t, x, t)


def excess(device, task, theta):
    """1 minus the score: the squared distance to the best weights, in units of their own."""
    outputs = device.network(device.space.unravel(theta), task.inputs)
    return float(jnp.mean((outputs - task.targets) ** 2) / jnp.mean(task.targets**2))


def test_flow_takes_the_time_of_the_exponential(orthonormal):
    device, task = orthonormal
    theta = device.initial(jax.random.key(1))
    # one node for each example: the estimate is the gradient itself
    guide = NodePerturbation(learning_rate=1.0, pairs="central", per_example=True)
    eta = 0.01
    flow = follow_flow(jax.random.key(0), guide, device, task, theta, TARGET, learning_rate=eta)
    ratio = math.log((1 - TARGET) / excess(device, task, theta))
    steps = math.ceil(ratio / (2 * math.log(1 - eta * CURVATURE)))
    assert flow.time == pytest.approx(eta * steps, abs=1.01 * eta)
    assert flow.time == pytest.approx(-ratio / (2 * CURVATURE), rel=0.03)
    assert flow.measurements == 2 * round(flow.time / eta)
    assert flow.samples == 64 * flow.measurements


BEST = 1 / (CURVATURE * 33)
"""|g|² / E[EᵀHE] of 32 weights and a bias, perturbed together."""
GUIDE = NodePerturbation(learning_rate=1.0, pairs="central", per_example=True)
RULE = WeightMGD(learning_rate=1.0, pairs="central")


def scattered(orthonormal, seed, h, eta):
    device, task = orthonormal
    theta = device.initial(jax.random.split(jax.random.key(seed), 4)[0])
    about = (jax.random.key(seed), GUIDE, device, task, theta, TARGET)
    return follow_flow(*about, learning_rate=h, scatter=Scatter(RULE, eta, task))


def test_scatter_against_a_plain_loop(orthonormal):
    """With the exact g = λΔ: Δ ← (1 − hλ) Δ − √(h eta) λ ((Δ·s) s − Δ)."""
    device, task = orthonormal
    h, rng, P = 4 * BEST, np.random.default_rng(0), device.space.size

    def steps(start):
        delta, n = np.zeros(P), 0
        delta[0] = start**0.5
        while delta @ delta > 1 - TARGET:
            s = rng.choice((-1.0, 1.0), size=P)
            kick = (delta @ s) * s - delta
            delta = (1 - h * CURVATURE) * delta - (h * BEST) ** 0.5 * CURVATURE * kick
            n += 1
        return n

    found, plain = [], []
    for seed in range(24):
        flow = scattered(orthonormal, seed, h, BEST)
        found.append(flow.time / h)
        assert flow.measurements == 4 * round(flow.time / h)
        assert flow.samples == 64 * flow.measurements
        theta = device.initial(jax.random.split(jax.random.key(seed), 4)[0])
        plain += [steps(excess(device, task, theta)) for _ in range(20)]
    error = np.std(found, ddof=1) / 24**0.5
    assert np.mean(found) == pytest.approx(np.mean(plain), abs=4 * error)
    assert error < 0.07 * np.mean(plain)


def test_steps_of_eta_are_the_rule_s_own_whatever_guides(orthonormal):
    device, task = orthonormal
    theta = device.initial(jax.random.key(3))
    times = [
        follow_flow(
            jax.random.key(5), guide, device, task, theta, TARGET, learning_rate=BEST,
            scatter=Scatter(RULE, BEST, task),
        ).time
        for guide in (GUIDE, NodePerturbation(learning_rate=1.0))
    ]  # fmt: skip
    assert times[0] == pytest.approx(times[1], abs=2.01 * BEST)
    assert math.isfinite(times[0])


def test_training_at_the_best_rate_takes_what_scatter_foretells(orthonormal):
    device, task = orthonormal
    replicas = 16
    method = RULE.model_copy(update={"learning_rate": BEST})
    result = dither.train(
        device, task, method, replicas=replicas, score_every=2,
        until=Until(score=TARGET, measurements=4000),
    )  # fmt: skip
    took = np.array([replica.ledger["measurements"] for replica in result.replicas])
    times = [scattered(orthonormal, seed, 2 * BEST, BEST).time for seed in range(replicas)]
    law = np.array([time_to_accuracy(time, BEST, 2) for time in times])
    bare = -math.log(1 - TARGET) / (2 * CURVATURE)
    assert took.mean() > 1.7 * time_to_accuracy(bare, BEST, 2)  # twice, but for terms of 1/P
    error = math.hypot(took.std(ddof=1), law.std(ddof=1)) / replicas**0.5 / took.mean()
    # a run's logarithm falls by (1 + 1.5/P) λ in the unit of τ, that of the diffusion by 1 + 5/P
    assert law.mean() / took.mean() == pytest.approx(1 - 3.5 / 33, abs=4 * error + 0.03)
    assert error < 0.08


def test_time_becomes_measurements():
    assert time_to_accuracy(10.0, 0.5, 4) == 80


@pytest.mark.parametrize(
    ("algorithm", "count"),
    [
        (WeightMGD(learning_rate=0.1), 2),
        (WeightMGD(learning_rate=0.1, tau_x=7, tau_theta=7), 8),
        (WeightMGD(learning_rate=0.1, pairs="central", tau_theta=7), 14),
        (LayerwiseMGD(learning_rate=0.1, pairs="central"), 4),
        (NodePerturbation(learning_rate=0.1, tau_x=8, tau_theta=8), 9),
        (NodePerturbation(learning_rate=0.1, layers="each"), 3),
    ],
)
def test_measurements_in_an_update(algorithm, count):
    device = SimulatedDevice(network=MLP(widths=(2, 3, 1)))
    assert measurements_per_update(algorithm, device, dither.tasks.XOR().load()) == count


def test_flow_that_does_not_arrive_and_one_that_is_there(orthonormal):
    device, task = orthonormal
    theta = device.initial(jax.random.key(1))
    guide = NodePerturbation(learning_rate=1.0, pairs="central", per_example=True)
    about = (jax.random.key(0), guide, device, task, theta)
    late = follow_flow(*about, TARGET, learning_rate=0.01, steps=5)
    assert late.time == math.inf
    assert late.measurements == 10
    there = follow_flow(*about, -1e9, learning_rate=0.01)
    assert there == (0.0, 0, 0)


def test_errors(orthonormal):
    device, task = orthonormal
    with pytest.raises(RequestError, match="learning rate is 0"):
        time_to_accuracy(1.0, 0.0, 2)
    guide = WeightMGD(learning_rate=0.1)
    theta = device.initial(jax.random.key(0))
    with pytest.raises(RequestError, match="learning rate is 0"):
        follow_flow(jax.random.key(0), guide, device, task, theta, 0.9, learning_rate=0.0)
    with pytest.raises(RequestError, match="learning rate is 0"):
        follow_flow(
            jax.random.key(0), guide, device, task, theta, 0.9, learning_rate=0.1,
            scatter=Scatter(guide, 0.0, task),
        )  # fmt: skip
