"""The scaling paper run again: its iteration against one written plainly, its laws, its rows."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from jaxtyping import Array

import dither
from dither._errors import RequestError
from dither.algorithms import LayerwiseMGD, NodePerturbation
from dither.algorithms.optimizer import Optimizer
from dither.contract import Layer, Parameters
from dither.laws import cosine, normalised_slowdown, weight_angle_time
from dither.laws.angle import layers_of
from dither.networks import CNN, MLP
from dither.papers import find_paper
from dither.papers.oripov2025 import angle
from dither.papers.oripov2025.accuracy import AccuracyCurves as Curves
from dither.papers.oripov2025.rows import AN_ITERATION, LAYERS
from dither.papers.paper import known, table
from dither.papers.scale import Scale, device_of
from dither.tasks import make_task
from dither.training.angle import measurements_to_angle
from dither.training.fit import problem_of
from dither.training.fused import measure_once, start

SMALL = CNN(image=(5, 5, 1), channels=(2,), depth=2, padding="same", dense=(3,), activation="tanh")
"""A network of the paper's kind, small enough for a plain loop; 5 rows have one to drop."""

B = 4


def plain_costs(outputs: Array, labels: Array) -> Array:
    targets = np.full((B, 10), 0.01)
    targets[np.arange(B), np.asarray(labels)] = 1.0
    return -jnp.sum(targets * jax.nn.log_softmax(outputs), axis=-1)


def plain_pullback(
    layer: Layer, parameters: Parameters, images: Array, change: Array, s: Array
) -> Parameters:
    """The mean over the examples of each one's own outer product or kernel gradient."""
    seen = {}

    def record(site: str, value: Array) -> Array:
        seen[site] = value
        return value

    SMALL(parameters, images, record)
    x = np.asarray(seen[f"{layer.name}/x"], float)
    e = np.asarray(change, float).reshape(-1, *[1] * s.ndim) * np.asarray(s)
    if s.ndim == 1:
        weight = sum(np.outer(x[b], e[b]) for b in range(B)) / B
        return {f"{layer.name}/weight": weight, f"{layer.name}/bias": e.mean(0)}
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = s.shape[:2]
    weight = np.array(
        [[np.einsum("bhwp,bhwq->pq", padded[:, i : i + height, j : j + width], e) / B
          for j in range(3)] for i in range(3)]
    )  # fmt: skip
    return {f"{layer.name}/weight": weight, f"{layer.name}/bias": e.sum((1, 2)).mean(0)}


def plainly(parameters: Parameters, images: Array, labels: Array, layer: Layer, moved: Parameters,
            sites: dict[str, Array] | None) -> Parameters:  # fmt: skip
    """One layer's estimate, each measurement a forward pass through the whole network."""

    def measure(parameters: Parameters, by: Array | None = None) -> Array:
        def tap(site: str, value: Array) -> Array:
            return value + by if by is not None and site == f"{layer.name}/z" else value

        return plain_costs(SMALL(parameters, images, tap), labels)

    a, baseline = 0.01, measure(parameters)
    if sites is None:
        names = [f"{layer.name}/weight", f"{layer.name}/bias"]
        delta = a / math.sqrt(sum(parameters[name].size for name in names))
        signs = {name: (moved[name] - parameters[name]) / delta for name in names}
        np.testing.assert_allclose(np.abs(np.concatenate([s.ravel() for s in signs.values()])), 1)
        change = jnp.mean(measure(parameters | {n: moved[n] for n in names}) - baseline)
        return {name: change * s / delta for name, s in signs.items()}
    p, delta = sites[f"{layer.name}/z"], a / math.sqrt(math.prod(layer.nodes))
    np.testing.assert_allclose(np.abs(p), delta)
    change = measure(parameters, p) - baseline
    return plain_pullback(layer, parameters, images, change / delta, p / delta)


@pytest.mark.parametrize("kind", ["weight", "node"])
@pytest.mark.usefixtures("x64")
def test_an_iteration_is_the_one_written_plainly(kind: str) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.uniform(size=(B, 5, 5)), np.array([0, 3, 3, 9], np.int32)
    classes = tuple("abcdefghij")
    task = make_task(images, labels, images, labels, classes=classes, cost="smoothed_cross_entropy")
    settings = {"learning_rate": 0.0, "delta": 0.01, "normalise": True, "tau_theta": 2, "tau_x": 2}
    algorithm, access = {
        "weight": (LayerwiseMGD(**settings), "outputs"),
        "node": (NodePerturbation(**settings, layers="each"), "sites"),
    }[kind]
    device = dither.SimulatedDevice(network=SMALL, access=access)
    theta = device.initial(jax.random.key(0))
    theta = theta + 0.2 * jax.random.normal(jax.random.key(1), theta.shape)
    carry = start(algorithm, device, problem_of(device, task), jnp.int32(0), parameters=theta)
    parameters, L = device.space.unravel(theta), len(SMALL.layers)
    expected = jax.tree.map(lambda value: np.zeros(value.shape), parameters)
    step = jax.jit(lambda carry: measure_once(algorithm, device, task, carry))
    for number in range(1 + 2 * L):
        carry, probe, info = step(carry)
        if number:
            layer, moved = SMALL.layers[(number - 1) % L], device.space.unravel(probe.theta)
            here = jnp.asarray(images), jnp.asarray(labels), layer, moved, probe.sites
            for name, value in plainly(parameters, *here).items():
                expected[name] += np.asarray(value) / settings["tau_theta"]
    found = device.space.unravel(info.estimate)
    for name, value in expected.items():
        largest = float(np.abs(value).max())
        assert largest > 1e-6
        np.testing.assert_allclose(found[name], value, atol=1e-9 * largest)


def test_the_normalised_step_is_the_unbiased_estimate_over_its_growth() -> None:
    """`G / (a √(1/N + 1/τ − 1/(Nτ))) = Ĝ / √(1 + (N − 1)/τ)`, Ĝ = G / δ unbiased."""
    for N, tau in ((20, 1), (584, 1), (584, 1000)):
        a = 0.01
        ours = 1 / (a * math.sqrt(1 / N + 1 / tau - 1 / (N * tau)))
        assert ours == pytest.approx((math.sqrt(N) / a) * math.sqrt(1 / (1 + (N - 1) / tau)))
        growth = 1 / cosine(N - 1.0, float(tau))
        assert ours == pytest.approx(math.sqrt(N) / a / growth)


def test_the_slowdown_is_that_of_the_mean_steps() -> None:
    squared, N = np.array([4.0, 1.0]), np.array([100, 25])
    assert normalised_slowdown(squared, N) == pytest.approx(5 / (4 / 10 + 1 / 5))


def test_optimisers_follow_their_equations() -> None:
    theta, G = jnp.zeros(3), jnp.full(3, 2.0)
    plain, momentum, adam = (
        Optimizer(name=name, settings=settings).build(0.1)
        for name, settings in (("sgd", {}), ("sgd", {"momentum": 0.9}), ("uncorrected_adam", {}))
    )
    for optimizer, step in ((plain, 2.0), (momentum, 2.0), (adam, 0.2 / math.sqrt(0.004))):
        moved, _ = optimizer.update(G, optimizer.init(theta), theta)
        np.testing.assert_allclose(moved, -0.1 * step, rtol=1e-4)
    state, total = momentum.init(theta), theta
    for _ in range(2):
        moved, state = momentum.update(G, state, theta)
        total = total + moved
    np.testing.assert_allclose(total, -0.1 * (2 + 0.9 * 2 + 2), rtol=1e-4)


def test_an_angle_is_reached_when_the_law_says() -> None:
    """`iterations = kappa / tan²(15°)`, on average over starts of the signs."""
    rng = np.random.default_rng(0)
    x, t = rng.uniform(size=(20, 4)), rng.uniform(size=(20, 2))
    task = make_task(x, t, x, t)
    device = dither.SimulatedDevice(network=MLP(widths=(4, 5, 2)), access="outputs")
    settings = {"delta": 1e-3, "tau_x": 10**6, "tau_theta": 10**6, "learning_rate": 0.0}
    algorithm = LayerwiseMGD(**settings)
    theta = device.initial(jax.random.key(0))

    def cost(theta: Array) -> Array:
        return jnp.mean(task.cost(device.network(device.space.unravel(theta), task.inputs),
                                  task.targets))  # fmt: skip

    g = jax.grad(cost)(theta)
    law = weight_angle_time(device.space.unravel(g)).iterations
    took = [
        measurements_to_angle(algorithm, device, task, theta, g, most=2 * 20 * law, seed=seed)
        for seed in range(40)
    ]
    iterations = (np.array(took) - 1) / 2
    # a first passage comes early by the wobble of the cosine about its mean
    assert 0.5 * law < iterations.mean() < 1.2 * law
    assert measurements_to_angle(algorithm, device, task, theta, g, most=3.0) == math.inf


def test_the_first_record_at_an_accuracy() -> None:
    curves = object.__new__(Curves)
    curves.run_to = {("node", 1): 0.7}
    curves.table = pd.DataFrame(
        {"method": "node", "d": 1, "seed": 0, "iterations": [5, 10, 15], "score": [0.1, 0.6, 0.5]}
    )
    assert curves.first("node", 1, 0.5) == [10]
    assert curves.first("node", 1, 0.7) == [math.inf]
    assert curves.first("node", 1, 0.8) == []
    assert curves.first("weight", 1, 0.1) == []


def test_published_numbers_are_at_hand_and_of_the_papers_networks() -> None:
    assert len(table("oripov2025")) == 88
    where = {"figure": "3", "method": "weight",
             "quantity": "iterations to a gradient angle of 15 degrees"}  # fmt: skip
    assert known("oripov2025", "median", d=4, **where) == 14850.0
    assert known("oripov2025", "reached", d=4, **where) == 10
    assert known("oripov2025", "median", d=64, **where) is None
    for quick in (True, False):
        for cell in Scale.of("oripov2025", quick).study("angles").cells:
            assert len(angle.network_of(cell).layers) == LAYERS == AN_ITERATION["node"] - 1
            if cell.labels["d"] == 2:
                assert device_of(cell).space.size == 1908
                assert sum(math.prod(one.nodes) for one in angle.network_of(cell).layers) == 5514
                parameters = angle.network_of(cell).init(jax.random.key(0))
                assert len(layers_of(parameters)) == LAYERS


def test_resuming_a_paper_that_keeps_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="saves no trainings"):
        find_paper("andreoli2023").scale(True, tmp_path, resume=True)
    assert find_paper("oripov2025").scale(True, tmp_path, resume=True).folder == tmp_path


def test_simulated_angles_are_kept_and_given_up_ones_run_again_for_longer(tmp_path, monkeypatch):
    """A stand-in for the simulation, which takes minutes, arrives at 70 iterations."""
    run = []

    def simulated(*asked):
        limit = asked[2]
        run.append(limit)
        return 70.0 if limit >= 70 else math.inf

    monkeypatch.setattr(angle, "simulated_iterations", simulated)
    cells = Scale.of("oripov2025", True).study("angles").cells
    (cell,) = (one for one in cells if one.labels == {"method": "node", "d": 1})

    def kept(limit, seed=0):
        return angle.kept_iterations(cell, seed, limit, tmp_path, print)

    assert [kept(limit) for limit in (50.0, 40.0, 100.0, 60.0)] == [math.inf, math.inf, 70.0, 70.0]
    assert run == [50, 100]
    kept(60.0, seed=1)
    assert run == [50, 100, 60]
