"""Feedback alignment, physics-aware training and learned feedback beside exact gradients."""

from dataclasses import replace
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import CNN, MLP, RequestError, SimulatedDevice
from dither.algorithms import (
    Backpropagation,
    DirectFeedbackAlignment,
    FeedbackAlignment,
    LearnedFeedback,
    PhysicsAware,
)
from dither.contract import AccessLevel, Batch
from dither.networks import JaxFunction, Mixer
from dither.testing.devices import NumpyDevice
from dither.training.fit import check_fit, problem_of
from test_node_perturbation import exact_gradient, random_task

DENSE = MLP(widths=(4, 5, 3, 3))
CONVOLUTIONAL = CNN(
    image=(6, 6, 2), channels=(3, 4), padding="same", dense=(5,), classes=3, activation="tanh"
)
NETWORKS = pytest.mark.parametrize(
    ("network", "shape"), [(DENSE, (4,)), (CONVOLUTIONAL, (6, 6, 2))], ids=["dense", "conv"]
)


class Bench:
    """A device with the parameters of its network, measured by hand on all of a task's samples."""

    def __init__(self, network, task, imperfections=(), shows_z=True):
        self.shows_z = shows_z
        self.device = SimulatedDevice(network=network, imperfections=imperfections)
        self.problem = replace(problem_of(self.device, task), batch=len(task.inputs))
        self.batch, self.task = Batch(task.inputs, task.targets), task
        self.chip = self.device.fabricate(jax.random.key(7))
        self.theta = self.device.initial(jax.random.key(1))
        self.compiled = cache(self._compile)

    def state(self, algorithm):
        return algorithm.init(jax.random.key(2), self.theta, self.problem)

    def step(self, algorithm, state):
        """The state after a measurement, and the estimate that was made of it."""
        state, self.chip, estimate = self.compiled(algorithm)(state, self.chip)
        return state, np.asarray(estimate)

    def _compile(self, algorithm):
        @eqx.filter_jit
        def step(state, chip):
            probe, asked = algorithm.ask(state)
            chip = self.device.write(chip, probe.theta, jnp.bool_(True))
            see = algorithm.access_level
            seen, _, chip = self.device.measure(chip, self.batch, self.task.cost, probe.sites, see)
            if not self.shows_z:
                hidden = replace(seen.sites, preactivations=None)
                seen = replace(seen, _sites=hidden)
            state, info = algorithm.tell(asked, probe, seen)
            return state, chip, info.estimate

        return step


def learned(rate=0.0, **more):
    return LearnedFeedback(learning_rate=rate, **more)


# ------------------------------------------------------------------------------ fixed feedback


@pytest.mark.quick("dense")
@NETWORKS
@pytest.mark.usefixtures("x64")
def test_with_the_weights_themselves_feedback_alignment_is_backpropagation(network, shape):
    task = random_task(shape, number=5)
    bench, algorithm = Bench(network, task), FeedbackAlignment(learning_rate=0.0)
    state = bench.state(algorithm)
    exact = exact_gradient(network, bench.device, bench.theta, task)
    _, estimate = bench.step(algorithm, state)
    assert np.linalg.norm(estimate - exact) > 0.1 * np.linalg.norm(exact)
    own = replace(state, memory=bench.device.space.unravel(bench.theta))
    _, estimate = bench.step(algorithm, own)
    assert np.allclose(estimate, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.usefixtures("x64")
def test_fixed_feedback_is_that_of_plain_numpy(direct):
    task = random_task((4,), number=5)
    bench = Bench(DENSE, task)
    algorithm = (DirectFeedbackAlignment if direct else FeedbackAlignment)(learning_rate=0.0)
    state = bench.state(algorithm)
    _, estimate = bench.step(algorithm, state)
    theta = {k: np.asarray(v) for k, v in bench.device.space.unravel(bench.theta).items()}
    B = {k: np.asarray(v) for k, v in state.memory.items()}
    x = [np.asarray(task.inputs)]
    for n in range(2):
        x.append(np.tanh(x[n] @ theta[f"dense{n}/weight"] + theta[f"dense{n}/bias"]))
    y = np.exp(x[2] @ theta["dense2/weight"] + theta["dense2/bias"])
    e2 = y / y.sum(axis=1, keepdims=True) - np.eye(3)[np.asarray(task.targets)]
    if direct:
        e1, e0 = e2 @ B["dense2"] * (1 - x[2] ** 2), e2 @ B["dense1"] * (1 - x[1] ** 2)
    else:
        e1 = e2 @ B["dense2/weight"].T * (1 - x[2] ** 2)
        e0 = e1 @ B["dense1/weight"].T * (1 - x[1] ** 2)
    found = bench.device.space.unravel(jnp.asarray(estimate))
    for n, e in enumerate((e0, e1, e2)):
        assert np.allclose(found[f"dense{n}/weight"], x[n].T @ e / 5, rtol=0, atol=1e-12)
        assert np.allclose(found[f"dense{n}/bias"], e.mean(axis=0), rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------ a digital twin


@pytest.mark.parametrize("algorithm", [PhysicsAware(learning_rate=0.1), learned(0.1)])
@NETWORKS
@pytest.mark.usefixtures("x64")
def test_on_the_device_that_the_twin_is_it_is_backpropagation(network, shape, algorithm):
    bench = Bench(network, random_task(shape, number=5))
    exact = Backpropagation(learning_rate=0.1)
    mine, other = bench.state(algorithm), bench.state(exact)
    for _ in range(5):
        (mine, _), (other, _) = bench.step(algorithm, mine), bench.step(exact, other)
    assert np.abs(mine.theta - bench.theta).max() > 1e-3
    assert np.allclose(mine.theta, other.theta, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_physics_aware_takes_the_error_of_the_device_and_the_slope_of_the_twin():
    task = random_task((4,), number=5)
    bench = Bench(MLP(widths=(4, 3)), task, [{"kind": "mismatch", "gain": 0.5}])
    algorithm = PhysicsAware(learning_rate=0.0)
    _, estimate = bench.step(algorithm, bench.state(algorithm))
    # a linear layer's slope is its input, whatever its weights
    y = np.exp(np.asarray(bench.device.outputs(bench.chip, task.inputs)))
    e = y / y.sum(axis=1, keepdims=True) - np.eye(3)[np.asarray(task.targets)]
    weight = bench.device.space.unravel(jnp.asarray(estimate))["dense0/weight"]
    assert np.allclose(weight, np.asarray(task.inputs).T @ e / 5, rtol=0, atol=1e-12)


@pytest.mark.quick("dense")
@pytest.mark.usefixtures("x64")
@NETWORKS
def test_whitened_with_an_exact_twin_it_is_the_whitened_rule_that_reads_the_layers(network, shape):
    """The twin's layer inputs are the measured ones: the same steps, for several batches."""
    task = random_task(shape, number=12)
    until = dither.Until(measurements=25)
    found = [
        dither.train(SimulatedDevice(network=network), task, rule, until=until).parameters
        for rule in (
            PhysicsAware(learning_rate=0.05, whitening=0.2),
            learned(0.05, whitening=0.2, learning=0.0),
            PhysicsAware(learning_rate=0.05),
        )
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3, atol=1e-5)
    assert not np.allclose(found[0], found[2], atol=1e-3)


def test_a_twin_without_linear_layers_is_not_whitened():
    rule = PhysicsAware(learning_rate=0.1, whitening=0.1)
    mixer = Mixer(image=(4, 4, 1), patches=2, channels=4, groups=2, blocks=1, classes=2)
    function = JaxFunction(object=lambda w, x: x @ w["W"], parameters={"W": (4, 2)}, input=4)
    for network, said in ((mixer, "needs layers z = features"), (function, "names no layers")):
        task = random_task(network.input_shape, number=6)
        with pytest.raises(RequestError, match=said):
            rule.check(problem_of(SimulatedDevice(network=network), task))


def test_a_mismatch_is_a_relative_error_of_the_twins_parameters():
    bench = Bench(MLP(widths=(64, 50, 3)), random_task((64,)))
    found = PhysicsAware(learning_rate=0.0, mismatch=0.2)
    gains = np.asarray(bench.state(found).memory.gains)
    # the standard deviation of P = 3 403 normal numbers, within five standard errors
    assert abs(gains.std() / 0.2 - 1) < 5 / np.sqrt(2 * gains.size)
    assert abs(gains.mean() - 1) < 5 * 0.2 / np.sqrt(gains.size)
    exact = PhysicsAware(learning_rate=0.0)
    there = replace(bench.state(exact), memory=bench.state(found).memory)
    (_, G), (_, own) = bench.step(found, bench.state(found)), bench.step(exact, there)
    assert np.array_equal(G, own)


# ------------------------------------------------------------------------------ learned feedback


def weights_behind(bench):
    """The parameters that a chip with a mismatch computes with."""
    gain, offset = bench.chip.imperfections[0]
    return gain * bench.theta + offset


@pytest.mark.quick("dense", "dense-by-outputs")
@pytest.mark.parametrize(
    ("network", "shape", "shows_z", "steps"),
    [(DENSE, (4,), True, 3), (DENSE, (4,), False, 100), (CONVOLUTIONAL, (6, 6, 2), True, 10)],
    ids=["dense", "dense-by-outputs", "conv"],
)
@pytest.mark.usefixtures("x64")
def test_the_weights_behind_a_mismatch_are_learned_and_give_the_exact_gradient(
    network, shape, shows_z, steps
):
    task = random_task(shape, number=60)
    bench = Bench(network, task, [{"kind": "mismatch", "gain": 0.3, "offset": 0.1}], shows_z)
    algorithm = learned(damping=1e-5)
    state = bench.state(algorithm)
    own = weights_behind(bench)
    exact = exact_gradient(network, bench.device, own, task)
    _, before = bench.step(algorithm, state)
    for _ in range(steps):
        state, _ = bench.step(algorithm, state)
    _, after = bench.step(algorithm, state)
    start, there = bench.device.space.unravel(bench.theta), bench.device.space.unravel(own)
    for name, D in state.memory.D.items():
        wanted = there[name] - start[name]
        assert np.abs(D - wanted).max() < 0.01 * np.abs(wanted).max(), name
    assert np.linalg.norm(before - exact) > 0.1 * np.linalg.norm(exact)
    assert np.linalg.norm(after - exact) < 1e-3 * np.linalg.norm(exact)


@pytest.mark.usefixtures("x64")
def test_the_whitened_step_is_the_least_squares_fit_of_the_errors():
    task = random_task((4,), number=8)
    bench, algorithm = Bench(DENSE, task), learned(1.0, whitening=0.1)
    state, estimate = bench.step(algorithm, bench.state(algorithm))
    X = np.concatenate([np.asarray(task.inputs), np.ones((8, 1))], axis=1)
    A = X.T @ X / 8
    found = bench.device.space.unravel(jnp.asarray(estimate))
    G = np.concatenate([found["dense0/weight"], found["dense0/bias"][None]])
    moved = bench.device.space.unravel(bench.theta - state.theta)
    step = np.linalg.solve(A + 0.1 * np.diag(A).mean() * np.eye(5), G)
    assert np.allclose(moved["dense0/weight"], step[:-1], rtol=0, atol=1e-12)
    assert np.allclose(moved["dense0/bias"], step[-1], rtol=0, atol=1e-12)


# ------------------------------------------------------------------------------ wrong requests


def double(theta, inputs):
    return theta * inputs


class Unfed(NumpyDevice):
    fed = False


def sites_of(device):
    device.show_sites()
    return device


PAT, FA = PhysicsAware(learning_rate=0.1), FeedbackAlignment(learning_rate=0.1)


@pytest.mark.parametrize(
    ("device", "algorithm", "said"),
    [
        (
            SimulatedDevice(network=DENSE, access="outputs"), FA,
            "needs sites, but the device shows only outputs",
        ),
        (
            SimulatedDevice(network=DENSE, access="cost"), PAT,
            "needs outputs, but the device shows only cost",
        ),
        (NumpyDevice((4, 3)), PAT, "on a network, but this device has none; give algorithm.twin"),
        (sites_of(NumpyDevice((4, 3))), FA, "but this device has none; give algorithm.twin"),
        (
            SimulatedDevice(network=DENSE),
            PhysicsAware(learning_rate=0.1, twin=MLP(widths=(4, 3))),
            "parameters of shapes 3, 4 × 3, but the device has 5, 4 × 5, 3, 5 × 3, 3, 3 × 3",
        ),
        (
            SimulatedDevice(network=MLP(widths=(3, 3))),
            FeedbackAlignment(
                learning_rate=0.1,
                twin=JaxFunction(object=double, parameters=(("a", (3,)), ("b", (3, 3))), input=3),
            ),
            "The twin has the layers none, but the device has dense0",
        ),
    ],
    ids=["sites", "outputs", "no-twin", "no-twin-sites", "shape", "layers"],
)  # fmt: skip
def test_what_a_device_does_not_give_is_told_in_a_sentence(device, algorithm, said):
    with pytest.raises(RequestError, match=said.replace("(", r"\(")):
        dither.train(device, random_task((4,), number=6), algorithm)


def test_a_device_that_chooses_its_own_inputs_has_none_for_a_twin():
    task = random_task((4,), number=6)
    problem = replace(problem_of(SimulatedDevice(network=DENSE), task), repeats_batches=False)
    with pytest.raises(RequestError, match="chooses its own inputs; use weight-mgd"):
        PAT.check(problem)


def test_a_twin_serves_a_device_whose_parameters_are_one_array():
    chip = dither.PythonDevice(NumpyDevice((4, 3)))
    assert chip.access_level is AccessLevel.OUTPUTS
    given = PhysicsAware(learning_rate=0.1, twin=MLP(widths=(4, 3)))
    check_fit(chip, random_task((4,), number=6), given, dither.Until(measurements=1000))
