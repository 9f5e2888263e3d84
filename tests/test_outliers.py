"""Clipping of outlier cost differences."""

import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import MLP, NodePerturbation, SimulatedDevice, Until, WeightMGD
from dither.algorithms.outliers import Size, clipped
from dither.devices import CostNoise
from dither.tasks import Parity
from dither.testing.devices import NumpyDevice


def test_the_running_size_is_the_plain_loop():
    rng = np.random.default_rng(0)
    changes = rng.normal(size=300) * np.where(rng.random(300) < 0.05, 100, 1)
    size, s = Size.empty(), 0.0
    for n, change in enumerate(changes):
        got, size = clipped(size, jnp.asarray(change), 4.0)
        wanted = change if s == 0 else np.clip(change, -4 * s, 4 * s)
        s += (abs(wanted) - s) / min(n + 1, 100)
        assert float(got) == pytest.approx(wanted, rel=1e-4)
        assert float(size.mean) == pytest.approx(s, rel=1e-4)
    # E|normal| = 0.8; a twentieth are clipped at 4 s: s = 0.76 + 0.05 * 4 s, so 0.95
    assert 0.75 < s < 1.2


def test_it_finds_its_way_out_of_too_small_a_size():
    size = Size(jnp.asarray(1e-6), jnp.int32(10**6))
    for _ in range(700):
        _, size = clipped(size, jnp.asarray(1.0), 5.0)
    assert float(size.mean) > 0.9


class Bursts(NumpyDevice):
    """In one measurement of twenty every output is 30 off."""

    def __init__(self):
        super().__init__((3, 4, 1), initial=0.3 * np.sin(np.arange(21)))
        self.rng = np.random.default_rng(1)

    def measure(self, inputs):
        far = 30.0 if self.calls and self.rng.random() < 0.05 else 0.0
        return super().measure(inputs) + far


def cost_after(rule, device):
    task = Parity(bits=3).load()
    until = Until(measurements=3000)
    result = dither.train(device, task, rule, until=until, score_every=10**6)
    device.theta = result.parameters[0]
    return float(np.mean((device.forward(np.asarray(task.inputs)) - np.asarray(task.targets)) ** 2))


def test_bursts_ruin_what_is_not_clipped_and_not_what_is():
    rule = WeightMGD(learning_rate=0.02, delta=0.05, pairs="central", tau_theta=4)
    bare = cost_after(rule, Bursts())
    robust = cost_after(rule.model_copy(update={"outliers": 4.0}), Bursts())
    steady = cost_after(rule, NumpyDevice((3, 4, 1), initial=0.3 * np.sin(np.arange(21))))
    assert robust < 0.28
    assert bare > 3 * robust
    assert robust < 1.5 * steady


@pytest.mark.parametrize("kind", [WeightMGD, NodePerturbation])
def test_a_limit_that_is_never_met_changes_nothing(kind):
    network = MLP(widths=(3, 2, 1), activation="gelu")  # which no kernel knows
    device = SimulatedDevice(network=network, imperfections=(CostNoise(sigma=1e-3),))

    def train(**more):
        rule = kind(learning_rate=0.1, delta=0.05, pairs="central", tau_theta=3, **more)
        return dither.train(device, Parity(bits=3), rule, until=Until(measurements=60))

    assert np.array_equal(train().parameters, train(outliers=1e6).parameters)
