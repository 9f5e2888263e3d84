"""`dither device check` on devices whose every property is planted."""

import json
import tomllib
import types

import numpy as np
import pytest
from typer.testing import CliRunner

import dither
from dither import PythonDevice, RequestError
from dither.cli import app
from dither.instruments import LabDevice, check, under_test
from dither.instruments.check import check_device, recommended
from dither.tasks import NIST7x7

P, INPUTS = 30, 12
X, TARGETS = np.zeros((INPUTS, 3)), np.random.default_rng(1).normal(size=(INPUTS, 2))
TASK = dither.make_task(X, TARGETS, X, TARGETS, batch=INPUTS)
WRITE, READ = 1e-3, 2e-3


class Planted:
    """Outputs with known gains on the parameters, cubic bending, noise, lag and drift.

    `y = Σ_i gain_i (θ_i + bend θ_i³)` and twice that, where θ follows what is written with a time
    constant; its own clock moves on by each write and measurement.
    """

    parameters = P
    bounds = (-2.0, 2.0)
    initial = np.zeros(P)

    def __init__(self, noise=0.0, dead=(), lag=0.0, drift=0.0, bend=0.0, far=False, seed=0):
        self.noise, self.lag, self.drift, self.bend, self.far = noise, lag, drift, bend, far
        self.gain = np.linspace(0.5, 1.5, P)
        self.gain[list(dead)] = 0
        self.now, self.written = 0.0, -np.inf
        self.begin = self.goal = np.zeros(P)
        self.rng = np.random.default_rng(seed)
        self.received = []
        self.safe_calls = 0

    def theta(self):
        left = np.exp(-(self.now - self.written) / self.lag) if self.lag else 0.0
        return self.goal + (self.begin - self.goal) * left

    def write(self, theta):
        self.received.append(np.array(theta))
        self.now += WRITE
        self.begin = self.theta()
        self.goal, self.written = np.array(theta), self.now

    def wait(self, seconds):
        self.now += seconds

    def measure(self, inputs):
        self.now += READ / 2
        theta = self.theta()
        y = self.gain @ (theta + self.bend * theta**3) + self.drift * self.now
        self.now += READ / 2
        y += 50 * (self.far and self.rng.random() < 0.05)
        return np.full((len(inputs), 1), y) * [1, 2] + self.noise * self.rng.normal(
            size=(len(inputs), 2)
        )

    def safe(self):
        self.safe_calls += 1


@pytest.fixture
def report(monkeypatch):
    def of(chip, repeats=20, task=TASK):
        clock = types.SimpleNamespace(perf_counter=lambda: chip.now, sleep=chip.wait)
        monkeypatch.setattr(under_test, "time", clock)
        found = check_device(PythonDevice(chip), task, repeats)
        low, high = chip.bounds
        assert np.all(np.array(chip.received) >= low)
        assert np.all(np.array(chip.received) <= high)
        return found

    return of


def test_noise_and_speed(report):
    found = report(Planted(noise=0.1))
    # 20 readings of 24 outputs each: a standard error of 0.1 / √(2 · 480) for the one with writes
    # between, and √1.5 of that from neighbours' differences
    assert abs(found.repeatability - 0.1) < 5 * 0.1 / np.sqrt(2 * 19 * 24)
    assert abs(found.noise - 0.1) < 5 * 0.1 * np.sqrt(1.5 / (2 * 19 * 24))
    assert found.seconds_per_write == pytest.approx(WRITE)
    assert found.seconds_per_measurement == pytest.approx(READ)
    assert (found.settling, found.drift, found.outliers, found.failed) == (0, 0, False, 0)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_dead_parameters_and_the_others_gains(report, noise):
    dead = [3, 7, 8]
    found = report(Planted(noise=noise, dead=dead))
    assert found.dead == dead
    assert found.moving == pytest.approx(1 - 3 / P)
    # outputs 1 and 2 times the gain, each pair's mean over 12 inputs with noise / √12 / √2
    wanted = np.linspace(0.5, 1.5, P) * np.sqrt(2.5)
    wanted[dead] = 0
    off = np.array(found.responses) - wanted
    assert np.abs(off).max() < 1e-6 + 5 * noise / np.sqrt(2 * 12) / found.delta


def test_a_device_that_settles_is_waited_for(report):
    """Read at once, a third of a step were seen, and the dead seemed moved by neighbours."""
    found = report(Planted(noise=0.02, lag=0.02, dead=[3, 7, 8]))
    wanted = np.linspace(0.5, 1.5, P) * np.sqrt(2.5)
    wanted[[3, 7, 8]] = 0
    assert found.dead == [3, 7, 8]
    off = np.array(found.responses) - wanted
    assert np.abs(off).max() < 0.01 * wanted.max() + 5 * 0.02 / np.sqrt(2 * 12) / found.delta
    assert found.repeatability < 2 * found.noise


@pytest.mark.parametrize("lag", [0.004, 0.02])
def test_settling(report, lag):
    found = report(Planted(noise=0.02, lag=lag))
    # tried in factors of 1.1
    assert 0.85 * lag < found.settling < 1.15 * lag


def test_drift(report):
    chip = Planted(noise=0.05, drift=0.3)
    found = report(chip)
    # outputs 1 and 2 times the drift
    assert abs(found.drift - 0.3 * np.sqrt(2.5)) < 0.03
    assert found.seconds == pytest.approx(chip.now, rel=0.1)
    # a tenth of a standard deviation over the whole test
    assert report(Planted(noise=0.05, drift=0.005 / chip.now)).drift < 0.1


def test_outliers_are_seen(report):
    assert report(Planted(noise=0.05, far=True, seed=3)).outliers


def test_perturbations_of_a_cubic_device_are_those_of_its_series(report):
    """y is 1 and 2 times Σ gain_i (a p_i + bend a³ p_i) = (a + bend a³) Σ gain_i p_i."""
    targets = np.full((INPUTS, 2), 1e4)
    far = dither.make_task(X, targets, X, targets, batch=INPUTS)
    # so far from its target, the mean square error is linear in y to 1e-3
    chip = Planted(bend=0.5, noise=0.2)
    found = report(chip, task=far)
    assert found.largest_linear == pytest.approx(np.sqrt(0.1 / 0.5), rel=0.2) or (
        found.largest_linear == 0.5
    )
    # dC = mean over 2 outputs of 2 · 1e4 · dy: noise 0.2 over 12 inputs and 2 outputs
    sigma = 2e4 * 0.2 / np.sqrt(24) / np.sqrt(2)
    slope = 2e4 * 1.5 * np.sqrt(np.sum(chip.gain**2))
    # ten directions: Σ gain p varies by 1/√2 of its square's mean for each
    assert 0.3 < found.smallest_useful / (sigma / slope) < 3


@pytest.mark.parametrize("levels", [2, 3, 16])
def test_only_levels_are_written(report, levels):
    chip = Planted(noise=0.05, dead=[4])
    chip.levels = levels
    found = report(chip)
    steps = (np.array(chip.received) + 2) / (4 / (levels - 1))
    assert np.abs(steps - np.round(steps)).max() < 1e-5
    assert found.dead == [4]
    assert (found.largest_linear is None) == (levels < 4)


def test_failed_readings_are_left_out(report):
    class Flaky(Planted):
        def measure(self, inputs):
            if len(self.received) > 1 and self.rng.random() < 0.1:
                raise OSError("no answer")
            return super().measure(inputs)

    found = report(Flaky(noise=0.1))
    assert 0.05 < found.failed / found.readings < 0.16
    assert abs(found.repeatability - 0.1) < 0.02

    class Dead(Planted):
        def measure(self, inputs):
            if len(self.received) > 1:
                raise OSError("no answer")
            return super().measure(inputs)

    with pytest.raises(RequestError, match=r"failed \d+ of \d+ readings"):
        report(Dead())


def test_what_is_recommended_follows_from_the_report(report):
    noisy = report(Planted(noise=0.3, lag=0.004, bend=0.5, far=True, seed=3))
    table = recommended(noisy, LabDevice(object="lab.py:chip"), NIST7x7())
    rule, guard = table["algorithm"], table["device"]["guard"]
    assert rule["delta"] == pytest.approx(0.5 * noisy.largest_linear, rel=0.01)
    assert rule["outliers"] == 5.0
    ticks = np.ceil((noisy.smallest_useful / rule["delta"]) ** 2)
    assert rule["tau_theta"] == np.clip(ticks, 1, check.MOST_TICKS)
    assert guard["settle"] == pytest.approx(3 * noisy.settling, rel=0.01)
    assert table["until"]["confirm"] == 2
    boolean = Planted()
    boolean.levels = 2
    table = recommended(report(boolean), LabDevice(object="lab.py:chip"), NIST7x7())
    assert table["algorithm"] == {"kind": "coordinate-descent", "decision": "keep"}
    assert "confirm" not in table["until"]


CHIP = """
import numpy as np

class Chip:
    parameters, bounds = 9, (-4.0, 4.0)
    noise = np.random.default_rng(0)

    def write(self, theta):
        self.theta = theta

    def measure(self, inputs):
        hidden = np.tanh(inputs @ self.theta[:4].reshape(2, 2) + self.theta[4:6])
        outputs = hidden @ self.theta[6:8] + self.theta[8]
        return outputs + self.noise.normal(0, 0.01, outputs.shape)

    def safe(self):
        print("safe")
"""


def test_dither_train_takes_what_is_recommended(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bench_lab.py").write_text(CHIP)
    words = ["device", "check", "bench_lab.py:Chip", "--inputs", "xor", "--repeats", "8"]
    run = CliRunner()
    told = run.invoke(app, [*words, "--json", "--toml", "chip.toml"])
    assert told.exit_code == 0, told.output
    assert "safe" in told.output
    facts = json.loads(told.output.splitlines()[-1])
    assert facts["parameters"] == 9
    assert facts["recommended"] == tomllib.loads((tmp_path / "chip.toml").read_text())
    result = dither.read_specification("chip.toml", ["until.measurements=300"]).train("run")
    assert result.stop_reason == "measurements"
    assert result.ledger["failed"] == 0
    in_words = run.invoke(app, words)
    assert 'kind = "weight-mgd"' in in_words.output
    assert "failed: 0 of" in in_words.output
    assert check.MOST_TICKS >= facts["recommended"]["algorithm"]["tau_theta"] >= 1


BENCH = """
[task]
kind = "xor"

[device]
kind = "lab"
object = "bench_lab.py:Chip"
bounds = [-3.0, 3.0]
guard = { timeout = 7.0 }
"""


def test_a_device_in_a_file_is_checked_with_its_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bench_lab.py").write_text(CHIP)
    (tmp_path / "bench.toml").write_text(BENCH)
    words = ["device", "check", "bench.toml", "--repeats", "8", "--json", "--toml", "chip.toml"]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.output
    assert json.loads(told.output.splitlines()[-1])["high"] == 3.0
    table = tomllib.loads((tmp_path / "chip.toml").read_text())
    assert table["task"] == {"kind": "xor"}
    assert table["device"]["bounds"] == [-3.0, 3.0]
    assert table["device"]["guard"]["timeout"] == 7.0
    assert table["device"]["guard"]["backoff"] == 0.1
    assert dither.read_specification("chip.toml").name == "chip"


SIMULATED = """
kind = "simulated"
network = { kind = "mlp", widths = [2, 2, 1] }
"""


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ('kind = "labb"', "bench.toml, line 5: device has no kind 'labb'"),
        ("", "device is missing"),
        (SIMULATED, "simulated"),
    ],
)
def test_a_file_that_cannot_be_checked_is_refused(device, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = BENCH.partition("[device]")[0]
    (tmp_path / "bench.toml").write_text(task + ("[device]\n" + device if device else ""))
    with pytest.raises(RequestError, match=sentence):
        CliRunner().invoke(app, ["device", "check", "bench.toml"], catch_exceptions=False)


def test_a_bench_that_says_its_error_is_checked_with_that(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mirrors.py").write_text(MIRRORS)
    told = CliRunner().invoke(app, ["device", "check", "mirrors.py:Bench", "--toml", "bench.toml"])
    assert told.exit_code == 0, told.output
    table = tomllib.loads((tmp_path / "bench.toml").read_text())
    assert table["task"] == {"kind": "own-error"}
    assert table["algorithm"]["kind"] == "coordinate-descent"


MIRRORS = """
import numpy as np

class Bench:
    parameters = 6

    def __init__(self):
        self.weights = np.zeros(6, int)

    def flip(self, i):
        self.weights[i] ^= 1

    def error(self):
        return float(np.sum((self.weights - [1, 0, 1, 1, 0, 1]) ** 2))
"""
