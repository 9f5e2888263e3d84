"""Whatever way a run on a real device ends, the device is in its safe state."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dither
from dither import RequestError, Until, WeightMGD
from dither.tasks import Parity
from dither.testing.devices import NumpyDevice
from dither.training.safety import UnsafeWarning

RULE = WeightMGD(learning_rate=0.1, delta=0.01, pairs="central", tau_theta=4)


class Chip(NumpyDevice):
    """Does something at its 30th measurement; knows whether it is safe."""

    is_safe = True

    def __init__(self, event=lambda: None):
        super().__init__()
        self.event = event

    def write(self, theta):
        super().write(theta)
        self.is_safe = False

    def measure(self, inputs):
        outputs = super().measure(inputs)
        if self.calls == 30:
            self.event()
        if self.calls > 30 and self.event is lose:
            lose()
        return outputs

    def safe(self):
        super().safe()
        self.is_safe = True


def train(device, n=200, **more):
    until = Until(measurements=n)
    return dither.train(device, Parity(bits=3, batch=3), RULE, until=until, **more)


def kill(number):
    return lambda: os.kill(os.getpid(), number)


def lose():
    raise ConnectionResetError("the line is dead")


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (lambda: None, "measurements"),
        (lose, "failures"),
        (kill(signal.SIGINT), "interrupted"),
        (kill(signal.SIGTERM), "interrupted"),
        (kill(signal.SIGHUP), "interrupted"),
    ],
)
def test_a_run_that_ends_leaves_the_device_safe(event, reason):
    device = Chip(event)
    ignored = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as under nohup
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    try:
        result = train(device)
    finally:
        hung_up = signal.signal(signal.SIGHUP, ignored)
    assert result.stop_reason == reason
    assert device.is_safe
    assert device.made_safe == 1
    assert ("the line is dead" in result.failure) == (reason == "failures")
    now = [*(signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)), hung_up]
    assert now == handlers


def leave(error):
    def event():
        raise error

    return event


def twice():
    kill(signal.SIGINT)()
    kill(signal.SIGINT)()


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (leave(SystemExit(3)), SystemExit),
        (leave(KeyboardInterrupt()), KeyboardInterrupt),
        (twice, KeyboardInterrupt),
    ],
)
def test_what_breaks_a_run_off_leaves_the_device_safe(event, error):
    device = Chip(event)
    with pytest.raises(error):
        train(device)
    assert device.is_safe


def test_an_observer_or_a_refusal_leaves_the_device_safe():
    def fall(now):
        if now.measurements > 20:
            raise ZeroDivisionError

    device = Chip()
    with pytest.raises(ZeroDivisionError):
        train(device, observers=[fall])
    assert device.is_safe
    wrong = NumpyDevice((3, 2, 7))
    with pytest.raises(RequestError, match="7 outputs"):
        train(wrong)
    assert wrong.writes == wrong.made_safe == 1


class Jammed(Chip):
    def safe(self):
        raise OSError("the shutter is jammed")


def test_a_safe_state_that_cannot_be_reached_is_said(tmp_path):
    sentence = r"its safe state \(OSError: the shutter is jammed in .*test_safety.py, line 130\)"
    with pytest.warns(UnsafeWarning, match=sentence):
        result = train(Jammed(), out=tmp_path / "run")
    assert result.stop_reason == "measurements"
    assert "the shutter is jammed" in result.warnings[-1]
    assert "the shutter is jammed" in (tmp_path / "run" / "result.json").read_text()
    # and it hides nothing else
    with pytest.warns(UnsafeWarning), pytest.raises(SystemExit):
        train(Jammed(leave(SystemExit(3))))


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from test_safety import Chip, train

class Slow(Chip):
    def measure(self, inputs):
        time.sleep(0.002)
        return super().measure(inputs)

    def safe(self):
        super().safe()
        print("safe", flush=True)

result = train(Slow(), 10**6, observers=[lambda now: print(now.measurements, flush=True)])
print(result.stop_reason, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_program_told_to_end_makes_the_device_safe(number):
    text = SCRIPT.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(4):
        assert process.stdout.readline()
    process.send_signal(number)
    said, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert said.split()[-2:] == ["safe", "interrupted"]


class Lucky(Chip):
    """Its evaluations, one measurement after every twenty, are right the 1st, 3rd and 4th time."""

    labels = np.arange(8) % 2

    def measure(self, inputs):
        super().measure(inputs)
        # the self-test comes first, and then 20 measurements and an evaluation each time
        number, place = divmod(self.calls - 1, 21)
        right = place == 0 and number in (1, 3, 4)
        return np.eye(2)[self.labels if right else 1 - self.labels]


@pytest.mark.parametrize(("confirm", "evaluations"), [(1, 1), (2, 4)])
def test_a_score_is_confirmed_by_evaluations_in_a_row(confirm, evaluations):
    x = np.random.default_rng(0).normal(size=(8, 3))
    task = dither.make_task(x, Lucky.labels, x, Lucky.labels, classes=("a", "b"))
    until = Until(score=0.9, confirm=confirm, measurements=500)
    result = dither.train(Lucky(), task, RULE, until=until, score_every=20)
    assert result.stop_reason == "score"
    assert len(result.history) == evaluations
