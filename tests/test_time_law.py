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
from dither.laws import follow_flow, measurements_per_update, time_to_accuracy
from dither.tasks import make_task

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


def test_training_at_the_best_rate_takes_the_most_where_all_curvatures_are_alike(orthonormal):
    device, task = orthonormal
    P, replicas = device.space.size, 16
    eta = 1 / (CURVATURE * P)  # |g|² / E[GᵀHG]
    method = WeightMGD(learning_rate=eta, pairs="central")
    result = dither.train(
        device, task, method, replicas=replicas, score_every=2,
        until=Until(score=TARGET, measurements=4000),
    )  # fmt: skip
    took = np.array([replica.ledger["measurements"] for replica in result.replicas])
    guide = NodePerturbation(learning_rate=1.0, pairs="central", per_example=True)
    law = []
    for seed in range(replicas):
        theta = device.initial(jax.random.split(jax.random.key(seed), 4)[0])
        flow = follow_flow(
            jax.random.key(0), guide, device, task, theta, TARGET, learning_rate=0.01
        )
        M = measurements_per_update(method, device, task)
        law.append(time_to_accuracy(flow.time, eta, M))
    ratios = took / np.array([each.most for each in law])
    # a run's logarithm falls by 1/P + 3/(2 P²) an update, that of the mean by 1/P
    error = ratios.std(ddof=1) / replicas**0.5
    assert ratios.mean() == pytest.approx(1 / (1 + 1.5 / P), abs=4 * error + 0.01)
    assert error < 0.05


def test_training_takes_the_least_at_a_small_rate(orthonormal):
    device, task = orthonormal
    eta = 0.05 / (CURVATURE * device.space.size)
    method = WeightMGD(learning_rate=eta, pairs="central")
    result = dither.train(
        device, task, method, replicas=8, score_every=20,
        until=Until(score=TARGET, measurements=20_000),
    )  # fmt: skip
    took = np.array([replica.ledger["measurements"] for replica in result.replicas])
    exact = [
        -math.log((1 - TARGET) / excess(device, task, device.initial(initial))) / (2 * CURVATURE)
        for initial in (jax.random.split(jax.random.key(seed), 4)[0] for seed in range(8))
    ]
    law = [time_to_accuracy(time, eta, 2, lost=0.025) for time in exact]
    ratios = took / np.array([each.most for each in law])
    error = ratios.std(ddof=1) / 8**0.5
    assert ratios.mean() == pytest.approx(1.0, abs=4 * error + 0.02)
    assert error < 0.02


def test_bracket():
    law = time_to_accuracy(10.0, 0.5, 4)
    assert law.least == 80
    assert law.most == pytest.approx(160)
    assert law.measurements == pytest.approx(80 * 2**0.5)
    assert time_to_accuracy(10.0, 0.5, 4, lost=0.0).measurements == 80


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
    with pytest.raises(RequestError, match="rate of 0"):
        time_to_accuracy(1.0, 0.0, 2)
    with pytest.raises(RequestError, match=r"\[0, 1\)"):
        time_to_accuracy(1.0, 0.1, 2, lost=1.0)
    guide = WeightMGD(learning_rate=0.1)
    theta = device.initial(jax.random.key(0))
    with pytest.raises(RequestError, match="rate of 0"):
        follow_flow(jax.random.key(0), guide, device, task, theta, 0.9, learning_rate=0.0)
