"""Node perturbation beside exact gradients, exact variances and a plain NumPy loop."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import CNN, MLP, RequestError, SimulatedDevice, Until
from dither.algorithms import NodePerturbation, WeightMGD
from dither.networks import AbstractNetwork
from dither.tasks import Parity, make_task
from dither.training.specification import read_specification
from exact_nodes import dense_spread, inputs_and_errors
from test_battery import collect, estimates, keys
from test_cli import dither as shell
from test_cli import refused

DELTA = 1e-4
TINY = MLP(widths=(3, 2, 2), gain=2.0)


def random_task(shape, number=6, classes=3):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(number, *shape)), np.arange(number) % classes
    return make_task(x, t, x, t, cost="cross_entropy")


def start(network, seed=1):
    device = SimulatedDevice(network=network)
    return device, device.initial(jax.random.key(seed))


def exact_gradient(network, device, theta, task):
    def cost(theta):
        return jnp.mean(task.cost(network(device.space.unravel(theta), task.inputs), task.targets))

    return np.asarray(jax.grad(cost)(theta))


def near(G, g):
    """Whether the mean of many estimates is g: 5 standard errors, and terms of order delta."""
    error = G.std(axis=0) / math.sqrt(len(G))
    assert np.linalg.norm(error) < 0.3 * np.linalg.norm(g)
    return np.all(np.abs(G.mean(axis=0) - g) < 5 * error + 1e-3 * np.linalg.norm(g))


@pytest.mark.quick("False-all", "False-each", "True-each")
@pytest.mark.parametrize("layers", ["all", "each"])
@pytest.mark.parametrize("per_example", [False, True])
@pytest.mark.usefixtures("x64")
def test_mean_and_variance_for_dense_layers(layers, per_example):
    network, task = MLP(widths=(4, 5, 3)), random_task((4,))
    device, theta = start(network)
    x, e = inputs_and_errors(network, device.space.unravel(theta), task)
    groups = [list(x)] if layers == "all" else [[name] for name in x]
    law = sum(
        dense_spread({n: x[n] for n in group}, {n: e[n] for n in group}, per_example)
        for group in groups
    )
    algorithm = NodePerturbation(
        learning_rate=0.0, delta=DELTA, layers=layers, per_example=per_example
    )
    G = estimates(algorithm, device, task, theta, keys(4000), 1 + len(groups))[:, 0]
    assert near(G, exact_gradient(network, device, theta, task))
    squares = (G**2).sum(axis=1)
    error = squares.std() / math.sqrt(len(squares))
    assert abs(squares.mean() - law) < 5 * error + 2e-3 * law
    assert error < 0.05 * law


@pytest.mark.quick("settings1-2")
@pytest.mark.parametrize(
    ("settings", "n"),
    [({"layers": "each", "pairs": "central"}, 6), ({"per_example": True, "normalise": True}, 2)],
)
@pytest.mark.usefixtures("x64")
def test_unbiased_for_convolutions(settings, n):
    network = CNN(
        image=(6, 6, 1), channels=(2,), padding="same", dense=(4,), classes=3, activation="tanh"
    )
    task = random_task((6, 6, 1))
    device, theta = start(network)
    algorithm = NodePerturbation(learning_rate=0.0, delta=DELTA, **settings)
    G = estimates(algorithm, device, task, theta, keys(4000), n)[:, 0]
    assert near(G, exact_gradient(network, device, theta, task))


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_weights_vary_more_than_nodes_by_the_fan_in():
    """Per example: (p q − 1) : (q − 1) for p inputs, the bias among them, and q neurons."""
    p, q = 16, 32
    network, task = MLP(widths=(p - 1, q)), random_task((p - 1,), number=4, classes=q)
    device, theta = start(network)

    def variance(algorithm, task):
        G = estimates(algorithm, device, task, theta, keys(4000), 2)[:, 0]
        return G.var(axis=0).sum()

    weight, node = WeightMGD(learning_rate=0.0, delta=DELTA), None
    alone = [
        make_task(x, t, x, t, classes=task.classes, cost="cross_entropy")
        for x, t in zip(np.asarray(task.inputs)[:, None], np.asarray(task.targets)[:, None])
    ]
    # an example's perturbations are its own: the mean over the batch of estimates by themselves
    by_weights = sum(variance(weight, one) for one in alone) / len(alone) ** 2
    node = NodePerturbation(learning_rate=0.0, delta=DELTA, per_example=True)
    by_nodes = variance(node, task)
    assert by_weights / by_nodes == pytest.approx(p, rel=0.15)
    # the exact ratio; its spread over 4 000 draws is about 2 %
    assert by_weights / by_nodes == pytest.approx((p * q - 1) / (q - 1), rel=0.08)


# ---------------------------------------------------------------------------------- a plain loop


def forward(theta, inputs, shifts):
    """One sample through the 3-2-2 tanh network by loops: layer inputs and the outputs."""
    b0, W0, b1, W1 = theta[:2], theta[2:8].reshape(3, 2), theta[8:10], theta[10:].reshape(2, 2)
    z0 = [sum(inputs[i] * W0[i][j] for i in range(3)) + b0[j] + shifts[0][j] for j in range(2)]
    h = [math.tanh(z) for z in z0]
    y = [sum(h[i] * W1[i][j] for i in range(2)) + b1[j] + shifts[1][j] for j in range(2)]
    return [list(inputs), h], y


def plain_run(theta, task, clocks, sites, settings, rate, delta):
    """REFERENCE §1.4 written out, with the perturbations that the run has drawn."""
    tau, central = settings.get("tau_theta", 1), settings.get("pairs") == "central"
    x, t = np.asarray(task.inputs), np.asarray(task.targets)
    B = len(x)
    G, C0, written = np.zeros(14), [0.0] * B, []
    each = settings.get("layers") == "each"
    N = 2 if each else 4
    amplitude = delta / math.sqrt(N) if settings.get("normalise") else delta
    growth = math.sqrt(1 + (N - 1) / tau) if settings.get("normalise") else 1.0
    last = (3 if each else 1) if central else (2 if each else 1)
    for (tick, part), (p0, p1) in zip(clocks, sites):
        written.append(theta.copy())
        shifts = [np.broadcast_to(p, (B, 2)) for p in (p0, p1)]
        C, hidden = [], []
        for b in range(B):
            layer_inputs, y = forward(theta, x[b], [shifts[0][b], shifts[1][b]])
            hidden.append(layer_inputs)
            C.append(sum((y[k] - (1.0 if k == t[b] else 0.0)) ** 2 for k in range(2)) / 2)
        if part % 2 == 0 if central else part == 0:
            C0 = C
            continue
        for b in range(B):
            for layer, begin in ((0, 0), (1, 8)):
                for j in range(2):
                    s = np.sign(shifts[layer][b][j])
                    e = (C0[b] - C[b]) * -s / amplitude / (2 if central else 1)
                    G[begin + j] += e / B
                    for i, value in enumerate(hidden[b][layer]):
                        G[begin + 2 + 2 * i + j] += e * value / B
        if part == last and (tick + 1) % tau == 0:
            theta = theta - rate * G / tau / growth
            G = np.zeros(14)
    return np.array(written)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"layers": "each", "per_example": True, "tau_x": 2, "tau_theta": 3, "normalise": True},
        {"pairs": "central", "per_example": True, "tau_theta": 2},
        {"pairs": "central", "layers": "each", "normalise": True},
    ],
)
@pytest.mark.usefixtures("x64")
def test_trajectory_is_that_of_a_plain_loop(settings):
    task = Parity(bits=3).load()
    device, theta = start(TINY)
    rate, delta = 0.05, 0.01
    algorithm = NodePerturbation(learning_rate=rate, delta=delta, **settings)
    probes, *_ = collect(algorithm, device, task, theta, keys(1), 90)
    clocks = list(zip(np.asarray(probes.clock.tick[0]), np.asarray(probes.clock.part[0])))
    sites = list(zip(*(np.asarray(probes.sites[f"dense{n}/z"][0]) for n in (0, 1))))
    written = plain_run(np.asarray(theta), task, clocks, sites, settings, rate, delta)
    assert np.abs(written[-1] - written[0]).max() > 0.05
    # rounding of 1e-16 over delta = 1e-2, growing over 90 steps
    assert np.abs(np.asarray(probes.parameters[0]) - written).max() < 1e-10


# ------------------------------------------------------------------------------------- counting


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({}, [0, 1, 0, 1, 0, 1]),
        ({"tau_theta": 3, "tau_x": 3}, [0, 1, 1, 1, 0, 1]),
        ({"tau_theta": 4, "tau_x": 2}, [0, 1, 1, 0, 1, 1]),
        ({"layers": "each"}, [0, 1, 2, 0, 1, 2]),
        ({"layers": "each", "tau_theta": 2, "tau_x": 2}, [0, 1, 2, 1, 2, 0]),
        ({"pairs": "central"}, [0, 1, 0, 1, 0, 1]),
        ({"pairs": "central", "layers": "each", "per_example": True}, [0, 1, 2, 3, 0, 1]),
    ],
)
def test_every_pass_is_a_measurement(settings, parts):
    """A baseline where batch or parameters are new, and one for each group; or central pairs."""
    task, (device, theta) = Parity(bits=3).load(), start(TINY)
    algorithm = NodePerturbation(learning_rate=0.1, **settings)
    probes, *_ = collect(algorithm, device, task, theta, keys(1), len(parts))
    assert probes.clock.part[0].tolist() == parts
    sites = [np.asarray(probes.sites[f"dense{n}/z"][0]) for n in (0, 1)]
    if settings.get("per_example"):
        assert sites[0].shape == (len(parts), 8, 2)
        assert len(np.unique(sites[0][0], axis=0)) > 1
    sizes = np.stack([np.abs(site).reshape(len(parts), -1).max(axis=1) for site in sites])
    perturbed = (sizes > 0).sum(axis=0)
    each = 1 if settings.get("layers") == "each" else 2
    central = settings.get("pairs") == "central"
    assert perturbed.tolist() == [each if central or part else 0 for part in parts]


def test_replicas_are_the_runs_of_their_seeds():
    def run(key, replicas):
        return dither.train(
            SimulatedDevice(network=TINY),
            Parity(bits=3, batch=3),
            NodePerturbation(learning_rate=0.05, per_example=True, optimizer="adam"),
            key=key,
            replicas=replicas,
            until=Until(measurements=60),
        )

    both = run(3, 2)
    assert np.allclose(both.parameters[1], run(4, 1).parameters[0], rtol=0, atol=1e-4)
    assert not np.allclose(both.parameters[0], both.parameters[1], rtol=0, atol=1e-2)


# --------------------------------------------------------------------------------- what is wrong


def test_a_layer_without_gradient_stays_finite():
    """Neurons of a relu layer that no input reaches: nothing before them has a gradient."""
    network = MLP(widths=(3, 4, 2), activation="relu")
    device, theta = start(network)
    theta = device.space.ravel(device.space.unravel(theta) | {"dense0/bias": jnp.full(4, -100.0)})
    algorithm = NodePerturbation(learning_rate=0.1, optimizer="adam", layers="each", normalise=True)
    task = Parity(bits=3).load()
    probes, estimate, *_ = collect(algorithm, device, task, theta, keys(2), 30)
    G = [device.space.unravel(one) for one in estimate[:, 2]]
    assert np.isfinite(probes.parameters).all()
    assert np.isfinite(estimate).all()
    assert not any(np.abs(one["dense0/weight"]).any() for one in G)


class Opaque(AbstractNetwork):
    """A network that names no layers."""

    kind: str = "opaque"

    def init(self, key):
        return {"w": jax.random.normal(key, (3, 2))}

    def __call__(self, parameters, inputs, tap=None):
        del tap
        return inputs @ parameters["w"]

    @property
    def input_shape(self):
        return (3,)

    @property
    def outputs(self):
        return 2


@pytest.mark.parametrize(
    ("device", "part"),
    [
        (SimulatedDevice(network=Opaque()), "names no layers"),
        (SimulatedDevice(network=TINY, access="outputs"), "needs sites"),
        (SimulatedDevice(network=TINY, access="cost"), "needs sites"),
    ],
)
def test_a_device_without_sites_is_refused(device, part):
    with pytest.raises(RequestError, match=part):
        dither.train(device, Parity(bits=3), NodePerturbation(learning_rate=0.1))


SPECIFICATION = """
[task]
kind = "parity"
bits = 3
batch = 4
[device]
kind = "simulated"
network = { kind = "mlp", widths = [3, 4, 2] }
access = "sites"
[algorithm]
kind = "node-perturbation"
learning_rate = 0.05
layers = "each"
per_example = true
normalise = true
delta = 0.1
optimizer = { name = "adam", settings = { b1 = 0.8 } }
[until]
measurements = 60
"""


@pytest.mark.parametrize(
    ("was", "becomes", "parts"),
    [
        ("delta = 0.1", "delta = 0.0", ["algorithm.delta", "greater than 0"]),
        ('"each"', '"some"', ["algorithm.layers"]),
        ("per_example", "per_sample", ["no setting", "did you mean per_example"]),
    ],
)
def test_a_wrong_setting_is_named(was, becomes, parts, tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(SPECIFICATION.replace(was, becomes))
    with pytest.raises(RequestError) as caught:
        read_specification(str(path))
    assert all(part in str(caught.value) for part in parts)


def test_from_the_shell(tmp_path):
    (tmp_path / "a.toml").write_text(SPECIFICATION.replace("batch = 4", "batch = 9"))
    refused(shell("train", "a.toml", cwd=tmp_path), tmp_path, "batch of 9", "8 training samples")
    (tmp_path / "b.toml").write_text(SPECIFICATION)
    done = shell("train", "b.toml", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ledger"]["measurements"] == 60
