"""Layers of Python devices by their shape: a convolution as patches times weights."""

from typing import ClassVar

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from dither import (
    CNN,
    MLP,
    NodePerturbation,
    RequestError,
    SimulatedDevice,
    Until,
    make_task,
    train,
)
from dither.algorithms import DecorrelatedNodePerturbation, WhitenedNodePerturbation
from dither.instruments.fleet import Together
from dither.instruments.python import PythonDevice
from dither.networks.network import ACTIVATIONS
from dither.tasks import Parity
from dither.testing.devices import NumpyDevice

NETWORK = CNN(
    image=(5, 5, 2),
    channels=(3,),
    depth=1,
    padding="valid",
    dense=(4,),
    classes=2,
    activation="tanh",
)
"""(5, 5, 2) → conv0 at (3, 3), 3 kernels → pooled to (1, 1, 3) → dense0, 4 → dense1, 2."""


class Convolution:
    """The same network in NumPy, with patches as the inputs of its convolution."""

    layers: ClassVar = {"conv0": (3, 3), "dense0": (), "dense1": ()}
    output_activation = "identity"

    def __init__(self, initial):
        self.initial = initial
        self.parameters = {
            "conv0/bias": (3,), "conv0/weight": (18, 3), "dense0/bias": (4,),
            "dense0/weight": (3, 4), "dense1/bias": (2,), "dense1/weight": (4, 2),
        }  # fmt: skip

    def write(self, theta):
        stops = np.cumsum([np.prod(shape) for shape in self.parameters.values()])[:-1]
        parts = np.split(theta, stops)
        self.own = {n: v.reshape(s) for v, (n, s) in zip(parts, self.parameters.items())}

    def measure(self, inputs):
        return self.measure_sites(inputs, dict.fromkeys(self.layers, 0.0))[0]

    def measure_sites(self, inputs, added):
        patches = sliding_window_view(inputs, (3, 3), axis=(1, 2))
        patches = patches.transpose(0, 1, 2, 4, 5, 3).reshape(len(inputs), 3, 3, 18)
        a = np.tanh(self.z("conv0", patches) + added["conv0"])
        x0 = a[:, :2, :2].max(axis=(1, 2))
        x1 = np.tanh(self.z("dense0", x0) + added["dense0"])
        y = self.z("dense1", x1) + added["dense1"]
        return y, {"conv0": patches, "dense0": x0, "dense1": x1}

    def z(self, name, x):
        return x @ self.own[f"{name}/weight"] + self.own[f"{name}/bias"]


class Squashed(NumpyDevice):
    """A multilayer perceptron behind the activation that it names."""

    def __init__(self, output_activation, initial):
        super().__init__((3, 2, 2), initial)
        self.show_sites()
        self.output_activation = output_activation

    def forward(self, inputs):
        return np.asarray(ACTIVATIONS[self.output_activation](super().forward(inputs)))


def start(simulated, task):
    """The initial parameters of a simulated device."""
    still = NodePerturbation(learning_rate=0.0)
    return train(simulated, task, still, until=Until(measurements=4)).parameters[0]


def setting():
    """The simulated device, its initial parameters, and a random task."""
    device, rng = SimulatedDevice(network=NETWORK, access="sites"), np.random.default_rng(4)
    inputs, labels = rng.normal(size=(12, 5, 5, 2)), rng.integers(0, 2, 12)
    task = make_task(inputs, labels, batch=3)
    return device, start(device, task), task


RULES = {
    "whitened": WhitenedNodePerturbation(learning_rate=0.1, delta=0.1, sets=2),
    "known output": WhitenedNodePerturbation(learning_rate=0.1, delta=0.1, known_output=True),
    "some layers": WhitenedNodePerturbation(learning_rate=0.1, delta=0.1, trained=("conv0",)),
    "shared signs": NodePerturbation(learning_rate=0.1, delta=0.1),
    "for each example": NodePerturbation(learning_rate=0.1, delta=0.1, per_example=True),
    "decorrelated": DecorrelatedNodePerturbation(learning_rate=0.1, delta=0.1),
}


def both(simulated, lab, task, rule, n=30, evaluations=1):
    """The same n measurements; the lab's device spends more on self-test and evaluation."""
    one = train(simulated, task, rule, until=Until(measurements=n), score_every=10**6)
    two = train(lab, task, rule, until=Until(measurements=n + 1 + evaluations), score_every=10**6)
    return one, two


@pytest.mark.quick("whitened")
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_convolution_of_a_python_device_trains_as_the_simulated_one(rule):
    simulated, theta, task = setting()
    one, two = both(simulated, Convolution(theta), task, rule)
    assert not np.allclose(one.parameters, theta, atol=1e-2)
    np.testing.assert_allclose(two.parameters, one.parameters, rtol=1e-3, atol=1e-4)


@pytest.mark.quick("tanh")
@pytest.mark.parametrize("output", ["identity", "tanh", "sigmoid"])
def test_known_output_passes_back_through_the_named_activation(output):
    simulated = SimulatedDevice(network=MLP(widths=(3, 2, 2), output=output), access="sites")
    task = Parity(bits=3, batch=3)
    lab = Squashed(output, start(simulated, task))
    one, two = both(simulated, lab, task, RULES["known output"], evaluations=3)
    np.testing.assert_allclose(two.parameters, one.parameters, rtol=1e-3, atol=1e-4)


def test_a_fleet_of_convolutions_measures_what_one_measures():
    _, theta, task = setting()
    fleet = Together([PythonDevice(Convolution(theta)) for _ in range(2)])
    fleet.write(theta)
    one = Convolution(theta)
    one.write(theta)
    rng, x = np.random.default_rng(1), np.asarray(task.inputs)[:4]
    shapes = {"conv0": (3, 3, 3), "dense0": (4,), "dense1": (2,)}
    for batch in ((), (4,)):
        added = {name: rng.normal(size=(*batch, *shape)) for name, shape in shapes.items()}
        (y, seen), (y1, seen1) = (chip.measure_sites(x, added) for chip in (fleet, one))
        np.testing.assert_allclose(y, y1, rtol=1e-5)
        for name, value in seen.items():
            np.testing.assert_allclose(value, seen1[name], rtol=1e-5)


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"layers": {"conv0": (3, 0)}}, "or a table of positions"),
        ({"layers": ("dense1", "dense1")}, "or a table of positions"),
        ({"layers": 3}, "or a table of positions"),
        ({"layers": {"conv1": (3, 3)}}, "'conv1/weight' of shape"),
        ({"output_activation": "tanhh"}, "did you mean tanh"),
        ({"output_activation": 3}, "the known names are identity, sigmoid, tanh"),
    ],
)
def test_wrong_layers_are_refused(attributes, sentence):
    chip = Convolution(setting()[1])
    vars(chip).update(attributes)
    with pytest.raises(RequestError, match=sentence):
        PythonDevice(chip)


def test_inputs_of_another_shape_are_failed_measurements():
    _, theta, task = setting()

    class Images(Convolution):
        def measure_sites(self, inputs, added):
            y, seen = super().measure_sites(inputs, added)
            return y, seen | {"conv0": inputs}

    until = Until(measurements=30, failures=3)
    run = train(Images(theta), task, RULES["whitened"], until=until).replicas[0]
    assert run.stop_reason == "failures"
    assert run.ledger["failed"] == 3
