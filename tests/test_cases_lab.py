"""What users run into with real devices and with files of data, each kind with several members."""

import asyncio
import json

import numpy as np
import pytest
from typer.testing import CliRunner

import dither
from dither import PythonDevice, RequestError, Until
from dither._numbers import finite, real
from dither.algorithms import WeightMGD
from dither.cli import app
from dither.instruments.check import check_device
from dither.instruments.readings import BadReading
from dither.tasks import XOR
from dither.training import read_specification

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
        parameters = {"dense0/bias": (1,), "dense0/weight": (2, 1)}
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
        (Stale, "the very same reading comes back"),
        (AtTheRail, "the very same reading comes back"),
        (StaleMirrors, "the very same reading comes back"),
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
    "nothing": (lambda _: None, "None, and numbers are due"),
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

    def write(self, theta):
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


async def coroutine(theta, x):
    return x


coroutine.parameters = 9


@pytest.mark.parametrize(
    "chip", [AsyncWrite, AsyncSafe, Plan, Decorated, Future, AsyncMirrors, lambda: coroutine]
)
def test_what_is_only_prepared_by_a_call_is_refused(chip):
    with pytest.raises(RequestError, match="only prepared when it is called"):
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
    assert f"{place}); mend it" in failure
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
