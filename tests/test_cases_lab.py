"""What users run into with real devices and with files of data, each kind with several members."""

import asyncio
import json
import os
import socketserver
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

import dither
from dither import PythonDevice, RequestError, Until
from dither._numbers import decimal_commas, finite, real
from dither._places import find_object
from dither.algorithms import CoordinateDescent, WeightMGD
from dither.cli import app
from dither.instruments.check import check_device
from dither.instruments.readings import BadReading
from dither.instruments.scpi import ScpiConnection, ScpiDevice
from dither.instruments.scpi_answers import InstrumentError, no_error
from dither.instruments.scpi_commands import Channels
from dither.tasks import XOR
from dither.tasks.arrays import Arrays
from dither.tasks.own_error import OwnError as OwnErrorTask
from dither.tasks.scores import symbol_error_rate, z_scored
from dither.tasks.series import make_series
from dither.tasks.series_file import SeriesFile
from dither.tasks.series_task import SeriesTask, series_task
from dither.training import read_specification
from dither.training.settings import change_setting
from dither.training.train import TrapWarning

pytestmark = pytest.mark.long

X = np.random.default_rng(0).normal(size=(8, 2))
LABELS = (X[:, 0] * X[:, 1] > 0).astype(int)
TASK = dither.make_task(X, LABELS, X, LABELS, batch=8)
MGD = WeightMGD(learning_rate=2.0, delta=0.05, pairs="central")


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Chip:
    """A network of 2, 2 and 1 neurons for XOR."""

    parameters, bounds = 9, (-8.0, 8.0)

    def write(self, theta):
        self.v = np.array(theta)

    def forward(self, x):
        h = sigmoid(x @ self.v[:4].reshape(2, 2) + self.v[4:6])
        return sigmoid(h @ self.v[6:8, None] + self.v[8])

    def measure(self, x):
        return self.forward(x)


def trained(device, measurements=300, task=None, algorithm=MGD):
    return dither.train(device, task or XOR(), algorithm, until=Until(measurements=measurements))


# what comes back is copied, what is given away is not used again


class Buffered(Chip):
    """Each measurement overwrites the one before it."""

    def __init__(self):
        self.buffer = np.zeros((100, 1))

    def measure(self, x):
        out = self.buffer[: len(x)]
        out[:] = self.forward(x)
        return out


class BufferedBlocks(Buffered):
    def measure_block(self, settings, inputs, _):
        for theta, x in zip(settings, inputs):
            self.write(theta)
            yield self.measure(x)


class BufferedCost(Chip):
    """The cost is a part of the buffer that holds it."""

    task = "xor"
    measure = None

    def __init__(self):
        self.buffer = np.zeros(1)

    def cost(self, x, y):
        self.buffer[:] = np.mean((self.forward(x)[:, 0] - y) ** 2)
        return self.buffer


class Cost(BufferedCost):
    def cost(self, x, y):
        return float(super().cost(x, y)[0])


@pytest.mark.parametrize(
    ("reusing", "copying"), [(Buffered, Chip), (BufferedBlocks, Chip), (BufferedCost, Cost)]
)
def test_a_device_may_return_its_buffer(reusing, copying):
    assert np.array_equal(trained(reusing()).parameters, trained(copying()).parameters)


def test_the_layers_inputs_may_be_a_buffer():
    class Sites:
        parameters: ClassVar = {"dense0/bias": (1,), "dense0/weight": (2, 1)}
        layers = ("dense0",)
        seen = np.zeros((8, 2))

        def write(self, theta):
            self.v = theta

        def measure(self, x):
            return x @ self.v[1:, None] + self.v[0]

        def measure_sites(self, x, added):
            self.seen[:] = x
            return self.measure(x) + added["dense0"], {"dense0": self.seen}

    device = PythonDevice(Sites())
    device.write(np.ones(3))
    _, first = device.measure_sites(X, {"dense0": np.zeros(1)})
    device.measure_sites(2 * X, {"dense0": np.zeros(1)})
    assert np.array_equal(first["dense0"], X)


def test_one_array_for_a_whole_block_is_refused():
    class Listed(BufferedBlocks):
        def measure_block(self, *block):
            return list(super().measure_block(*block))

    with pytest.raises(BadReading, match="one array for several settings; return a copy for each"):
        list(PythonDevice(Listed()).measure_block(np.zeros((3, 9)), np.tile(X, (3, 1, 1)), None))
    assert trained(Listed(), 60).ledger["failed"] > 0


class ChangesAll(Chip):
    """Scales all that it is given in place."""

    def write(self, theta):
        super().write(theta)
        theta *= 1e3

    def measure(self, x):
        out = self.forward(x)
        x *= 1e3
        return out


class ChangesTargets(Cost):
    def cost(self, x, y):
        out = super().cost(x, y)
        x += 1
        y += 1
        return out


class ChangesWithoutWrite:
    parameters, bounds = 9, (-8.0, 8.0)

    def __call__(self, theta, x):
        chip = ChangesAll()
        chip.write(theta)
        theta[:] = np.nan
        return chip.measure(x)


@pytest.mark.parametrize(
    ("changing", "honest"),
    [(ChangesAll, Chip), (ChangesTargets, Cost), (ChangesWithoutWrite, Chip)],
)
def test_a_device_may_change_what_it_is_given(changing, honest):
    assert np.array_equal(trained(changing()).parameters, trained(honest()).parameters)


class Stale(Chip):
    """Writes do not arrive."""

    v = np.linspace(-1, 1, 9)

    def write(self, theta):
        pass


class Noisy(Stale):
    def __init__(self):
        self.rng = np.random.default_rng(0)

    def measure(self, x):
        return self.forward(x) + 0.1 * self.rng.normal(size=(len(x), 1))


class AtTheRail(Chip):
    def measure(self, x):
        return np.minimum(self.forward(x), 0.0)


class StaleMirrors(Stale):
    bounds, bits = (0.0, 1.0), 1


@pytest.mark.parametrize(
    ("chip", "cause"),
    [
        (Stale, "every reading is identical"),
        (AtTheRail, "every reading is identical"),
        (StaleMirrors, "every reading is identical"),
        (Noisy, "beyond its noise of 0.0"),
    ],
)
def test_the_check_names_the_cause_where_nothing_moves(chip, cause, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = check_device(PythonDevice(chip()), XOR().load(), 6)
    assert cause in report.unmoved
    assert check_device(PythonDevice(Chip()), XOR().load(), 6).unmoved == ""
    monkeypatch.setattr("dither._places.find", lambda *_, **__: chip())
    done = CliRunner().invoke(
        app, ["device", "check", "lab.py:chip", "--inputs", "xor", "--toml", "t.toml", "--json"]
    )
    assert isinstance(done.exception, RequestError)
    assert cause in str(done.exception)
    assert json.loads(done.output)["moving"] == 0
    assert not list(tmp_path.iterdir())


# readings that are none


class Returns(Chip):
    def __init__(self, change):
        self.change = change

    def measure(self, x):
        return self.change(self.forward(x))


def masked(y):
    return np.ma.masked_greater(y, 0.0)


NO_READINGS = {
    "masked": (masked, "masked values"),
    "a masked row": (lambda y: [masked(row) for row in y], "masked values"),
    "complex": (lambda y: y + 0j, "complex numbers"),
    "beyond single precision": (lambda y: y * 1e39, "infinite in single precision"),
    "of both signs": (lambda y: y * 1e39 * (-1) ** np.arange(len(y))[:, None], "infinite"),
    "nothing": (lambda _: None, "None instead of numbers"),
    "objects": (lambda y: [{}] * len(y), "values of type object"),
    "ragged": (lambda y: [[0.1]] + [[0.1, 0.2]] * (len(y) - 1), "rows of unequal lengths"),
}


@pytest.mark.parametrize(("change", "words"), NO_READINGS.values(), ids=NO_READINGS)
def test_what_is_no_reading_is_refused(change, words):
    with pytest.raises(RequestError, match=f"it returned.*{words}"):
        trained(Returns(change))


@pytest.mark.parametrize("cost", [1e39, 1 + 1j, np.ma.masked, None, "high"])
def test_what_is_no_cost_is_refused(cost):
    chip = Cost()
    chip.cost = lambda *_: cost
    with pytest.raises(RequestError, match="it returned"):
        trained(chip)


def test_a_masked_array_without_masked_values_is_a_reading():
    plain = trained(Returns(lambda y: np.ma.array(y)))
    assert np.array_equal(plain.parameters, trained(Chip()).parameters)


def test_what_is_finite_in_single_precision():
    assert [finite(np.array(v)) for v in ([3e38], [], [1e39, -1e39], [np.nan], [-np.inf])] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert real(np.float64(2)) == 2
    assert real([[1, 2]]).dtype == float


# calls that only prepare


class AsyncWrite(Chip):
    v = np.zeros(9)

    async def write(self, theta):
        self.v = theta


class AsyncSafe(Chip):
    async def safe(self):
        pass


class Plan(Chip):
    """A write as a plan that something else has to run."""

    v = np.zeros(9)

    def write(self, theta):
        yield theta


class Decorated(Chip):
    """What cannot be seen from outside is seen when it is called."""

    v = np.zeros(9)
    ends = 0

    def write(self, theta):
        async def later():
            self.v = theta

        return later()


class Future(Chip):
    v = np.zeros(9)

    def write(self, _):
        loop = asyncio.new_event_loop()
        try:
            return asyncio.Future(loop=loop)
        finally:
            loop.close()


class AsyncMirrors:
    parameters = 9

    async def flip(self, i):
        pass

    def error(self):
        return 0.5


async def coroutine(_, x):
    return x


coroutine.parameters = 9


@pytest.mark.parametrize(
    "chip", [AsyncWrite, AsyncSafe, Plan, Decorated, Future, AsyncMirrors, lambda: coroutine]
)
def test_what_is_only_prepared_by_a_call_is_refused(chip):
    with pytest.raises(RequestError, match="only prepares the work and never does it"):
        trained(chip())


# a user's own exception

LAB = """
import numpy as np
class Chip:
    parameters, bounds, n = 9, (-8.0, 8.0), 0
    def write(self, theta): self.v = theta
    def measure(self, x):
        self.n += 1
        return x[:, :1] + self.v[0] if self.n < 40 else self.decode(x)
    def decode(self, x):
        return {}["wavelength"]
class Deep(Chip):
    def decode(self, x):
        return np.linalg.inv(x)
class Unsafe(Chip):
    def decode(self, x):
        return x[:, :1]
    def safe(self):
        raise OSError("no route")
class Unmade(Chip):
    def __init__(self):
        self.port = int("COM3")
class Starts(Chip):
    def initial(self, seed):
        return self.presets[seed]
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab.py").write_text(LAB)


def line(words):
    return 1 + next(k for k, text in enumerate(LAB.splitlines()) if words in text)


def run_of(name, **how):
    changes = ["device=lab", f"device.object=lab.py:{name}", "replicas=1", "until.measurements=200"]
    return read_specification("xor", changes).train("run", **how)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [("Chip", "KeyError: 'wavelength'", "wavelength"), ("Deep", "LinAlgError", "linalg.inv")],
)
@pytest.mark.usefixtures("lab")
def test_a_users_exception_shows_where_it_was_raised(name, error, words, tmp_path):
    failure = run_of(name).failure
    place = f"in lab.py, line {line(words)}"
    assert error in failure
    assert f"{place}); repair it" in failure
    whole = (tmp_path / "run" / "traceback.txt").read_text()
    assert error.partition(":")[0] in whole
    assert whole.startswith("Traceback")
    assert f'lab.py", line {line(words)}' in whole
    assert json.loads((tmp_path / "run" / "result.json").read_text())["stop_reason"] == "failures"


@pytest.mark.usefixtures("lab")
def test_a_run_that_goes_well_leaves_no_traceback(tmp_path):
    assert run_of("Chip").failure
    (tmp_path / "lab.py").write_text(LAB.replace('{}["wavelength"]', "x[:, :1] + self.v[0]"))
    assert not run_of("Chip", resume=True).failure
    assert not (tmp_path / "run" / "traceback.txt").exists()


@pytest.mark.parametrize(
    ("name", "sentence", "words"),
    [
        ("Unmade", "The device .*lab.py:Unmade cannot be made: ValueError", "COM3"),
        ("Starts", "The device Starts gives no initial parameters: AttributeError", "presets"),
    ],
)
@pytest.mark.usefixtures("lab")
def test_exceptions_before_a_run_show_where_they_were_raised(name, sentence, words, tmp_path):
    with pytest.raises(RequestError, match=rf"{sentence}.* in lab.py, line {line(words)}\."):
        run_of(name)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("lab")
def test_an_unsafe_device_shows_where_it_failed():
    with pytest.warns(UserWarning, match=rf"no route in lab.py, line {line('no route')}\); do so"):
        run_of("Unsafe")


# instruments that speak SCPI


class Instrument(socketserver.ThreadingTCPServer):
    """A chip behind a socket; what it answers is changed by the test."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, error='0,"No error"', answer=None):
        super().__init__(("127.0.0.1", 0), Talk)
        self.error, self.settings, self.chip = error, [], Chip()
        self.answer = answer or (lambda y: ",".join(f"{v:.6E}" for v in y))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def specification(self, *changes):
        table = {
            "kind": "scpi",
            "resource": f"TCPIP0::127.0.0.1::{self.server_address[1]}::SOCKET",
            "timeout": 1.0,
            "safe": ["OUTP OFF"],
            "channels": {
                "v": {"count": 9, "write": "SOUR {values:.6f}", "bounds": [-4.0, 4.0]},
            },
            "readings": {"present": "INP {values}", "query": "READ?", "whole_batch": True},
        }
        for path, value in changes:
            change_setting(table, path, value)
        return ScpiConnection.model_validate(table)


class Talk(socketserver.StreamRequestHandler):
    def handle(self):
        server, inputs = self.server, X
        for command in self.rfile:
            name, _, values = command.decode().strip().partition(" ")
            match name:
                case "SOUR":
                    server.settings.append(values)
                    server.chip.write([float(v) for v in values.split(",")])
                case "INP":
                    inputs = np.array([float(v) for v in values.split(",")]).reshape(-1, 2)
                case "SYST:ERR?":
                    self.wfile.write(f"{server.error}\n".encode())
                case "READ?":
                    answer = server.answer(server.chip.forward(inputs).ravel())
                    self.wfile.write(f"{answer}\n".encode())


@pytest.mark.parametrize(
    "error",
    [
        "0", "+0", "-0", "00", "0.0", "+0.00E+00", '00,"No error"', '+00000,"No error"',
        '+000 No error', "0 No Error", "No error", '"0,No error"', '  0, "No error"',
        '0,"Kein Fehler"', "NO ERROR",
    ],
)  # fmt: skip
def test_error_0_in_any_form_is_no_error(error):
    assert no_error(error, "SYST:ERR?")


@pytest.mark.parametrize(
    "error", ['-222,"Data out of range"', "1", '10,"No error"', "0x10", "0A", "Error 0", "", "ERR"]
)
def test_what_is_not_error_0_is_one(error):
    assert not no_error(error, "SYST:ERR?")


def test_an_instrument_with_its_own_error_0_is_trained():
    pytest.importorskip("pyvisa_py", reason="pyvisa-py is not installed")
    with Instrument(error="0 No Error") as instrument:
        result = trained(instrument.specification(), 60)
    assert not result.failure
    assert not result.warnings
    assert result.ledger["failed"] == 0


def test_an_error_that_never_ends_is_told_once():
    pytest.importorskip("pyvisa_py", reason="pyvisa-py is not installed")
    with Instrument(error="-350,overflow") as instrument:
        device = instrument.specification().connect()
        with pytest.raises(InstrumentError) as caught:
            device.write(np.zeros(9))
        device.target.reconnect()
    assert str(caught.value) == "-350,overflow (100 times)"


@pytest.mark.parametrize(
    ("how", "bounds", "grid"),
    [
        (".0f", (-4.0, 4.0), (-4, 4, 9)),
        (".1f", (0.0, 2.5), (0, 2.5, 26)),
        (".2f", (-5.0, -1.0), (-5, -1, 401)),
        (".1f", (-0.3, 0.2), (-0.3, 0.2, 6)),
        (".0e", (0.0, 4.0), (0, 4, 5)),
        (".3g", (0.0, 9.0), (0, 9, 901)),
        (".3e", (-40.0, 20.0), (-40, 20, 6001)),
        ("g", (0.0, 4095.0), (0.0, 4095.0, 409501)),
        (".6f", (-4.0, 4.0), (-4.0, 4.0, 0)),
        ("", (-4.0, 4.0), (-4.0, 4.0, 0)),
    ],
)
def test_a_format_is_a_grid(how, bounds, grid):
    channels = Channels(write=f"V {{value:{how}}}", bounds=bounds)
    assert channels.grid() == pytest.approx(grid)
    low, high, levels = channels.grid()
    if levels:
        # every level is written as another
        some = np.linspace(low, high, levels)[: 5000 if levels > 5000 else None]
        assert len({float(format(v, how)) for v in some}) == len(some)


def test_a_format_of_one_value_is_refused():
    with pytest.raises(ValueError, match="writes only one value between the bounds"):
        Channels(write="V {value:.0f}", bounds=(-0.3, 0.2))


def test_a_coarse_format_is_a_trap_and_whole_steps_are_written():
    pytest.importorskip("pyvisa_py", reason="pyvisa-py is not installed")
    coarse = ("channels.v.write", "SOUR {values:.0f}")
    with Instrument() as instrument, pytest.warns(TrapWarning, match="step of 1"):
        trained(instrument.specification(coarse), 150)
    assert len(set(instrument.settings)) > 100


def test_groups_of_channels_have_grids_of_their_own():
    connection = Instrument().specification(
        ("channels.v.count", 5), ("channels.w", {"write": "W {values:.1f}", "count": 4,
                                                 "bounds": [0.0, 1.0]}),
    )  # fmt: skip
    device = PythonDevice(ScpiDevice(connection))
    assert device.extent.levels == {"v": 0, "w": 11}
    assert [p.step for p in device.space.parameters] == [0, pytest.approx(0.1)]


def test_levels_by_name_are_checked():
    chip = Chip()
    chip.parameters, chip.levels = {"a": (4,), "b": (5,)}, {"a": 3}
    with pytest.raises(RequestError, match="give a number, or one for each name"):
        PythonDevice(chip)
    chip.levels = {"a": 3, "b": 0}
    assert [p.levels for p in PythonDevice(chip).space.parameters] == [3, 0]


def german(y):
    return ",".join(f"{v:.6f}".replace(".", ",") for v in y)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (german, "with decimal commas; set the instrument to decimal points"),
        (lambda y: ",".join(f"{v:.3E}".replace(".", ",") for v in y), "decimal commas"),
        (lambda y: ";".join(f"{v:.2f}".replace(".", ",") for v in y), "instead of numbers"),
        (lambda y: "\n".join(f"{v:.6f}" for v in y), "1 numbers for 4 samples.* in one line"),
        (
            lambda y: "\n".join(",".join(map(str, p)) for p in y.reshape(-1, 2)),
            "2 numbers for 4 samples",
        ),
        (lambda y: f"VOLT {y[0]}", "'VOLT .*instead of numbers"),
    ],
)
def test_an_answer_that_is_not_understood_is_shown(answer, words):
    pytest.importorskip("pyvisa_py", reason="pyvisa-py is not installed")
    with Instrument(answer=answer) as instrument:
        with pytest.raises(RequestError, match=rf"the answer to 'READ\?' is.*{words}"):
            trained(instrument.specification(), 60)
        # what was left over is not taken for the next answer
        instrument.answer = lambda y: ",".join(map(str, y))
        assert not trained(instrument.specification(), 60).failure


def test_a_value_a_line_is_noticed_at_the_error_queue():
    pytest.importorskip("pyvisa_py", reason="pyvisa-py is not installed")
    lines = "0.250000\n0.750000"
    with Instrument(answer=lambda _: lines) as instrument:
        one = instrument.specification(("readings.whole_batch", False))
        with pytest.raises(RequestError, match="must give all values in one line"):
            trained(one, 60)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (["0,512345,0,048576"], True), (["12,641470", "-3,500000"], True), (["1,05"], True),
        (["1,512E-3,2,404E+01"], True), (["512,498,77,12"], False), (["0,5"], False),
        (["1E+00,5E-01"], False), (["1.5,2.5"], False), (["1,2,3"], False), ([], False),
        (["0,5e-3", "1,6e-3"], False), (["3,100000", "12,99999"], False),
    ],
)  # fmt: skip
def test_decimal_commas(rows, found):
    assert decimal_commas(rows) is found


# what is large and constant


class OwnError:
    """Three settings and the squared distance to what is wanted, in units of `unit`."""

    parameters, task, unit, offset, noise = 3, "own-error", 1.0, 0.0, 0.0
    centre, bounds = 0.0, (-5.0, 5.0)
    wanted = np.array([1.0, -2.0, 0.5])

    def __init__(self, **settings):
        vars(self).update(settings)
        self.rng = np.random.default_rng(0)
        self.received = []

    def write(self, theta):
        self.t = theta
        self.received.append(theta)

    def cost(self, *_):
        off = (self.t - self.centre) / self.unit - self.wanted
        return self.offset + np.mean(off**2) + self.noise * self.rng.normal()


def laser(**more):
    """Wavelengths in nm."""
    return OwnError(centre=1550.0, unit=1e-3, bounds=(1549.99, 1550.01), **more)


BY_COST = WeightMGD(learning_rate=0.05, delta=0.05, pairs="central")


def off_by(result, chip):
    return np.abs((result.parameters[0] - chip.centre) / chip.unit - chip.wanted).max()


@pytest.mark.parametrize(
    ("centre", "unit"), [(1550.0, 1e-3), (193.4e12, 1e6), (-300.0, 0.01), (1e9, 1.0)]
)
def test_bounds_far_from_zero_are_trained_as_those_near_it(centre, unit):
    chip = OwnError(centre=centre, unit=unit, bounds=(centre - 10 * unit, centre + 10 * unit))
    steps = {"learning_rate": 0.05 * unit**2, "delta": 0.05 * unit}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrapWarning)
        result = trained(chip, 2000, OwnErrorTask(), WeightMGD(pairs="central", **steps))
    assert off_by(result, chip) < 0.01
    settings = np.array(chip.received)
    low, high = chip.bounds
    assert np.all((settings >= low) & (settings <= high))
    assert len(np.unique(settings, axis=0)) > 500
    assert result.parameters.dtype == float


def test_levels_far_from_zero_are_written_as_they_are():
    chip = laser(levels=2001)
    dither.train(
        PythonDevice(chip), OwnErrorTask(), CoordinateDescent(), until=Until(measurements=100)
    )
    steps = (np.array(chip.received) - 1549.99) / 1e-5
    assert np.abs(steps - np.round(steps)).max() < 1e-3
    assert len(np.unique(steps.round(), axis=0)) > 50


def test_names_far_from_zero_and_near_it():
    chip = OwnError()
    chip.parameters = {"volt": (1,), "nm": (2,)}
    chip.bounds = {"volt": (-1.0, 1.0), "nm": (1549.99, 1550.01)}
    device = PythonDevice(chip)
    assert np.array_equal(device.extent.origin, [0, 1549.99, 1549.99])
    assert [p.low for p in device.space.parameters] == [-1, 1549.99]
    assert [p.low for p in device.trained_space.parameters] == [-1, 0]
    chip.bounds = {"volt": (-1.0, 1.0), "nm": None}
    assert np.array_equal(PythonDevice(chip).extent.origin, 0)


def test_the_check_of_what_lies_far_from_zero():
    report = check_device(PythonDevice(laser()), "own-error", 6)
    assert report.moving == 1
    assert (report.low, report.high) == (1549.99, 1550.01)


def test_a_run_far_from_zero_goes_on_from_its_checkpoint(tmp_path):
    steps = WeightMGD(pairs="baseline", learning_rate=2e-8, delta=5e-5)

    def run(most, **how):
        chip = laser(offset=1e6)
        return dither.train(
            chip, OwnErrorTask(), steps, until=Until(measurements=most), score_every=50, **how
        )

    run(200, out=tmp_path / "run")
    resumed = run(400, out=tmp_path / "run", resume=True)
    # another constant taken off, beside a baseline of before, were a step of 1e3 out of the bounds
    assert np.allclose(resumed.parameters, run(400).parameters, rtol=0, atol=2e-5)


def test_a_perturbation_that_drowns_in_wide_bounds_is_a_trap():
    chip = OwnError(bounds=(0.0, 2000.0))
    with pytest.warns(TrapWarning, match="give narrower bounds"):
        trained(chip, 20, OwnErrorTask(), WeightMGD(learning_rate=1e-9, delta=5e-5))


@pytest.mark.parametrize("offset", [1e6, -1e6, 3e8, 0.0])
@pytest.mark.parametrize("pairs", ["central", "baseline"])
def test_a_cost_with_a_large_constant_is_trained_as_one_without(offset, pairs):
    chip = OwnError(offset=offset, noise=1e-5)
    rule = WeightMGD(learning_rate=0.05, delta=0.05, pairs=pairs)
    result = trained(chip, 3000, OwnErrorTask(), rule)
    assert off_by(result, chip) < 0.02
    # what is told of costs is whole again
    assert result.history["cost"].iloc[-1] == pytest.approx(offset, abs=0.01 + 1e-7 * abs(offset))


def test_a_cost_that_falls_by_decades_keeps_its_digits():
    """What is taken off at the start would leave none of a cost of a millionth of it."""
    chip = OwnError(initial=np.full(3, 5.0))
    chip.cost = lambda *_: 1e8 * np.mean((chip.t - chip.wanted) ** 2) ** 2
    rule = WeightMGD(learning_rate=2e-11, delta=0.02, pairs="central")
    result = trained(chip, 6000, OwnErrorTask(), rule)
    first, last = result.history["cost"].iloc[[0, -1]]
    assert last < 1e-3 * first


def test_coordinate_descent_anneals_by_the_whole_cost():
    chip = OwnError(bounds=(0.0, 1.0), levels=2, offset=1e6)
    rule = CoordinateDescent(temperature=0.5, cooling=1e6)
    # moves are taken at random at a temperature of half a million
    trained(chip, 200, OwnErrorTask(), rule)
    assert len(np.unique(np.array(chip.received)[-50:], axis=0)) > 6


# files of data


def series(file, **settings):
    return SeriesTask(series=SeriesFile(file=file, washout=20, train=60, test=40, **settings))


V = np.sin(np.arange(130) / 7.0)


@pytest.mark.parametrize(("scale", "offset"), [(1, 1e9), (1e6, 193.4e12), (1e-6, 1.0), (-1, -1e8)])
def test_a_series_far_from_zero_is_the_series(scale, offset, tmp_path):
    np.save(tmp_path / "near.npy", scale * V)
    np.save(tmp_path / "far.npy", offset + scale * V)
    near, far = (series(tmp_path / name).load() for name in ("near.npy", "far.npy"))
    a, b = (z_scored(np.asarray(task.targets, float)) for task in (near, far))
    assert np.allclose(a, b, atol=1e-4)
    assert np.allclose(near.inputs, far.inputs, atol=1e-6)


def test_symbols_far_from_zero_are_told_apart():
    symbols = np.random.default_rng(0).choice([-3.0, -1, 1, 3], 100)
    parts = SeriesFile(file="symbols", washout=20, train=40, test=40)
    far = make_series(V[:100], 1e9 + symbols, parts, symbol_error_rate, "SER")
    task = series_task(far)
    assert len(task.score.levels) == 4
    assert task.score(task.test_targets, task.test_targets) == 1


@pytest.mark.parametrize("part", [0, 1], ids=["inputs", "targets"])
@pytest.mark.parametrize("offset", [1e9, -193.4e12, 1e6])
def test_data_that_single_precision_does_not_resolve_is_refused(part, offset):
    data = [X, X[:, :1]]
    data[part] = offset + 1e-7 * abs(offset) * data[part] / np.abs(data[part]).max()
    words = ("inputs", "targets")[part]
    with pytest.raises(
        RequestError, match=f"The {words} differ by .*subtract a constant from them"
    ):
        dither.make_task(*data, *data)
    with jax.enable_x64(True):
        dither.make_task(*data, *data)


def test_data_that_is_resolved_or_constant_is_taken():
    stamped = np.column_stack([1.7e9 + np.arange(8), X])
    for inputs in (X, np.ones_like(X), stamped, X + 100, (X > 0).astype(int)):
        dither.make_task(inputs, LABELS, inputs, LABELS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n".join(f"{v:.6f}".replace(".", ",") for v in 12.5 + V), "the first row is '12,500000'"),
        ("\n".join(f"{v:.3f}".replace(".", ",") for v in V), "'0,000'.*decimal commas"),
        ("\n".join(f"{k},0;{v:.3f}".replace(".", ",") for k, v in enumerate(V)), "0;0,000|;0"),
        ("\n".join(f"{v:.4E}".replace(".", ",") for v in 2 + V), "decimal commas"),
    ],
)
def test_a_table_with_decimal_commas_is_refused(text, words, tmp_path):
    (tmp_path / "german.csv").write_text(text)
    with pytest.raises(RequestError, match=words):
        series(tmp_path / "german.csv").load()


@pytest.mark.parametrize("name", ["x.csv", "x.txt"])
@pytest.mark.parametrize("before", ["", "# volt\n"])
def test_a_table_may_begin_with_a_mark_of_its_encoding(name, before, tmp_path):
    text = before + "\n".join(f"{v:.6f}" for v in V)
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert np.allclose(series(tmp_path / name).load().targets[0, :5], V[21:26], atol=1e-6)


def test_two_columns_are_two_columns(tmp_path):
    (tmp_path / "two.csv").write_text("\n".join(f"{k},{v:.6f}" for k, v in enumerate(V)))
    assert np.allclose(
        series(tmp_path / "two.csv", column=1).load().targets[0, :5], V[21:26], atol=1e-6
    )


@pytest.mark.usefixtures("lab")
def test_specifications_and_labs_files_may_begin_with_a_mark(tmp_path):
    toml = Path(dither.__file__).parent / "presets" / "xor.toml"
    (tmp_path / "x.toml").write_text(toml.read_text(), encoding="utf-8-sig")
    assert read_specification("x.toml").task == read_specification("xor").task
    (tmp_path / "lab.py").write_text(LAB, encoding="utf-8-sig")
    assert find_object("lab.py:Chip").parameters == 9


NO_NUMBERS = {
    "complex.npy": (V + 1j * V, "it holds complex numbers"),
    "table.npy": (np.array(list(zip(V, V)), dtype=[("t", "f8"), ("v", "f8")]), "values of type"),
    "objects.npy": (np.array([{}, None]), "it holds Python objects"),
    "words.npy": (np.array(["a", "b"]), "values of type"),
}


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_files_without_numbers_are_refused(name, tmp_path):
    values, words = NO_NUMBERS[name]
    np.save(tmp_path / name, values, allow_pickle=True)
    with pytest.raises(RequestError, match=words) as refusal:
        series(tmp_path / name).load()
    assert "allow_pickle" not in str(refusal.value)


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "not an NPZ file.*such as .mat"),
        (b"\x89HDF\r\n\x1a\n", "not an NPZ file"),
        (b"", "not an NPZ file"),
        (b"\x80\x04\x95 a pickle", "not an NPZ file"),
        (b"PK\x03\x04 cut", "not a valid NPZ file"),
    ],
)
def test_files_of_other_programs_are_refused_with_how(begin, words, tmp_path):
    (tmp_path / "data.mat").write_bytes(begin)
    with pytest.raises(RequestError, match=words) as refusal:
        Arrays(file=tmp_path / "data.mat").load()
    assert "pickle" not in str(refusal.value)


def test_an_archive_of_objects_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", inputs=np.array([{}, {}]), targets=np.zeros(2))
    with pytest.raises(RequestError, match="it holds Python objects"):
        Arrays(file=tmp_path / "x.npz").load()


# settings and surroundings


@pytest.mark.parametrize("largest", [10**7, 2**40, 1000])
def test_labels_that_number_no_classes_are_refused(largest):
    labels = np.array([0, 1, 2, largest, 0, 1, 2, 3])
    with pytest.raises(RequestError, match=rf"the label {largest} \(sample 3\), but labels number"):
        dither.make_task(X, labels, X, labels)


def test_labels_of_many_classes_are_taken():
    assert len(dither.make_task(X, LABELS + 998, X, LABELS + 998).classes) == 1000
    many = np.arange(1500)
    assert len(dither.make_task(many[:, None], many, many[:, None], many).classes) == 1500


@pytest.mark.parametrize(
    ("bounds", "initial", "words"),
    [
        ((-4.0, 4.0), np.full(9, 5.0), "parameter 0 at 5, outside its bounds -4 to 4"),
        ((0.0, 1.0), np.linspace(0.1, -0.1, 9), "parameter 5 at -0.025"),
        ((-4.0, 4.0), lambda seed: np.full(9, 4.1 + seed), "at 4.1, outside"),
        ((1549.99, 1550.01), np.full(9, 1549.0), "at 1549, outside its bounds 1549.99"),
    ],
)
def test_a_start_outside_the_bounds_is_refused(bounds, initial, words):
    chip = Chip()
    chip.bounds, chip.initial = bounds, initial
    with pytest.raises(RequestError, match=words):
        trained(chip)


def test_a_start_on_the_bounds_is_taken():
    chip = Chip()
    chip.bounds, chip.initial = (0.1, 0.7), np.full(9, np.float32(0.1))
    assert PythonDevice(chip).initial(0).size == 9
    chip.bounds, chip.initial = None, np.full(9, 1e6)
    assert PythonDevice(chip).initial(0)[0] == 1e6


@pytest.mark.parametrize(
    ("platform", "order"),
    [("cuda", "train xor --out run"), ("nonsense", "device check lab.py:Chip --inputs xor")],
)
@pytest.mark.usefixtures("lab")
def test_a_platform_that_is_not_there_is_told(platform, order, tmp_path):
    if platform == "cuda" and any(d.platform == "gpu" for d in jax.devices()):
        pytest.skip("there is one")
    done = subprocess.run(
        [sys.executable, "-m", "dither.cli", *order.split()],
        env={**os.environ, "JAX_PLATFORMS": platform}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"dither: JAX cannot use JAX_PLATFORMS={platform}: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
