"""Activity differences, decorrelated inputs and forward gradients beside plain NumPy."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import MLP, RequestError, SimulatedDevice
from dither.algorithms import (
    ActivityDifference,
    DecorrelatedNodePerturbation,
    ForwardGradient,
    NodePerturbation,
    WeightMGD,
)
from dither.tasks import Parity, make_task
from test_battery import collect, keys
from test_node_perturbation import TINY, Opaque, forward, start

VARIANTS = [ActivityDifference, DecorrelatedNodePerturbation]


def unpack(theta):
    return theta[:2], theta[2:8].reshape(3, 2), theta[8:10], theta[10:].reshape(2, 2)


def cost(y, label):
    return sum((y[k] - (1.0 if k == label else 0.0)) ** 2 for k in range(2)) / 2


def passes(theta, task, s0, s1):
    """By NumPy for the whole batch: layer inputs, pre-activations z, cost of each sample."""
    b0, W0, *_ = unpack(theta)
    x, h, z0, z1, C = [], [], [], [], []
    for sample, label, p0, p1 in zip(np.asarray(task.inputs), np.asarray(task.targets), s0, s1):
        (_, hidden), y = forward(theta, sample, (p0, p1))
        x.append(sample)
        h.append(hidden)
        z0.append(sample @ W0 + b0 + p0)
        z1.append(y)
        C.append(cost(y, label))
    return (np.array(x), np.array(h)), (np.array(z0), np.array(z1)), np.array(C)


def packed(x, h, e0, e1):
    """`mean_b x_b e_bᵀ` and `mean_b e_b` of both layers as one vector."""
    parts = [e0.mean(0), (x.T @ e0 / len(x)), e1.mean(0), (h.T @ e1 / len(x))]
    return np.concatenate([part.ravel() for part in parts])


def sites_of(probes, run=0):
    return [np.asarray(probes.sites[f"dense{n}/z"][run]) for n in (0, 1)]


@pytest.mark.usefixtures("x64")
def test_activity_difference_is_that_of_a_plain_loop():
    task, (device, theta) = Parity(bits=3).load(), start(TINY)
    algorithm = ActivityDifference(learning_rate=0.05, delta=0.01)
    probes, *_ = collect(algorithm, device, task, theta, keys(1), 60)
    s0, s1 = sites_of(probes)
    now, written = np.asarray(theta), []
    for m in range(0, 60, 2):
        _, clean, C0 = passes(now, task, s0[m], s1[m])
        (x, h), noisy, C = passes(now, task, s0[m + 1], s1[m + 1])
        d0, d1 = noisy[0] - clean[0], noisy[1] - clean[1]
        factor = 4 * (C - C0) / ((d0**2).sum(1) + (d1**2).sum(1))
        written += [now, now]
        now = now - 0.05 * packed(x, h, factor[:, None] * d0, factor[:, None] * d1)
    assert np.abs(written[-1] - written[0]).max() > 0.05
    assert np.abs(np.asarray(probes.parameters[0]) - written).max() < 1e-10


@pytest.mark.usefixtures("x64")
def test_activity_difference_has_the_bias_that_it_says():
    """Over all 2⁴ signs of one sample: `E[(C̃ − C) Δ_l] = δ² (1 + Σ_{m<l} J_lm J_lmᵀ) ∂C/∂z_l`."""
    x, t, delta = np.array([[0.3, -1.0, 0.6]]), np.array([1]), 1e-4
    task = make_task(x, t, x, t, classes=("0", "1"))
    theta = np.asarray(start(TINY)[1])
    zero = np.zeros((1, 2))
    (_, h), clean, C0 = passes(theta, task, zero, zero)
    mean = [np.zeros(2), np.zeros(2)]
    for signs in itertools.product([-1, 1], repeat=4):
        s = delta * np.array(signs, float).reshape(2, 1, 2)
        _, noisy, C = passes(theta, task, *s)
        for layer in (0, 1):
            mean[layer] += (C - C0)[0] * (noisy[layer] - clean[layer])[0] / delta**2 / 16
    W1 = unpack(theta)[3]
    e1 = (clean[1] - np.array([[0.0, 1.0]]))[0]
    J = (W1 * (1 - h[0] ** 2)[:, None]).T
    assert np.allclose(mean[0], J.T @ e1, rtol=0, atol=1e-3)
    assert np.allclose(mean[1], e1 + J @ J.T @ e1, rtol=0, atol=1e-3)
    assert np.abs(J @ J.T @ e1).max() > 0.05


def decorrelate(R, x, epsilon):
    y = x @ R
    C = y.T @ y / len(y)
    return R - epsilon * R @ (C - np.diag(np.diag(C))) / np.trace(C)


@pytest.mark.usefixtures("x64")
def test_decorrelated_is_that_of_a_plain_loop():
    task, (device, theta) = Parity(bits=3).load(), start(TINY)
    algorithm = DecorrelatedNodePerturbation(learning_rate=0.05, delta=0.01, decorrelation=0.3)
    probes, *_ = collect(algorithm, device, task, theta, keys(1), 60)
    s0, s1 = sites_of(probes)
    now, written, R0, R1 = np.asarray(theta), [], np.eye(3), np.eye(2)
    for m in range(0, 60, 2):
        (x, h), _, C0 = passes(now, task, s0[m], s1[m])
        R0, R1 = decorrelate(R0, x, 0.3), decorrelate(R1, h, 0.3)
        (x, h), _, C = passes(now, task, s0[m + 1], s1[m + 1])
        e0, e1 = (((C - C0) / 1e-4)[:, None] * s[m + 1] for s in (s0, s1))
        b0, W0, b1, W1 = unpack(packed(x, h, e0, e1))
        written += [now, now]
        step = [b0, R0 @ R0.T @ W0, b1, R1 @ R1.T @ W1]
        now = now - 0.05 * np.concatenate([part.ravel() for part in step])
    assert np.abs(R1 - np.eye(2)).max() > 0.02
    assert np.abs(np.asarray(probes.parameters[0]) - written).max() < 1e-10


@pytest.mark.usefixtures("x64")
def test_without_decorrelation_it_is_node_perturbation():
    task, (device, theta) = Parity(bits=3, batch=3).load(), start(TINY)
    plain = NodePerturbation(learning_rate=0.05, per_example=True)
    other = DecorrelatedNodePerturbation(learning_rate=0.05, decorrelation=0.0)
    one, two = (
        collect(algorithm, device, task, theta, keys(1), 40)[0] for algorithm in (plain, other)
    )
    assert np.allclose(one.parameters, two.parameters, rtol=0, atol=1e-12)


def test_inputs_become_uncorrelated():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6))
    algorithm = DecorrelatedNodePerturbation(learning_rate=0.0, decorrelation=0.3)
    step = jax.jit(lambda R: algorithm._decorrelate(R, jnp.asarray(x, jnp.float32)))

    def correlation(R):
        C = np.corrcoef((x @ R).T)
        return np.abs(C[~np.eye(6, dtype=bool)]).mean()

    R = jnp.eye(6)
    for _ in range(1000):
        R = step(R)
    assert correlation(np.eye(6)) > 0.2
    assert correlation(np.asarray(R)) < 0.02


@pytest.mark.usefixtures("x64")
def test_forward_gradient_is_the_limit_of_central_differences():
    task, (device, theta) = Parity(bits=3, batch=3).load(), start(TINY)
    settings = {"learning_rate": 0.01, "tau_theta": 3, "tau_x": 2, "optimizer": "adam"}
    exact = collect(ForwardGradient(**settings), device, task, theta, keys(1), 60)[0]
    central = WeightMGD(**settings, delta=1e-4, pairs="central")
    pairs = collect(central, device, task, theta, keys(1), 120)[0]
    middle = (np.asarray(pairs.parameters[0, ::2]) + np.asarray(pairs.parameters[0, 1::2])) / 2
    assert np.abs(middle[-1] - middle[0]).max() > 0.05
    # the third derivative over six times delta² = 1e-8
    assert np.abs(np.asarray(exact.parameters[0]) - middle).max() < 1e-6


# --------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize("algorithm", VARIANTS)
def test_a_layer_without_gradient_stays_finite(algorithm):
    network = MLP(widths=(3, 4, 2), activation="relu")
    device, theta = start(network)
    dead = device.space.unravel(theta) | {"dense0/bias": jnp.full(4, -100.0)}
    task = Parity(bits=3).load()
    probes, estimate, *_ = collect(
        algorithm(learning_rate=0.1, optimizer="adam"),
        device,
        task,
        device.space.ravel(dead),
        keys(1),
        20,
    )
    assert np.isfinite(probes.parameters).all()
    assert np.isfinite(estimate).all()


@pytest.mark.parametrize(
    ("algorithm", "device", "part"),
    [
        *((variant, SimulatedDevice(network=Opaque()), "names no layers") for variant in VARIANTS),
        *((v, SimulatedDevice(network=TINY, access="outputs"), "needs sites") for v in VARIANTS),
        (
            ForwardGradient,
            SimulatedDevice(network=TINY, access="sites"),
            "needs gradients",
        ),
    ],
)
def test_what_does_not_fit_is_refused(algorithm, device, part):
    task = Parity(bits=math.prod(device.network.input_shape))
    with pytest.raises(RequestError, match=part):
        dither.train(device, task, algorithm(learning_rate=0.1))
