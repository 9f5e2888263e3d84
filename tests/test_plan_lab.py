"""Plans for real devices: what is measured, and where the model gets it."""

import json
import tomllib

import numpy as np
import pytest
from typer.testing import CliRunner

from dither import MLP, PythonDevice, RequestError, SimulatedDevice, read_specification
from dither.cli import app
from dither.devices.imperfections import DAC, Bounds, OutputNoise
from dither.planning.lab import READINGS, probed
from dither.tasks import Parity
from dither.testing.devices import NumpyDevice

MODEL = SimulatedDevice(network=MLP(widths=(3, 2, 2)))
TASK = Parity(bits=3).load()


class Noisy(NumpyDevice):
    """Outputs with noise of a known size, which every write also shifts."""

    def __init__(self, sigma=0.05, shift=0.0, **settings):
        rng = np.random.default_rng(1)
        super().__init__(initial=rng.normal(0, 0.5, 14), **settings)
        self.rng, self.sigma, self.shift, self.off = rng, sigma, shift, 0.0

    def write(self, theta):
        super().write(theta)
        self.off = self.shift * self.rng.normal()

    def forward(self, inputs):
        outputs = super().forward(inputs)
        return outputs + self.off + self.rng.normal(0, self.sigma, outputs.shape)


def test_the_model_gets_what_the_measurements_show():
    chip = Noisy()
    chip.show_sites()
    probe = probed(PythonDevice(chip, bounds=(-2.0, 2.0), bits=6), MODEL, TASK)
    assert probe.measurements == chip.calls == 2 * READINGS + 1
    noise, grid = probe.model.imperfections[1], probe.model.imperfections[0]
    assert grid == DAC(bits=6, low=-2.0, high=2.0)
    assert isinstance(noise, OutputNoise)
    # a standard deviation of 10 readings of 16 outputs: 160 values, 5.6 %; the larger of two
    assert abs(noise.sigma / 0.05 - 1) < 4 * 0.056
    assert probe.model.access == "sites"
    for parameter in probe.model.space.parameters:
        assert (parameter.low, parameter.high, parameter.levels) == (-2.0, 2.0, 64)
    assert probe.model.seconds_per_measurement > 0
    start = np.asarray(chip.initial)
    scale = np.sqrt(np.mean(start**2))
    drawn = [np.asarray(probe.model.initial(_key(k))) for k in range(200)]
    # weights only; 200 draws of 8
    assert np.sqrt(np.mean(np.square(drawn))) == pytest.approx(scale, rel=0.25)


def _key(seed):
    import jax

    return jax.random.key(seed)


def test_noise_that_comes_with_writes_counts_as_noise():
    probe = probed(PythonDevice(Noisy(0.01, shift=0.2)), MODEL, TASK)
    # one shift a write, 10 writes: 24 % of standard error
    assert 0.05 < probe.noise < 0.4
    assert not any(isinstance(one, DAC | Bounds) for one in probe.model.imperfections)
    assert probe.model.access == "outputs"


@pytest.mark.parametrize(("turn", "low", "high"), [(1, 0.99, 1.0), (-1, -1.0, 0.9)])
def test_the_correlation_shows_whether_the_model_fits(turn, low, high):
    class Other(Noisy):
        def forward(self, inputs):
            return turn * super().forward(inputs)

    chip = Other(sigma=1e-4)
    chip.show_sites()
    probe = probed(PythonDevice(chip), MODEL, TASK)
    assert low - 1e-6 <= probe.agreement <= high + 1e-6
    assert ("does not describe" in probe.line()) == (turn < 0)


def test_parameters_of_other_names_are_not_compared():
    probe = probed(PythonDevice(Noisy()), MODEL, TASK)
    assert probe.agreement is None
    assert "other names" in probe.line()


class CostOnly:
    parameters = 14

    def write(self, theta):
        self.theta = theta

    def cost(self, inputs, targets):
        return float(len(inputs) - len(targets))


def test_devices_that_cannot_be_planned_are_refused():
    with pytest.raises(RequestError, match="shows only a cost"):
        probed(PythonDevice(CostOnly()), MODEL, TASK)
    with pytest.raises(RequestError, match="has 16 parameters, but the device Noisy has 14"):
        probed(PythonDevice(Noisy()), SimulatedDevice(network=MLP(widths=(3, 3, 1))), TASK)

    class Mute(Noisy):
        def measure(self, inputs):
            if self.calls > 2:
                raise OSError("no light")
            return super().measure(inputs)

    with pytest.raises(RequestError, match=r"failed \d+ of \d+ readings"):
        probed(PythonDevice(Mute()), MODEL, TASK)


LAB = """
name = "bench"

[task]
kind = "parity"
bits = 3

[device]
kind = "lab"
object = "bench.py:chip"

[algorithm]
kind = "weight-mgd"
learning_rate = 0.3

[until]
score = 1.0
"""

BENCH = """
from dither.testing.devices import NumpyDevice

chip = NumpyDevice(initial=[0.3 * (-1) ** k for k in range(14)])
"""

LIKE = """
[task]
kind = "parity"
bits = 3

[device]
kind = "simulated"
network = { kind = "mlp", widths = [3, 2, 2] }
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in (("lab.toml", LAB), ("bench.py", BENCH), ("like.toml", LIKE)):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.long
def test_the_command_plans_a_real_device_and_ends_with_its_run(folder):
    asked = ["plan", "lab.toml", "--model", "like.toml", "--out", "plan", "--json"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["probe"]["measurements"] == 2 * READINGS + 1
    assert "correlation" in done.stderr or "not compared" in done.stderr
    own = next(row for row in told["rows"] if row["own"])
    assert own["learning_rate"] == 0.3
    best = tomllib.loads((folder / "plan" / "best.toml").read_text())
    assert best["device"]["kind"] == "lab"
    assert read_specification("plan/best.toml").device.object.endswith("bench.py:chip")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "add --model PRESET"),
        (["--model", "mackey-glass-boolean"], "not a simulated device with a network"),
        (["--model", "nist7x7"], "has 220 parameters, but the device"),
        (["--model", "nist77"], "nist7x7"),
        (["--model", "like.toml", "--set", "axes.batch=[1, 2]"], "remove [axes]"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_wrong_requests_are_refused(arguments, sentence):
    with pytest.raises(RequestError) as refused:
        CliRunner().invoke(app, ["plan", "lab.toml", *arguments], catch_exceptions=False)
    assert sentence in str(refused.value)
