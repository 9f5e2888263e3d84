"""Sketched layer inputs beside exact kernel gradients, Hutchinson's variance and counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import CNN, MLP, RequestError, SimulatedDevice, Until
from dither.algorithms import (
    DecorrelatedNodePerturbation,
    NodePerturbation,
    WhitenedNodePerturbation,
    nodes,
)
from dither.algorithms.sketch import held, sketched
from dither.tasks import Parity, make_task
from dither.testing.runs import collect, keys

NETWORK = CNN(image=(6, 6, 2), channels=(3,), depth=2, padding="same", classes=3, activation="tanh")
RULES = [NodePerturbation, DecorrelatedNodePerturbation, WhitenedNodePerturbation]


def task_of(shape, number=4):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(number, *shape)), np.arange(number) % 3
    return make_task(x, t, x, t, cost="cross_entropy")


def inputs_and_errors(B=4):
    """Inputs and made-up errors, alike in part so that the mean gradient is not small."""
    rng = np.random.default_rng(1)
    shapes = {"conv0": (6, 6, 2), "conv1": (6, 6, 3), "dense": (27,)}
    x = {n: jnp.asarray(0.5 + rng.normal(size=(B, *s))) for n, s in shapes.items()}
    e = {one.name: jnp.asarray(0.2 + rng.normal(size=(B, *one.nodes))) for one in NETWORK.layers}
    return x, e


def gradients(r, number):
    """The parameter gradients from sketched inputs, a row for each draw of the probes."""
    device, (x, e) = SimulatedDevice(network=NETWORK), inputs_and_errors()
    space, theta = device.space, jnp.zeros(device.space.size)

    def one(key):
        seen = sketched(key, NETWORK.layers, x, r)
        return nodes.pull_back(NETWORK.layers, space, theta, seen, e)

    G = np.asarray(jax.lax.map(one, keys(number), batch_size=500))
    return G, np.asarray(nodes.pull_back(NETWORK.layers, space, theta, x, e)), space


def by_hutchinson(x, e, r):
    """The variance of each weight of a 3×3 kernel, from M one weight at a time."""
    x, e = np.asarray(x), np.asarray(e)
    B, h, w, p = x.shape
    padded = np.zeros((B, h + 2, w + 2, e.shape[-1]))
    padded[:, 1:-1, 1:-1] = e
    variance = np.zeros((3, 3, p, e.shape[-1]))
    for i, j, c, q in np.ndindex(*variance.shape):
        # z(a) = Σ x(a + (i, j) − 1) W_ij: x at a meets e at a − (i, j) + 1
        shifted = padded[:, 2 - i : 2 - i + h, 2 - j : 2 - j + w, q].reshape(B, -1)
        M = shifted.T @ x[..., c].reshape(B, -1)
        variance[i, j, c, q] = (np.sum(M**2) + np.sum(M * M.T) - 2 * np.sum(np.diag(M) ** 2)) / r
    return variance / B**2


@pytest.mark.usefixtures("x64")
def test_mean_is_the_exact_correlation_and_variance_is_hutchinsons():
    r, number = 5, 3000
    G, exact, space = gradients(r, number)
    x, e = inputs_and_errors()
    variance = {p.name: np.zeros(p.shape) for p in space.parameters}
    for name in ("conv0", "conv1"):
        variance[f"{name}/weight"] = by_hutchinson(x[name], e[name], r)
    law = np.asarray(space.ravel({n: jnp.asarray(v) for n, v in variance.items()}))
    sketched_ones = law > 0
    assert sketched_ones.sum() == 9 * (2 * 3 + 3 * 3)
    error = np.sqrt(law / number)
    assert np.all(np.abs(G.mean(axis=0) - exact) <= 5 * error + 1e-12)
    # fourth moments of these sums are a few times a Gaussian's
    found = G.var(axis=0)[sketched_ones] / law[sketched_ones]
    assert np.all(np.abs(found - 1) < 0.25)
    assert abs(found.mean() - 1) < 0.03


@pytest.mark.usefixtures("x64")
def test_many_probes_come_near_the_exact_one_and_enough_are_it():
    x, _ = inputs_and_errors()

    def distance(r):
        def one(key):
            return jnp.sum((sketched(key, NETWORK.layers, x, r)["conv0"] - x["conv0"]) ** 2)

        return float(jnp.mean(jax.vmap(one)(keys(200))))

    square = float(jnp.sum(x["conv0"] ** 2))
    # E|Z Zᵀ x − x|² = (n − 1) |x|² / r for n = 36 pixels
    assert distance(7) == pytest.approx(35 / 7 * square, rel=0.1)
    assert distance(35) == pytest.approx(square, rel=0.1)
    whole = sketched(keys(1)[0], NETWORK.layers, x, 36)
    assert all(bool(jnp.all(whole[name] == x[name])) for name in x)


@pytest.mark.parametrize("cls", RULES)
@pytest.mark.usefixtures("x64")
def test_every_rule_stays_unbiased(cls):
    """Whole and sketched estimates at one θ have the same mean; without tying their streams."""
    tiny = CNN(image=(4, 4, 1), channels=(2,), padding="same", classes=3, activation="tanh")
    task, device = task_of((4, 4, 1)), SimulatedDevice(network=tiny)
    theta = device.initial(jax.random.key(1))

    def estimates(sketch):
        rule = cls(learning_rate=0.0, delta=1e-4, sketch=sketch)
        return np.asarray(collect(rule, device, task, theta, keys(600), 2)[1])[:, -1]

    whole, short = estimates(None), estimates(2)
    error = np.sqrt((whole.var(axis=0) + short.var(axis=0)) / len(whole))
    difference = np.abs(short.mean(axis=0) - whole.mean(axis=0))
    assert np.all(difference < 5 * error + 1e-12)
    first = slice(2, 2 + 9 * 2)  # conv0's weights, after its biases
    assert short[:, first].var(axis=0).sum() > 4 * whole[:, first].var(axis=0).sum()


def test_perturbations_are_those_of_the_rule_without_a_sketch():
    task, device = task_of((6, 6, 2)), SimulatedDevice(network=NETWORK)
    theta = device.initial(jax.random.key(1))

    def sites(sketch):
        rule = NodePerturbation(learning_rate=0.0, sketch=sketch)
        return collect(rule, device, task, theta, keys(2), 6)[0].sites

    plain, short = sites(None), sites(4)
    assert all(bool(jnp.all(plain[site] == short[site])) for site in plain)


def test_bytes_are_those_counted_by_hand(tmp_path):
    task, device = task_of((6, 6, 2)), SimulatedDevice(network=NETWORK)

    def run(sketch, **more):
        rule = NodePerturbation(learning_rate=0.01, sketch=sketch)
        return dither.train(device, task, rule, until=Until(measurements=4), **more)

    B = 4 * 4  # four examples of four bytes
    assert run(None).memory == {"conv0": B * 72, "conv1": B * 108, "dense": B * 27}
    short = run(4, out=tmp_path / "run")
    assert short.memory == {"conv0": B * 8, "conv1": B * 12, "dense": B * 27}
    assert dither.load_run(tmp_path / "run").memory == short.memory
    assert short.summary()["memory"] == short.memory
    assert held((28, 28, 4), 8) == 32
    assert held((28, 28, 4), None) == 3136
    assert held((7, 7, 8), 49) == 392


def test_stopped_and_resumed_is_the_undisturbed_run(tmp_path):
    device = SimulatedDevice(network=NETWORK)

    def run(measurements, key=3, **more):
        until = Until(measurements=measurements)
        rule = NodePerturbation(learning_rate=0.1, per_example=True, sketch=4)
        return dither.train(device, task_of((6, 6, 2)), rule, key=key, until=until, **more)

    whole = run(30)
    run(13, out=tmp_path / "run")
    assert np.array_equal(run(30, out=tmp_path / "run", resume=True).parameters, whole.parameters)
    assert not np.allclose(run(30, key=4).parameters, whole.parameters, rtol=1e-3)


def test_what_does_not_fit_is_refused():
    for wrong in (0, -3, 1.5):
        with pytest.raises(Exception, match="sketch"):
            NodePerturbation(learning_rate=0.1, sketch=wrong)
    flat = SimulatedDevice(network=MLP(widths=(3, 2, 2)))
    for cls in RULES:
        with pytest.raises(RequestError, match="no convolution; leave it out"):
            dither.train(flat, Parity(bits=3), cls(learning_rate=0.1, sketch=4))
