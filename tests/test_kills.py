"""What a run has measured is lost by a kill for at most five seconds, or since an evaluation."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import dither
from dither import Until, WeightMGD
from dither.tasks import make_task
from dither.testing.devices import NumpyDevice

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 2))
TASK = make_task(X, (X.sum(axis=1) > 0).astype(int), X, (X.sum(axis=1) > 0).astype(int), batch=4)
RULE = WeightMGD(learning_rate=0.1, delta=0.05)
MOST = 3000


class Slow(NumpyDevice):
    """Each measurement takes a time, and is counted in a file that a kill does not take back."""

    def __init__(self, seconds=0.0, file=None):
        super().__init__((2, 3, 2), initial=0.3 * np.sin(np.arange(17)))
        self.seconds, self.file = seconds, file

    def measure(self, inputs):
        time.sleep(self.seconds)
        if self.file is not None:
            self.file.write(b".")
        return super().measure(inputs)


def run(seconds, folder, every, resume=False, file=None, most=MOST):
    return dither.train(
        Slow(seconds, file), TASK, RULE, key=3, until=Until(measurements=most), score_every=every,
        out=folder, resume=resume,
    )  # fmt: skip


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from test_kills import run
with open("counted", "wb", buffering=0) as file:
    run(float(sys.argv[1]), "run", int(sys.argv[2]), file=file)
"""


def killed(tmp_path: Path, seconds: float, every: int, after: float) -> tuple[int, dict]:
    """How many measurements a run had made when it was killed, and what its checkpoint knows."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(tests=str(Path(__file__).parent)), str(seconds),
         str(every)],
        cwd=tmp_path, env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    try:
        counted = tmp_path / "counted"
        end = time.monotonic() + 100
        while not counted.exists() or counted.stat().st_size < 5:
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(after)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    with np.load(tmp_path / "run" / "checkpoint" / "state.npz") as saved:
        kept = {name: saved[name] for name in saved.files}
    return counted.stat().st_size, kept


def known(kept: dict) -> int:
    return int(kept["array.ledger.measurements"][0] + kept["array.partial.measurements"][0])


def test_checkpoints_do_not_wait_for_evaluations(tmp_path):
    """20 ms a measurement, and the first evaluation a minute away."""
    made, kept = killed(tmp_path, 0.02, every=MOST, after=7.0)
    assert len(kept["array.rows"]) == 0
    assert made > 250
    assert 0 <= made - known(kept) <= 5.0 / 0.02


def test_a_kill_loses_no_more_than_since_the_last_evaluation(tmp_path):
    """Evaluations of ten measurements every fifty: nothing but the last stretch is lost."""
    made, kept = killed(tmp_path, 0.005, every=50, after=3.5)
    assert made > 120
    assert 0 <= made - known(kept) <= 50 + 10 + 1


def test_killed_far_from_an_evaluation_it_goes_on_as_if_undisturbed(tmp_path):
    """Bit for bit: the same parameters as in one piece, with a self-test more."""
    _, kept = killed(tmp_path, 0.02, every=MOST, after=5.0)
    most = known(kept) + 400
    resumed = run(0.0, tmp_path / "run", MOST, resume=True, most=most + 1)
    whole = run(0.0, None, MOST, most=most)
    assert np.array_equal(resumed.parameters, whole.parameters)
    assert resumed.ledger["measurements"] == most + 1
    assert json.loads((tmp_path / "run" / "result.json").read_text())["out"]
