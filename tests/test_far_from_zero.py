"""Outputs, parameters and drift beside a large constant are those without it."""

import numpy as np
import pytest

import dither
from dither import PythonDevice, RequestError, Until, WeightMGD
from dither.tasks import make_task
from dither.testing.devices import NumpyDevice
from dither.training.drift import AGAIN, Reference

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 2))
LABELS = (X.sum(axis=1) > 0).astype(int)
UNTIL = Until(measurements=600)


class Offset(NumpyDevice):
    """Its outputs are a constant off: softmax does not care, single precision does."""

    def __init__(self, offset, **settings):
        super().__init__((2, 3, 2), initial=0.3 * np.sin(np.arange(17)), **settings)
        self.offset = offset

    def measure(self, inputs):
        return super().measure(inputs) + self.offset


class Nodes(Offset):
    """The same, whose neurons can be perturbed."""

    def __init__(self, offset):
        super().__init__(offset)
        self.show_sites()

    def measure_sites(self, inputs, added):
        outputs, seen = super().measure_sites(inputs, added)
        return outputs + self.offset, seen


def logits(cost="cross_entropy"):
    return make_task(X, LABELS, X, LABELS, batch=6, cost=cost)


RULES = {
    "central": (Offset, WeightMGD(learning_rate=0.2, delta=0.02, pairs="central")),
    "baseline": (Offset, WeightMGD(learning_rate=0.2, delta=0.02)),
    "nodes": (Nodes, dither.algorithms.NodePerturbation(learning_rate=0.2, per_example=True)),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("offset", [1e9, -3e6])
def test_outputs_with_a_large_constant_are_trained_as_those_without(rule, offset):
    """Softmax is free of a constant: exactly the same training but for rounding of doubles."""
    chip, algorithm = RULES[rule]
    plain, far = (
        dither.train(chip(by), logits(), algorithm, key=1, until=UNTIL) for by in (0.0, offset)
    )
    assert plain.score >= 0.9
    assert far.score == plain.score
    assert np.abs(plain.parameters - chip(0.0).initial).max() > 0.3
    # costs to 1e-7 of single precision beside 1e-16 · 1e9 of the outputs, over delta, 600 times
    assert np.allclose(far.parameters, plain.parameters, rtol=0, atol=2e-2)
    costs = [result.history["test_cost"].iloc[-1] for result in (plain, far)]
    assert costs[0] == pytest.approx(costs[1], rel=0.02)


def test_squares_of_far_outputs_fall():
    """`C = mean (1e6 + y − t)²`: only its change, 2e6 dy, can be learned from, and is."""
    task = make_task(X, np.zeros((12, 2)), X, np.zeros((12, 2)), batch="all")
    rule = WeightMGD(learning_rate=2e-8, delta=0.01, pairs="central")
    result = dither.train(Offset(1e6), task, rule, until=UNTIL)
    cost = result.history["test_cost"].to_numpy()
    assert cost[-1] < cost[0] - 1e6  # by (1e6)² − (1e6 − 0.5)² and more
    assert np.all(np.diff(cost) < 1e4)


def test_a_run_of_far_outputs_goes_on_from_its_checkpoint(tmp_path):
    task, rule = logits(), RULES["central"][1]
    whole = dither.train(Offset(1e9), task, rule, key=1, until=UNTIL, score_every=100)
    # the look at the end of the first part, two batches, and another self-test are measurements too
    for most in (270, 603):
        again = dither.train(
            Offset(1e9), task, rule, key=1, until=Until(measurements=most), score_every=100,
            out=tmp_path / "run", resume=most == 603,
        )  # fmt: skip
    assert np.array_equal(again.parameters, whole.parameters)


class Hertz:
    """Three frequencies without bounds that matter by their distance from 1e6 (or from 0)."""

    def __init__(self, centre):
        self.parameters, self.centre = 3, centre
        self.initial = centre + np.array([3e-3, -2e-3, 1e-3])
        self.seen = []

    def write(self, theta):
        self.theta = theta
        self.seen.append(theta.copy())

    def cost(self, inputs, targets):
        del inputs, targets
        return float(np.sum((1e3 * (self.theta - self.centre)) ** 2))


@pytest.mark.parametrize("centre", [1e6, -193.4e6])
def test_parameters_without_bounds_far_from_zero_are_trained_as_those_near_it(centre):
    task = make_task(X, LABELS, X, LABELS, batch=1)
    rule = WeightMGD(learning_rate=1e-8, delta=2e-4, pairs="central")
    results = []
    for at in (0.0, centre):
        chip = Hertz(at)
        dither.train(PythonDevice(chip), task, rule, key=2, until=Until(measurements=400))
        results.append(np.array(chip.seen)[-1] - at)
        assert len(np.unique(np.array(chip.seen), axis=0)) > 300
    near, far = results
    assert np.abs(near).max() < 1e-3 < np.abs(Hertz(0.0).initial).max()
    assert np.allclose(near, far, rtol=0, atol=1e-4)


def test_another_start_far_from_zero_is_another_run(tmp_path):
    task, rule = make_task(X, LABELS, X, LABELS, batch=1), WeightMGD(learning_rate=1e-8, delta=1e-3)
    dither.train(Hertz(1e6), task, rule, until=Until(measurements=60), out=tmp_path / "run")
    with pytest.raises(RequestError, match=r"its device.* differs"):
        dither.train(
            Hertz(2e6), task, rule, until=Until(measurements=90), out=tmp_path / "run", resume=True
        )


def test_parameters_near_zero_are_left_as_they_are():
    for chip in (NumpyDevice((2, 3, 2)), NumpyDevice((2, 3, 2), initial=np.full(17, 50.0))):
        assert np.all(PythonDevice(chip).origin(0) == 0)


@pytest.mark.parametrize("baseline", [1e6, -1e9])
def test_drift_below_a_millionth_of_a_large_baseline_is_seen(baseline):
    """0.5 is 5e-7 of 1e6, and 50 standard errors of a noise of 0.02."""
    rng = np.random.default_rng(1)
    watched = Reference(5.0)
    for visit in range(20):
        costs = baseline + 0.02 * rng.normal(size=AGAIN) + 0.5 * (visit >= 10)
        moved, alarmed = watched.told(costs)
        assert alarmed == (visit == 10)
    assert abs(moved) < 0.1


@pytest.mark.parametrize("baseline", [1.0, 1e6])
def test_rounding_is_no_drift(baseline):
    """Readings without noise that differ by the last digit of single precision, or of double."""
    for kind in (np.float32, np.float64):
        watched, here = Reference(5.0), kind(baseline)
        watched.told(np.full(AGAIN, here, float))
        assert not watched.told(np.full(AGAIN, np.nextafter(here, kind(np.inf)), float))[1]
