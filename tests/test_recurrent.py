"""Recurrent networks: plain loops in NumPy, exact gradients, perturbations of both kinds."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import SimulatedDevice, Until, WeightMGD
from dither.algorithms import NodePerturbation
from dither.networks import RNN, StateSpace
from dither.tasks import DelayedRecall
from dither.training.fit import problem_of
from dither.training.fused import Carry, Tally, measure_once

T, FEATURES, B = 4, 2, 5
NETWORKS = {
    "rnn": RNN(steps=T, features=FEATURES, neurons=3, classes=2),
    "real": StateSpace(
        steps=T, features=FEATURES, states=3, turning=False, hidden=3, classes=2
    ),
    "turning": StateSpace(steps=T, features=FEATURES, states=2, hidden=3, classes=2),
}  # fmt: skip
TASK = DelayedRecall(steps=T, symbols=FEATURES, samples=B, tests=3, batch=B, noise=0.5, cost="mse")


def drawn(network, seed=0):
    """Random values for every parameter, biases too."""
    rng = np.random.default_rng(seed)
    arrays = jax.eval_shape(network.init, jax.random.key(0))
    return {name: 0.6 * rng.standard_normal(a.shape) for name, a in arrays.items()}


def in_jax(arrays):
    return {name: jnp.asarray(a) for name, a in arrays.items()}


def rnn_by_hand(p, series, at):
    h = np.zeros(3)
    for t in range(T):
        x = np.concatenate([series[t], h]) + at.get(("x", t), 0)
        h = np.tanh(x @ p["rnn/weight"] + p["rnn/bias"] + at.get(("z", t), 0))
        h = h + at.get(("a", t), 0)
    return h @ p["readout/weight"] + p["readout/bias"]


def states_by_hand(p, series, at):
    """With complex numbers where they turn; what is added has the real parts first."""
    decay = np.exp(-np.exp(p["states/decay"]))
    n, turning = decay.size, "states/angle" in p

    def whole(parts):
        return parts[:n] + 1j * parts[n:] if turning else parts

    factor = decay * np.exp(1j * p["states/angle"]) if turning else decay
    s = np.zeros(n, complex if turning else float)
    for t in range(T):
        x = np.concatenate([series[t], s.real, s.imag] if turning else [series[t], s])
        x = x + at.get(("x", t), 0)
        u, s = x[:FEATURES], whole(x[FEATURES:])
        drive = np.sqrt(1 - decay**2) * whole(u @ p["states/weight"])
        s = factor * s + drive + whole(np.full(2 * n, at.get(("z", t), 0.0))[: 2 * n])[:n]
        s = s + whole(np.full(2 * n, at.get(("a", t), 0.0)))[:n]
    a = np.concatenate([s.real, s.imag]) if turning else s
    hidden = np.tanh(a @ p["hidden/weight"] + p["hidden/bias"])
    return hidden @ p["readout/weight"] + p["readout/bias"]


BY_HAND = {"rnn": rnn_by_hand, "real": states_by_hand, "turning": states_by_hand}


@pytest.mark.parametrize("place", [None, ("x", 1), ("z", 0), ("z", 2), ("z", T - 1), ("a", 1)])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("x64")
def test_a_step_at_a_time_by_hand_with_a_tap_at_one_of_them(name, place):
    network = NETWORKS[name]
    theta = drawn(network)
    series = np.random.default_rng(1).standard_normal((B, T, FEATURES))
    at = {} if place is None else {place: 0.3}

    def tap(site, value):
        layer, _, kind = site.partition("/")
        if place is None or layer not in ("rnn", "states") or kind != place[0]:
            return value
        return value.at[:, place[1]].add(0.3)

    outputs = network(in_jax(theta), jnp.asarray(series.reshape(B, -1)), tap)
    wanted = np.array([BY_HAND[name](theta, one, at) for one in series])
    assert np.allclose(outputs, wanted, rtol=0, atol=1e-12)
    if place is not None:
        plain = np.array([BY_HAND[name](theta, one, {}) for one in series])
        assert np.abs(wanted - plain).max() > 1e-3


def test_sites_of_a_recurrent_layer():
    sites = NETWORKS["turning"].sites()
    assert sites["states/x"] == (T, FEATURES + 4)
    assert sites["states/z"] == sites["states/a"] == (T, 4)
    assert NETWORKS["rnn"].sites()["rnn/x"] == (T, FEATURES + 3)
    assert NETWORKS["rnn"].sites()["readout/x"] == (3,)


def setting(name):
    network, task = NETWORKS[name], TASK.load()
    device = SimulatedDevice(network=network)
    theta = device.space.ravel(in_jax(drawn(network)))

    def cost(theta):
        return jnp.mean(task.cost(network(device.space.unravel(theta), task.inputs), task.targets))

    return device, task, theta, np.asarray(jax.grad(cost)(theta))


@pytest.mark.quick("real", "rnn")
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("x64")
def test_node_errors_pulled_back_at_fixed_inputs_are_the_gradient(name):
    """Backpropagation through time in two halves: ∂C/∂z by automatic differentiation, then x."""
    device, task, theta, g = setting(name)
    network, parameters = NETWORKS[name], device.space.unravel(theta)
    seen = {}

    def costs(added):
        def tap(site, value):
            seen[site] = value
            return value + added[site] if site in added else value

        outputs = network(parameters, task.inputs, tap)
        x = {layer.name: seen[f"{layer.name}/x"] for layer in network.layers}
        return jnp.mean(task.cost(outputs, task.targets)), x

    zeros = {f"{layer.name}/z": jnp.zeros((B, *layer.nodes)) for layer in network.layers}
    errors, x = jax.grad(costs, has_aux=True)(zeros)

    def z(theta):
        own = device.space.unravel(theta)
        return {f"{layer.name}/z": layer(own, x[layer.name]) for layer in network.layers}

    (found,) = jax.vjp(z, theta)[1](errors)
    assert np.allclose(found, g, rtol=0, atol=1e-12)
    assert np.linalg.norm(g) > 1e-3


ALGORITHMS = {
    "weight": (WeightMGD(learning_rate=0.0, delta=1e-4), 2),
    "node": (NodePerturbation(learning_rate=0.0, delta=1e-4), 2),
    "per example": (NodePerturbation(learning_rate=0.0, delta=1e-4, per_example=True), 2),
    "each layer": (NodePerturbation(learning_rate=0.0, delta=1e-4, layers="each"), None),
}


@pytest.mark.quick("turning-node", "rnn-weight", "real-per example")
@pytest.mark.parametrize("kind", ALGORITHMS)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("x64")
def test_both_perturbations_are_unbiased(name, kind):
    device, task, theta, g = setting(name)
    algorithm, n = ALGORITHMS[kind]

    @eqx.filter_jit
    def estimate(key):
        learning, making, data = jax.random.split(key, 3)
        state = algorithm.init(learning, theta, problem_of(device, task))
        carry = Carry(state, device.fabricate(making), data, Tally.empty())
        for _ in range(n or 1 + len(device.layers)):
            carry, _, info = measure_once(algorithm, device, task, carry)
        return info.estimate

    G = np.asarray(jax.vmap(estimate)(jax.random.split(jax.random.key(0), 4000)))
    error = G.std(axis=0) / math.sqrt(len(G))
    # 5 standard errors; terms of order delta are under 1e-3 of |g|
    assert np.all(np.abs(G.mean(axis=0) - g) < 5 * error + 1e-3 * np.linalg.norm(g))
    assert error.max() < 0.1 * np.linalg.norm(g)


@pytest.mark.usefixtures("x64")
def test_states_fade_whatever_the_parameters():
    """|λ| < 1: after an impulse, undriven states shrink by |λ| a step, never grow."""
    network = StateSpace(steps=30, features=1, states=6)
    theta = in_jax({name: 3 * a for name, a in drawn(network, seed=3).items()})
    seen = {}

    def tap(site, value):
        seen[site] = value
        return value

    network(theta, jnp.zeros((1, 30, 1)).at[0, 0].set(1.0), tap)
    re, im = np.split(np.asarray(seen["states/a"][0]), 2, axis=-1)
    size = np.hypot(re, im)
    factor = np.exp(-np.exp(np.asarray(theta["states/decay"])))
    assert np.all(factor < 1)
    assert np.allclose(size[1:], factor * size[:-1], rtol=1e-9, atol=1e-300)


@pytest.mark.long
def test_delayed_recall_shows_the_symbol_once():
    task = DelayedRecall(steps=6, symbols=3, noise=0.2, samples=3000, tests=50).load()
    series, labels = np.asarray(task.inputs), np.asarray(task.targets)
    assert series.shape == (3000, 6, 3)
    shown = np.eye(3)[labels]
    noise = series - shown[:, None] * (np.arange(6) == 0)[:, None]
    # 54 000 draws: the standard error of their deviation is 0.2 / √108 000
    assert noise.std() == pytest.approx(0.2, abs=5 * 0.2 / math.sqrt(108_000))
    assert np.abs(noise[:, 0].mean()) < 5 * 0.2 / math.sqrt(9000)
    assert np.bincount(labels).min() > 1000 - 5 * math.sqrt(3000 * 2 / 9)
    assert task.test_inputs.shape == (50, 6, 3)


@pytest.mark.parametrize(
    "algorithm",
    [
        WeightMGD(learning_rate=0.03, delta=0.01, pairs="central"),
        NodePerturbation(learning_rate=0.1, delta=0.01, pairs="central", per_example=True),
    ],
    ids=["weight", "node"],
)
def test_a_recurrent_network_is_trained_by_either(algorithm):
    result = dither.train(
        SimulatedDevice(network=RNN(steps=3, features=4, neurons=6, classes=4)),
        DelayedRecall(steps=3, tests=200),
        algorithm,
        until=Until(measurements=3000),
    )
    assert result.score > 0.5  # chance: 0.25, with a standard error of 0.03
