"""A device under guard: calls that hang, waits, reconnecting, slew, settling."""

import threading
import time
from itertools import pairwise

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dither
from dither import PythonDevice, RequestError, Until, WeightMGD
from dither.algorithms import SPSA, CoordinateDescent, FiniteDifferences
from dither.instruments import Guard, LabDevice, calls
from dither.instruments.calls import ramp
from dither.tasks import Parity
from dither.testing.devices import FlakyDevice, NumpyDevice

TASK = Parity(bits=3, batch=3)
RULE = WeightMGD(learning_rate=0.1, delta=0.01, pairs="central", tau_theta=4)


def train(target, n=60, rule=RULE, failures=10, **settings):
    return dither.train(
        PythonDevice(target, guard=Guard(**settings)), TASK, rule,
        until=Until(measurements=n, failures=failures), score_every=10**6,
    )  # fmt: skip


@given(
    st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=5),
    st.floats(0.05, 2),
)
def test_a_ramp_ends_where_it_should_in_the_fewest_steps_within_the_slew(ends, slew):
    begin, end = np.array(ends).T
    way = [begin, *ramp(begin, end, slew)]
    assert np.array_equal(way[-1], end)
    moves = np.abs(np.diff(way, axis=0)).max(axis=1)
    assert moves.max() <= slew * (1 + 1e-6)
    assert len(moves) <= max(1, np.abs(end - begin).max() / slew + 1)
    # it never leaves the stretch between the two, so that it stays within bounds
    assert np.all(np.array(way) >= np.minimum(begin, end) - 1e-12)
    assert np.all(np.array(way) <= np.maximum(begin, end) + 1e-12)


@pytest.mark.quick("None")
@pytest.mark.parametrize("bits", [None, 5])
def test_a_slew_limit_holds_for_every_write_and_leaves_the_training_as_it_is(bits):
    free, gentle = NumpyDevice(), NumpyDevice()
    for device in (free, gentle):
        device.bounds, device.bits = (-1.0, 1.0), bits
        device.initial = np.full(device.parameters, 0.1)
    rule = RULE.model_copy(update={"delta": 0.15, "learning_rate": 1.0})
    as_it_is, result = train(free, rule=rule), train(gentle, rule=rule, slew=0.1)
    assert np.array_equal(result.parameters, as_it_is.parameters)
    step = 2 / 31
    moves = np.abs(np.diff(gentle.received, axis=0)).max(axis=1)
    assert moves.max() <= (step if bits else 0.1) * (1 + 1e-6)
    assert gentle.writes == result.ledger["writes"] > 2 * result.ledger["measurements"]
    assert result.ledger["measurements"] == as_it_is.ledger["measurements"]
    assert np.abs(np.diff(free.received, axis=0)).max() > 0.25
    if bits:
        levels = (np.array(gentle.received) + 1) / step
        assert np.abs(levels - np.round(levels)).max() < 1e-5


def test_a_slew_below_a_dac_step_is_refused():
    device = NumpyDevice()
    device.bounds, device.bits = (-1.0, 1.0), 3
    with pytest.raises(RequestError, match=r"less than one DAC step of 0\.286"):
        train(device, slew=0.1)


class Timed(NumpyDevice):
    """Remembers when it was last written, and how long that was before each measurement."""

    def write(self, theta):
        super().write(theta)
        self.written = time.monotonic()

    def measure(self, inputs):
        self.waited = min(getattr(self, "waited", 9.0), time.monotonic() - self.written)
        return super().measure(inputs)


def test_a_write_settles_before_it_is_measured():
    device = Timed()
    result = train(device, n=12, settle=0.01)
    assert 0.01 <= device.waited < 0.1
    # the self-test is not timed, and what it has written is not written again
    assert result.ledger["device_seconds"] >= 0.01 * (result.ledger["writes"] - 2)


class Hanging(NumpyDevice):
    """Some measurements hang: for `seconds`, or until it is reconnected."""

    def __init__(self, hangs, seconds=None, **settings):
        super().__init__(**settings)
        self.hangs, self.seconds = hangs, seconds
        self.inside = self.most_inside = self.hung = 0
        self.freed = threading.Event()
        self.threads = set()

    def measure(self, inputs):
        self.threads.add(threading.get_ident())
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            outputs = super().measure(inputs)
            if self.calls > 1 and self.hangs(self.calls):
                self.hung += 1
                self.freed.wait(self.seconds)
        finally:
            self.inside -= 1
        return outputs


def test_late_calls_are_failed_measurements_and_no_two_are_made_at_once():
    late = Hanging(lambda call: call % 20 == 0, seconds=0.45)
    # it hangs longer than one time-out but not than two: the next call waits for it
    result = train(late, n=60, timeout=0.3)
    assert late.most_inside == 1
    assert late.hung == result.ledger["failed"] == 3
    assert result.ledger["measurements"] == late.calls >= 60
    assert len(late.threads) == 1


def test_a_call_that_hangs_for_ever_ends_the_run_in_the_safe_state():
    device = Hanging(lambda call: call > 30)
    begin = time.monotonic()
    result = train(device, timeout=0.3, failures=4)
    assert time.monotonic() - begin < 30
    assert result.stop_reason == "failures"
    assert "TimeoutError: measure still hangs" in result.failure
    assert "reconnect()" in result.failure
    assert device.most_inside == device.hung == device.made_safe == 1
    device.freed.set()


class Reconnecting(Hanging):
    """Ends the call that hangs when it is reconnected, and then stands at zero."""

    connections = 0

    def reconnect(self):
        self.connections += 1
        self.freed.set()
        time.sleep(0.01)
        self.freed = threading.Event()
        self.theta = np.zeros(self.parameters)


def test_reconnecting_ends_a_call_that_hangs():
    device = Reconnecting(lambda call: call in (20, 35))
    result = train(device, timeout=0.3, reconnect_after=2)
    assert result.stop_reason == "measurements"
    assert device.connections == device.hung == 2
    assert device.most_inside == 1
    # the hung one and the one that was not made because of it, each time
    assert result.ledger["failed"] == 4
    assert result.ledger["measurements"] == device.calls + 2
    assert result.ledger["writes"] == device.writes + 2  # asked, and not made while a call hangs


class Mirrors(NumpyDevice):
    """Boolean parameters that can be written a few at a time; loses them all now and then."""

    def __init__(self, loses):
        super().__init__(initial=np.zeros(14))
        self.bounds, self.levels, self.loses, self.lost = (0.0, 1.0), 2, loses, False
        self.good = []

    def write(self, theta):
        assert not self.lost
        super().write(theta)

    def write_at(self, places, values):
        if self.calls and self.calls in self.loses:
            self.loses.remove(self.calls)
            self.lost, self.theta = True, np.full(14, 0.5)
        if self.lost:
            raise ConnectionError("the line is dead")
        self.theta[places] = values

    def measure(self, inputs):
        self.good.append(self.theta.copy())
        return super().measure(inputs)

    def reconnect(self):
        self.lost = False


def test_what_was_held_is_written_again_after_reconnecting():
    rule = CoordinateDescent()
    steady, lossy = Mirrors([]), Mirrors([7, 20, 21])
    train(steady, n=40, rule=rule)
    result = train(lossy, n=40, rule=rule, reconnect_after=2)
    assert not lossy.loses
    assert result.ledger["failed"] == 6
    # but for the last look
    done = len(lossy.good) - 3
    assert np.array_equal(lossy.good[:done], steady.good[:done])


def test_waits_double_up_to_a_minute(monkeypatch):
    waits = []
    monkeypatch.setattr(calls.time, "sleep", waits.append)
    result = train(FlakyDevice(1.0, seed=0), backoff=5.0, failures=7)
    assert [w for w in waits if w] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    assert result.stop_reason == "failures"


def test_a_guard_in_a_specification(tmp_path):
    chip = tmp_path / "guarded_lab.py"
    chip.write_text("class Chip:\n    parameters = 3\n    def __call__(self, theta, x): return x\n")
    device = LabDevice.model_validate(
        {"object": f"{chip}:Chip", "guard": {"timeout": 0.5, "slew": 0.1}}
    )
    assert device.guard == Guard(timeout=0.5, slew=0.1)
    assert device.connect()._calls.slew == 0.1
    with pytest.raises(RequestError, match=r"device\.guard has no setting 'timeot'"):
        dither.read_specification("nist7x7", [
            "device=lab", f'device.object="{chip}:Chip"', "device.guard.timeot=1",
        ])  # fmt: skip


def test_a_function_is_guarded_too():
    def chip(theta, inputs):
        return np.tanh(inputs @ theta[:3] + theta[3])

    chip.parameters = 4
    free, guarded = train(chip), train(chip, timeout=5.0)
    assert np.array_equal(free.parameters, guarded.parameters)


class Counter:
    """A cost that is the number of the measurement; one in five fails."""

    parameters = 14

    def __init__(self):
        self.measurements, self.rng = 0, np.random.default_rng(3)

    def write(self, theta):
        self.theta = theta

    def cost(self, inputs, targets):
        del inputs, targets
        self.measurements += 1
        if self.measurements > 1 and self.rng.random() < 0.2:
            raise OSError("no answer")
        return self.measurements


@pytest.mark.parametrize(
    "rule",
    [
        RULE.model_copy(update={"tau_theta": 50}),
        WeightMGD(learning_rate=0.0, delta=0.01, tau_theta=3, tau_x=2),
        SPSA(a=0.0, c=0.01),
        FiniteDifferences(learning_rate=0.0, delta=0.01, pairs="central"),
    ],
)
def test_no_failure_lies_between_the_two_sides_of_a_pair(rule):
    """What is told last of every part 1 was measured after the part 0 of its tick, or after
    another part 1 whose baseline it shares, with no failure since."""
    told = {}

    class Told(type(rule)):
        def tell(self, state, probe, measurement):
            def note(tick, part, cost):
                told[int(tick), int(part)] = int(cost)

            now = probe.clock.tick, probe.clock.part, measurement.cost
            jax.debug.callback(note, *now, ordered=True)
            return super().tell(state, probe, measurement)

    result = train(Counter(), n=150, rule=Told(**rule.model_dump()), failures=50)
    assert result.ledger["failed"] > 15
    order = sorted(told, key=lambda clock: told[clock])
    assert order == sorted(told)
    for before, now in pairwise(order):
        if now[1] == 1:
            assert told[now] == told[before] + 1
