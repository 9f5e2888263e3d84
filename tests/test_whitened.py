"""Decorrelated and whitened inputs, of dense layers and of patches, beside plain NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import CNN, MLP, RequestError, SimulatedDevice, Until
from dither.algorithms import (
    DecorrelatedNodePerturbation,
    LocalLosses,
    WhitenedNodePerturbation,
)
from dither.contract import Layer
from dither.devices import FailedReads
from dither.networks import AbstractNetwork
from dither.networks.network import dense, no_tap, through
from dither.training.fit import problem_of
from exact_nodes import inputs_and_errors
from test_battery import collect, keys
from test_node_perturbation import random_task, start
from test_node_variants import decorrelate

BOTH = [DecorrelatedNodePerturbation, WhitenedNodePerturbation]
DELTA = 1e-2


def tiny(padding):
    return CNN(
        image=(4, 4, 2), channels=(3,), padding=padding, dense=(), classes=3, activation="tanh"
    )


def forward(weights, sample, label, p_conv, p_dense, padding):
    """One example by loops: the patches, the dense layer's input, the cost."""
    K, c = weights["conv0/weight"], weights["conv0/bias"]
    image = np.pad(sample, ((1, 1), (1, 1), (0, 0))) if padding == "same" else sample
    height, width = image.shape[0] - 2, image.shape[1] - 2
    patches, a = [], np.zeros((height, width, 3))
    for i in range(height):
        for j in range(width):
            patch = [image[i + k, j + m, n] for k in range(3) for m in range(3) for n in range(2)]
            patches.append(patch)
            for q in range(3):
                z = c[q] + p_conv[i, j, q]
                for number, value in enumerate(patch):
                    z += value * K[number // 6, number // 2 % 3, number % 2, q]
                a[i, j, q] = np.tanh(z)
    h = []
    for i in range(height // 2):
        for j in range(width // 2):
            h += [a[2 * i : 2 * i + 2, 2 * j : 2 * j + 2, q].max() for q in range(3)]
    y = np.array(h) @ weights["dense/weight"] + weights["dense/bias"] + p_dense
    return np.array(patches), np.array(h), np.log(np.exp(y).sum()) - y[label]


def batch(weights, task, p_conv, p_dense, padding):
    examples = zip(np.asarray(task.inputs), np.asarray(task.targets), p_conv, p_dense)
    found = [forward(weights, *example, padding) for example in examples]
    return [np.array(part) for part in zip(*found)]


def unravelled(device, theta):
    return {name: np.array(v) for name, v in device.space.unravel(jnp.asarray(theta)).items()}


def flat(device, arrays):
    return np.asarray(device.space.ravel({name: jnp.asarray(v) for name, v in arrays.items()}))


def with_one(rows):
    return np.concatenate([rows, np.ones((*rows.shape[:-1], 1))], axis=-1)


def perturbations(probes):
    return [np.asarray(probes.sites[f"{name}/z"][0]) for name in ("conv0", "dense")]


@pytest.mark.parametrize(("padding", "known"), [("same", False), ("valid", False), ("same", True)])
@pytest.mark.usefixtures("x64")
def test_whitened_is_that_of_a_plain_loop(padding, known):
    task, (device, theta) = random_task((4, 4, 2), number=5), start(tiny(padding))
    eta, damping, memory, sets = 0.1, 0.2, 2, 2
    algorithm = WhitenedNodePerturbation(
        learning_rate=eta,
        damping=damping,
        memory=memory,
        sets=sets,
        delta=DELTA,
        known_output=known,
    )
    ticks = 5
    probes, *_ = collect(algorithm, device, task, theta, keys(1), (1 + sets) * ticks)
    p_conv, p_dense = perturbations(probes)
    now, written, A, B, E = unravelled(device, theta), [], 0.0, 0.0, 0.0
    for tick in range(ticks):
        first = (1 + sets) * tick
        patches, h, C0 = batch(now, task, p_conv[first], p_dense[first], padding)
        assert not p_conv[first].any()
        X, H = with_one(patches), with_one(h)
        weight = 1 / min(tick + 1, memory)
        A = A + weight * (np.einsum("bnp,bnq->pq", X, X) / 5 - A)
        B = B + weight * (np.einsum("bp,bq->pq", H, H) / 5 - B)
        G, F = 0.0, 0.0
        for m in range(first + 1, first + 1 + sets):
            patches, h, C = batch(now, task, p_conv[m], p_dense[m], padding)
            change = (C - C0) / DELTA
            E = E + ((change**2).mean() - E) / min(tick * sets + m - first, memory * sets)
            e_conv = change[:, None, None, None] * p_conv[m] / DELTA / sets
            e_dense = change[:, None] * p_dense[m] / DELTA / sets
            if known:
                assert not p_dense.any()
                y = np.exp(h @ now["dense/weight"] + now["dense/bias"])
                exact = y / y.sum(axis=1, keepdims=True) - np.eye(3)[np.asarray(task.targets)]
                e_dense = exact / sets
            G = G + np.einsum("bnp,bnq->pq", with_one(patches), e_conv.reshape(5, -1, 3)) / 5
            F = F + with_one(h).T @ e_dense / 5
        written += [flat(device, now)] * (1 + sets)
        for name, moment, product in (("conv0", A, G), ("dense", B, F)):
            p = len(moment)
            step = eta / E * np.linalg.inv(moment + damping * np.trace(moment) / p * np.eye(p))
            step = step @ product
            now[f"{name}/weight"] -= step[:-1].reshape(now[f"{name}/weight"].shape)
            now[f"{name}/bias"] -= step[-1]
    assert np.abs(written[-1] - written[0]).max() > 0.05
    assert np.abs(np.asarray(probes.parameters[0]) - written).max() < 1e-9


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.usefixtures("x64")
def test_decorrelated_patches_are_those_of_a_plain_loop(padding):
    task, (device, theta) = random_task((4, 4, 2), number=5), start(tiny(padding))
    algorithm = DecorrelatedNodePerturbation(learning_rate=0.05, delta=DELTA, decorrelation=0.9)
    probes, *_ = collect(algorithm, device, task, theta, keys(1), 10)
    p_conv, p_dense = perturbations(probes)
    now, written, R = unravelled(device, theta), [], np.eye(18)
    Q = np.eye(now["dense/weight"].shape[0])
    for m in range(0, 10, 2):
        patches, h, C0 = batch(now, task, p_conv[m], p_dense[m], padding)
        R, Q = decorrelate(R, patches.reshape(-1, 18), 0.9), decorrelate(Q, h, 0.9)
        patches, h, C = batch(now, task, p_conv[m + 1], p_dense[m + 1], padding)
        change = (C - C0) / DELTA**2
        e_conv = change[:, None, None, None] * p_conv[m + 1]
        e_dense = change[:, None] * p_dense[m + 1]
        written += [flat(device, now)] * 2
        G = R @ R.T @ np.einsum("bnp,bnq->pq", patches, e_conv.reshape(5, -1, 3)) / 5
        now["conv0/weight"] -= 0.05 * G.reshape(3, 3, 2, 3)
        now["conv0/bias"] -= 0.05 * e_conv.sum((0, 1, 2)) / 5
        now["dense/weight"] -= 0.05 * Q @ Q.T @ h.T @ e_dense / 5
        now["dense/bias"] -= 0.05 * e_dense.mean(0)
    assert np.abs(R - np.eye(18)).max() > 0.02
    assert np.abs(written[-1] - written[0]).max() > 0.05
    assert np.abs(np.asarray(probes.parameters[0]) - written).max() < 1e-9


@pytest.mark.parametrize("network", [tiny("same"), tiny("valid"), MLP(widths=(4, 3, 2))])
@pytest.mark.usefixtures("x64")
def test_features_are_what_the_weights_multiply(network):
    parameters, rng = network.init(jax.random.key(3)), np.random.default_rng(1)
    seen = {}

    def record(site, value):
        seen[site] = np.asarray(value)
        return value

    network(parameters, jnp.asarray(rng.normal(size=(2, *network.input_shape))), record)
    for layer in network.layers:
        W, b = parameters[f"{layer.name}/weight"], parameters[f"{layer.name}/bias"]
        features = layer.features(jnp.asarray(seen[f"{layer.name}/x"]))
        z = np.asarray(features @ W.reshape(-1, W.shape[-1]) + b)
        assert np.allclose(z, seen[f"{layer.name}/z"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.usefixtures("x64")
def test_the_mean_step_is_the_regression_of_the_exact_errors(known):
    """`z` moves by −eta/E times the fit of the exact errors by x̄, E = mean_b Σ_l |e_bl|²."""
    network, task = MLP(widths=(3, 2, 3), output="tanh"), random_task((3,), number=8)
    device, theta = start(network)
    x, e = inputs_and_errors(network, device.space.unravel(theta), task)
    fits = {n: np.linalg.lstsq(with_one(x[n]), e[n], rcond=None)[0] for n in x}
    E = sum((e[n] ** 2).sum() for n in e if not (known and n == "dense1")) / 8
    parts = {f"{n}/weight": fit[:-1] for n, fit in fits.items()}
    parts |= {f"{n}/bias": fit[-1] for n, fit in fits.items()}
    algorithm = WhitenedNodePerturbation(
        learning_rate=1.0, delta=1e-4, damping=1e-9, sets=400, memory=400, known_output=known
    )
    probes = collect(algorithm, device, task, theta, keys(20), 402)[0]
    moved = np.asarray(probes.parameters[:, 401]) - np.asarray(theta)
    mean, error = moved.mean(axis=0), moved.std(axis=0) / np.sqrt(20)
    expected = -flat(device, parts) / E
    assert np.all(np.abs(mean - expected) < 5 * error + 1e-3)
    assert np.linalg.norm(error) < 0.2 * np.linalg.norm(expected)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.usefixtures("x64")
def test_only_the_trained_layers_are_perturbed_counted_and_moved(known):
    """E is the mean of Σ_l |e_l|² over the perturbed layers, and the step the fit over it."""
    network, task = MLP(widths=(3, 4, 2, 3), output="tanh"), random_task((3,), number=8)
    device, theta = start(network)
    x, e = inputs_and_errors(network, device.space.unravel(theta), task)
    trained = ("dense1", "dense2")
    E = sum((e[n] ** 2).sum() for n in trained if not (known and n == "dense2")) / 8
    expected = {n: np.zeros(p.shape) for n, p in device.space.unravel(theta).items()}
    for n in trained:
        fit = np.linalg.lstsq(with_one(x[n]), e[n], rcond=None)[0]
        expected |= {f"{n}/weight": -fit[:-1] / E, f"{n}/bias": -fit[-1] / E}
    algorithm = WhitenedNodePerturbation(
        learning_rate=1.0, delta=1e-4, damping=1e-9, sets=400, memory=400, known_output=known,
        trained=trained,
    )  # fmt: skip
    probes = collect(algorithm, device, task, theta, keys(20), 402)[0]
    assert set(probes.sites) == {"dense1/z", "dense2/z"}
    moved = np.asarray(probes.parameters[:, 401]) - np.asarray(theta)
    mean, error = moved.mean(axis=0), moved.std(axis=0) / np.sqrt(20)
    still = flat(
        device, {n: np.full(v.shape, float(n.startswith("dense0"))) for n, v in expected.items()}
    )
    assert not moved[:, still.astype(bool)].any()
    assert np.all(np.abs(mean - flat(device, expected)) < 5 * error + 1e-3)
    assert np.linalg.norm(error) < 0.2 * np.linalg.norm(flat(device, expected))


def test_an_unknown_trained_layer_is_refused():
    algorithm = WhitenedNodePerturbation(learning_rate=0.1, trained=("dense7",))
    with pytest.raises(RequestError, match="'dense7' that the device does not have"):
        dither.train(SimulatedDevice(network=MLP(widths=(3, 3))), random_task((3,)), algorithm)


def test_all_layers_named_are_all_layers():
    network, task = MLP(widths=(3, 2, 3)), random_task((3,))
    device, theta = start(network)
    ends = [
        collect(
            WhitenedNodePerturbation(learning_rate=0.1, sets=2, trained=trained),
            device, task, theta, keys(1), 20,
        )[0].parameters
        for trained in (None, ("dense1", "dense0"))
    ]  # fmt: skip
    assert np.array_equal(*ends)


@pytest.mark.parametrize("algorithm", BOTH)
def test_a_convolutional_network_descends(algorithm):
    task = random_task((4, 4, 2), number=12)
    result = dither.train(
        SimulatedDevice(network=tiny("same"), access="sites"),
        task,
        algorithm(learning_rate=0.05),
        until=Until(measurements=400),
        score_every=40,
    )
    cost = result.history["test_cost"].to_numpy()
    assert cost[-1] < 0.5 * cost[0]


def trajectory(probes):
    """The parameters that were written, one after the other, each once."""
    written = np.asarray(probes.parameters[0])
    return written[np.append(True, (np.diff(written, axis=0) != 0).any(axis=1))]


@pytest.mark.usefixtures("x64")
def test_failed_reads_change_no_trajectory():
    network, task = MLP(widths=(3, 3)), random_task((3,))
    device, theta = start(network)
    failing = SimulatedDevice(network=network, imperfections=(FailedReads(probability=0.3),))
    algorithm = WhitenedNodePerturbation(learning_rate=0.1, sets=2)
    smooth = trajectory(collect(algorithm, device, task, theta, keys(1), 30)[0])
    probes, _, _, failed = collect(algorithm, failing, task, theta, keys(1), 60)
    assert 5 < int(failed[0, -1]) < 25
    assert len(smooth) == 10
    assert np.allclose(trajectory(probes)[:10], smooth, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("rule", "parts"),
    [
        (WhitenedNodePerturbation(learning_rate=0.1, sets=3), 3),
        (DecorrelatedNodePerturbation(learning_rate=0.1), 1),
        (LocalLosses(learning_rate=0.1), 1),
    ],
)
def test_a_drifted_device_is_measured_clean_again(rule, parts):
    network, task = MLP(widths=(3, 3)), random_task((3,))
    device, theta = start(network)
    algorithm = rule
    state = algorithm.init(jax.random.key(0), theta, problem_of(device, task))
    for part in range(parts):
        probe, state = algorithm.ask(state)
        assert int(probe.clock.part) == part
    probe, _ = algorithm.ask(algorithm.on_drift(state))
    assert (int(probe.clock.tick), int(probe.clock.part)) == (0, 0)


class Gated(AbstractNetwork):
    """A layer whose z is not linear in its weights."""

    kind: str = "gated"

    def init(self, key):
        del key
        gate = {"only/gate": jnp.ones(2)}
        return {"only/weight": jnp.ones((2, 2)), "only/bias": jnp.zeros(2)} | gate

    def __call__(self, parameters, inputs, tap=no_tap):
        return through(self.layers, parameters, inputs, tap)

    @property
    def layers(self):
        return (Layer("only", (2,), lambda own, x: dense(own, x) * own["gate"]),)

    @property
    def input_shape(self):
        return (2,)

    @property
    def outputs(self):
        return 2


@pytest.mark.parametrize("algorithm", BOTH)
def test_a_layer_that_is_not_linear_is_refused(algorithm):
    task = random_task((2,), classes=2)
    with pytest.raises(RequestError, match="'only' is different"):
        dither.train(SimulatedDevice(network=Gated()), task, algorithm(learning_rate=0.1))
