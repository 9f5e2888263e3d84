"""The scaling paper run again: its iteration against one written plainly, its laws, its rows."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from dither._errors import RequestError
from dither.contract import Layer, Parameters
from dither.laws import cosine
from dither.networks import CNN
from dither.networks.network import through
from dither.papers import find_paper
from dither.papers.oripov2025 import angle
from dither.papers.oripov2025.angle import exactly
from dither.papers.oripov2025.network import examples_last, images_last, network_of
from dither.papers.oripov2025.published import published, rows
from dither.papers.oripov2025.simulation import (
    Method,
    Scheme,
    begin,
    draw_signs,
    exact_gradient,
    iterate,
    measure_changes,
    node_estimate,
    nominal_pass,
    sizes,
    smoothed_costs,
    update,
    weight_estimate,
)
from dither.papers.oripov2025.training import Curve, Goal, train
from dither.tasks import Task, make_task

SMALL = CNN(image=(5, 5, 1), channels=(2,), depth=2, padding="same", dense=(3,), activation="tanh")
"""A network of the paper's kind, small enough for a plain loop; 5 rows have one to drop."""

B = 4


@pytest.fixture(scope="module")
def case() -> tuple[Parameters, Array, Array]:
    """Parameters away from zero biases, a batch of images, labels."""
    key = jax.random.key(0)
    parameters = {
        name: value + 0.2 * jax.random.normal(jax.random.fold_in(key, k), value.shape)
        for k, (name, value) in enumerate(SMALL.init(key).items())
    }
    return parameters, jax.random.uniform(key, (B, 5, 5)), jnp.array([0, 3, 3, 9])


def plain_costs(outputs: Array, labels: Array) -> Array:
    targets = np.full((B, 10), 0.01)
    targets[np.arange(B), np.asarray(labels)] = 1.0
    return -jnp.sum(targets * jax.nn.log_softmax(outputs), axis=-1)


def test_layers_with_the_examples_last_are_the_networks_layers(
    case: tuple[Parameters, Array, Array],
) -> None:
    parameters, images, _ = case
    layers = examples_last(SMALL)
    outputs = jax.jit(lambda p, x: through(layers, p, images_last(x)))(parameters, images)
    expected = jax.jit(SMALL)(parameters, images)
    np.testing.assert_allclose(outputs[:, 0].T, expected, atol=2e-6)
    N = sizes("weight", layers, parameters)
    assert sum(N.values()) == sum(v.size for v in parameters.values())


def test_many_channels_at_once_are_the_same_as_shift_by_shift() -> None:
    from dither.papers.oripov2025 import network

    x, kernel = jax.random.normal(jax.random.key(1), (3, 2, 5, 5, 2)), jnp.ones((3, 3, 3, 2))
    kernel = kernel * jnp.arange(54.0).reshape(kernel.shape)
    np.testing.assert_allclose(
        network._correlate(x, kernel), network._correlate_at_once(x, kernel), rtol=1e-5, atol=1e-3
    )


def test_backpropagation_is_that_of_the_network(case: tuple[Parameters, Array, Array]) -> None:
    parameters, images, labels = case
    layers = examples_last(SMALL)
    found = jax.jit(lambda p: exact_gradient(layers, p, images_last(images), labels))(parameters)
    expected = jax.jit(
        jax.grad(lambda p: jnp.mean(plain_costs(SMALL(p, images), labels)))
    )(parameters)  # fmt: skip
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=3e-6)


def test_the_exact_pass_is_that_of_the_network() -> None:
    network, labels = network_of(1), jnp.array([3, 7])
    parameters = network.init(jax.random.key(3))
    images = jax.random.uniform(jax.random.key(4), (2, 28, 28))

    def cost(parameters: Parameters, shift: Array) -> Array:
        def tap(site: str, value: Array) -> Array:
            return value + shift if site == "conv3/z" else value

        return jnp.sum(smoothed_costs(network(parameters, images, tap).T[:, None], labels))

    zero = jnp.zeros((2, 14, 14, 2))
    gradient, errors = jax.jit(jax.grad(cost, (0, 1)))(parameters, zero)
    found = exactly(1, parameters, images_last(images), labels)
    np.testing.assert_allclose(
        jnp.moveaxis(found.errors["conv3"][:, 0], (0, 3), (3, 0)), errors, atol=1e-6
    )
    for name in gradient:
        np.testing.assert_allclose(found.gradient[name], gradient[name] / 2, atol=1e-5)


def plainly(
    method: Method,
    parameters: Parameters,
    images: Array,
    labels: Array,
    signs: Parameters,
    deltas: dict[str, float],
) -> Parameters:
    """The paper's iteration with each measurement a forward pass through the whole network."""

    def measure(parameters: Parameters, moved: str = "", by: Array | None = None) -> Array:
        def tap(site: str, value: Array) -> Array:
            return value + by if site == f"{moved}/z" else value

        return plain_costs(SMALL(parameters, images, tap), labels)

    estimate: Parameters = {}
    for layer in SMALL.layers:
        names = [f"{layer.name}/weight", f"{layer.name}/bias"]
        delta = deltas[layer.name]
        baseline = measure(parameters)
        if method == "weight":
            moved = {name: parameters[name] + delta * signs[name] for name in names}
            change = measure(parameters | moved) - baseline
            estimate |= {name: jnp.mean(change) * signs[name] for name in names}
        else:
            s = signs[layer.name].reshape(layer.nodes[-1], *layer.nodes[:-1])
            s = jnp.moveaxis(s, 0, -1)
            change = measure(parameters, layer.name, delta * s) - baseline
            estimate |= plain_pullback(layer, parameters, images, change, s)
    return estimate


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


@pytest.mark.parametrize("method", ["weight", "node"])
def test_an_iteration_is_the_one_written_plainly(
    method: Method, case: tuple[Parameters, Array, Array]
) -> None:
    layers, K = examples_last(SMALL), 2
    deltas = {name: 0.01 / math.sqrt(n) for name, n in sizes(method, layers, case[0]).items()}

    @jax.jit
    def ours(
        parameters: Parameters, images: Array, labels: Array, signs: Parameters
    ) -> list[Parameters]:
        nominal = nominal_pass(layers, parameters, images_last(images), labels)
        changes = measure_changes(layers, parameters, nominal, labels, signs, deltas)
        found = []
        for k in range(K):
            change = {name: c[k] for name, c in changes.items()}
            s = {name: value[k] for name, value in signs.items()}
            found.append(
                weight_estimate(layers, parameters, change, s)
                if method == "weight"
                else node_estimate(layers, nominal.x, change, s)
            )
        return found

    with jax.enable_x64(True):  # so that rounding is small beside the changes of the costs
        parameters, images, labels = jax.tree.map(
            lambda v: jnp.asarray(v, float if v.dtype == jnp.float32 else int), case
        )
        drawn = draw_signs(jax.random.key(5), method, layers, parameters, K)
        signs = {name: jnp.asarray(value, float) for name, value in drawn.items()}
        for k, found in enumerate(ours(parameters, images, labels, signs)):
            s = {name: value[k] for name, value in signs.items()}
            expected = plainly(method, parameters, images, labels, s, deltas)
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                largest = float(np.abs(value).max())
                assert largest > 1e-6
                np.testing.assert_allclose(found[name], value, atol=1e-9 * largest)


def tiny_task(seed: int = 0) -> Task:
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(200, 28, 28)).astype(np.float32)
    t = rng.integers(0, 10, 200).astype(np.int32)
    classes = tuple("abcdefghij")
    return make_task(x, t, x, t, classes=classes, cost="cross_entropy", batch=4)


def test_the_normalised_step_is_the_unbiased_estimate_over_its_growth() -> None:
    """`G / (a √(1/N + 1/τ − 1/(Nτ))) = Ĝ / √(1 + (N − 1)/τ)`, Ĝ = G / δ unbiased."""
    for N, tau in ((20, 1), (584, 1), (584, 1000)):
        a = 0.01
        ours = 1 / (a * math.sqrt(1 / N + 1 / tau - 1 / (N * tau)))
        assert ours == pytest.approx((math.sqrt(N) / a) * math.sqrt(1 / (1 + (N - 1) / tau)))
        growth = 1 / cosine(N - 1.0, float(tau))
        assert ours == pytest.approx(math.sqrt(N) / a / growth)


def test_optimisers_follow_their_equations() -> None:
    scheme = Scheme(method="weight", d=1, tau_theta=2, learning_rate=0.1)
    state = begin(scheme, jax.random.key(0))
    G = jax.tree.map(lambda v: jnp.full_like(v, 4.0), state.parameters)
    state = state._replace(gradient=G)
    for optimizer, step in (("none", 2.0), ("momentum", 2.0), ("adam", 0.2 / math.sqrt(0.004))):
        after = update(scheme.model_copy(update={"optimizer": optimizer}), state)
        for name, value in state.parameters.items():
            moved = np.asarray(value - after.parameters[name])
            np.testing.assert_allclose(moved, 0.1 * step, rtol=1e-4)
            assert not np.any(after.gradient[name])
    momentum = scheme.model_copy(update={"optimizer": "momentum"})
    twice = update(momentum, update(momentum, state)._replace(gradient=G))
    moved = np.asarray(state.parameters["dense2/bias"] - twice.parameters["dense2/bias"])
    np.testing.assert_allclose(moved, 0.1 * (2 + 0.9 * 2 + 2), rtol=1e-4)


def test_parameters_wait_for_tau_theta() -> None:
    scheme, task = Scheme(method="weight", d=1, tau_theta=2, batch=2), tiny_task()
    state = begin(scheme, jax.random.key(0))
    step = jax.jit(lambda s: iterate(scheme, jax.random.key(1), task, s))
    first = step(state)
    assert np.any(first.gradient["dense2/bias"])
    for name in state.parameters:
        np.testing.assert_array_equal(first.parameters[name], state.parameters[name])
    second = step(first)
    assert np.any(second.parameters["dense2/bias"] != first.parameters["dense2/bias"])
    assert not np.any(second.gradient["dense2/bias"])


def test_a_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    scheme, task = Scheme(method="weight", d=1, batch=2), tiny_task()
    whole = train(scheme, 3, task, Goal(2.0, 20), 5)
    file = tmp_path / "one.npz"
    part = train(scheme, 3, task, Goal(2.0, 10), 5, file)
    np.testing.assert_array_equal(part.iterations, [5, 10])
    rest = train(scheme, 3, task, Goal(2.0, 20), 5, file)
    np.testing.assert_array_equal(rest.iterations, whole.iterations)
    np.testing.assert_array_equal(rest.accuracies, whole.accuracies)
    with pytest.raises(RequestError, match="another specification"):
        train(scheme, 4, task, Goal(2.0, 20), 5, file)


def test_the_first_record_at_an_accuracy() -> None:
    curve = Curve(np.array([5, 10, 15]), np.array([0.1, 0.6, 0.5]))
    assert curve.first(0.5) == 10
    assert curve.first(0.7) == math.inf
    assert curve.meets(Goal(0.6, 100))
    assert curve.meets(Goal(0.9, 15))
    assert not curve.meets(Goal(0.9, 16))


def test_published_numbers_are_at_hand_and_of_the_papers_networks() -> None:
    assert len(rows()) == 88
    found = published("3", "weight", 4, "iterations to a gradient angle of 15 degrees")
    assert found is not None
    assert (found.median, found.reached) == (14850.0, 10)
    assert published("3", "weight", 64, "iterations to a gradient angle of 15 degrees") is None
    layers = examples_last(network_of(2))
    parameters = network_of(2).init(jax.random.key(0))
    assert sum(v.size for v in parameters.values()) == 1908
    assert sum(sizes("node", layers, parameters).values()) == 5514


def test_resuming_a_paper_that_keeps_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="keeps no trainings"):
        find_paper("andreoli2023").scale(True, tmp_path, resume=True)
    assert find_paper("oripov2025").scale(True, tmp_path, resume=True).folder == tmp_path


def test_simulated_angles_are_kept_and_given_up_ones_run_again_for_longer(tmp_path, monkeypatch):
    """A stand-in for the simulation, which takes minutes, arrives at 70 iterations."""
    run = []

    def simulated(*asked):
        limit = asked[3]
        run.append(limit)
        return 70.0 if limit >= 70 else math.inf

    monkeypatch.setattr(angle, "simulated_iterations", simulated)

    def kept(limit, seed=0):
        return angle.kept_iterations("node", 1, seed, limit, tmp_path, print)

    assert [kept(limit) for limit in (50.0, 40.0, 100.0, 60.0)] == [math.inf, math.inf, 70.0, 70.0]
    assert run == [50, 100]
    kept(60.0, seed=1)
    assert run == [50, 100, 60]
