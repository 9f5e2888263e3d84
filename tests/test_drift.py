"""Drift is seen at a reference point, said, and what was remembered is measured again."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import PythonDevice, Until, WeightMGD
from dither.algorithms import SPSA, CoordinateDescent
from dither.contract import Measurement, Problem
from dither.instruments.guard import Guard
from dither.tasks import Parity
from dither.testing.devices import NumpyDevice
from dither.training.drift import AGAIN, DriftWarning, Reference

TASK = Parity(bits=3)
RULE = WeightMGD(learning_rate=0.02, delta=0.05, pairs="central")


class Drifting(NumpyDevice):
    """Its outputs are `offset(measurements)` off, with noise."""

    def __init__(self, offset, noise, seed=0):
        super().__init__((3, 4, 1), initial=0.3 * np.sin(np.arange(21)))
        self.offset, self.noise, self.rng = offset, noise, np.random.default_rng(seed)

    def measure(self, inputs):
        y = super().measure(inputs)
        return y + self.offset(self.calls) + self.noise * self.rng.normal(size=y.shape)


def train(device, rule=RULE, n=400, **guard):
    return dither.train(
        PythonDevice(device, guard=Guard(**guard)), TASK, rule,
        until=Until(measurements=n), score_every=40,
    )  # fmt: skip


def test_false_alarms_are_rare_and_true_ones_certain():
    rng = np.random.default_rng(0)
    watched = [Reference(5.0) for _ in range(200)]
    for one in watched:
        alarms = [one.told(1 + 0.1 * rng.normal(size=AGAIN))[1] for _ in range(20)]
        one.alarms = sum(alarms)
    # a difference over its standard error, from 8 degrees of freedom at first: 5 in 1000 runs
    # exceed 5 at the second visit, and far fewer later
    assert sum(one.alarms > 0 for one in watched) <= 8
    assert all(one.told(3 + 0.1 * rng.normal(size=AGAIN))[1] for one in watched)
    assert all(abs(one.baseline - 3) < 0.3 for one in watched)


def test_a_jump_is_seen_once_and_said():
    device = Drifting(lambda call: 2.0 * (call > 200), noise=0.02)
    with pytest.warns(DriftWarning, match="Drifting has drifted"):
        result = train(device, drift=5.0)
    assert sum("drifted" in warning for warning in result.warnings) == 1
    drift = result.history["drift"].to_numpy()
    jumped = np.abs(drift) > 0.5
    assert jumped.sum() == 1
    assert 200 < result.history["measurements"][jumped.argmax()] < 280
    assert result.ledger["measurements"] == device.calls <= 400
    assert result.ledger["writes"] == device.writes


def test_a_steady_device_gives_no_alarm_and_an_unwatched_one_no_number():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watched = train(Drifting(lambda _: 0.0, noise=0.0), drift=5.0)
        unwatched = train(Drifting(lambda _: 0.0, noise=0.0))
    assert np.all(watched.history["drift"] == 0)
    assert unwatched.history["drift"].isna().all()
    looks = len(watched.history)
    assert watched.ledger["measurements"] >= 40 * (looks - 1) + looks * (1 + AGAIN)


def test_coordinate_descent_measures_its_error_again():
    """Without that, no flip would ever beat an error from before the device got worse."""
    rule = CoordinateDescent()

    def cost(**guard):
        device = Drifting(lambda call: 5.0 * (call > 100), noise=0.0)
        device.bounds, device.levels, device.initial = (-1.0, 1.0), 2, np.ones(21)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DriftWarning)
            return train(device, rule, n=300, **guard).history["test_cost"].iloc[-1]

    assert cost(drift=5.0) < 0.9 * cost()


def test_a_rebaselined_state_asks_for_the_kept_weights_first():
    rule, space = CoordinateDescent(), PythonDevice(Boolean()).space
    state = rule.init(jax.random.key(0), jnp.ones(6), Problem(space))
    for _ in range(3):
        probe, asked = rule.ask(state)
        state, _ = rule.tell(asked, probe, Measurement(jnp.asarray(1.0)))
    probe, asked = rule.ask(rule.on_drift(state))
    places = np.asarray(probe.parameters.places)
    # what the last move did is undone, and nothing is flipped
    assert places[1] == space.size
    after, _ = rule.tell(asked, probe, Measurement(jnp.asarray(7.0)))
    assert float(after.error) == 7.0
    assert float(after.first) == 1.0


def test_after_an_alarm_spsa_steps_as_at_its_start():
    """By hand: a run of the gain sequences, an alarm, and the same sequences again."""
    rule = SPSA(a=0.4, c=0.2, A=3.0)
    state = rule.init(
        jax.random.key(0), jnp.zeros(7), Problem(PythonDevice(NumpyDevice((2, 1, 2))).space)
    )
    for alarm in (True, False):
        theta = np.asarray(state.theta, float)
        for k in range(4):
            sides = []
            for cost in (0.7, 0.1):
                probe, asked = rule.ask(state)
                sides.append(np.asarray(probe.parameters, float))
                state, _ = rule.tell(asked, probe, Measurement(jnp.asarray(cost)))
            c_k, a_k = 0.2 / (k + 1) ** 0.101, 0.4 / (3 + k + 1) ** 0.602
            np.testing.assert_allclose(np.abs(sides[0] - theta), c_k, rtol=1e-5)
            theta = theta - a_k * 0.6 * np.sign(sides[0] - theta) / (2 * c_k)
            np.testing.assert_allclose(state.theta, theta, atol=1e-5)
        if alarm:
            probe, state = rule.ask(state)  # of a pair under way nothing is left
            state = rule.on_drift(state)


class Boolean(NumpyDevice):
    def __init__(self):
        super().__init__((2, 2))
        self.bounds, self.levels = (0.0, 1.0), 2
