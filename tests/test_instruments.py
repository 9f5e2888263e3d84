"""What an object can do is found out once, and rightly; the wing imports nothing from above it."""

import ast
import subprocess
import sys
import xmlrpc.client
from pathlib import Path
from unittest.mock import MagicMock, Mock

import numpy as np
import pytest

import dither
from dither import PythonDevice, RequestError, RunError
from dither.instruments import protocols
from dither.instruments.protocols import ABILITIES, abilities_of
from dither.instruments.readings import BadReading
from dither.testing.devices import NumpyDevice

X = np.zeros((2, 3))
SRC = Path(dither.__file__).parent


class Everything(NumpyDevice):
    """Has every method of every protocol."""

    parameters, layers = 14, ()

    def write_at(self, places, values):
        self.theta[places] = values

    def cost(self, *_):
        return 0.0

    def measure_block(self, _, inputs, *__):
        return [self.forward(x) for x in inputs]

    def reconnect(self):
        pass

    def renew_lease(self):
        return True

    def flip(self, _):
        raise AssertionError


def test_each_ability_is_found_by_its_method_alone():
    assert abilities_of(Everything()) == set(ABILITIES)
    for ability in ABILITIES:
        lacking = Everything()
        (name,) = [name for name in vars(ability) if not name.startswith("_")]
        setattr(lacking, name, None)
        if ability is not protocols.Writable:
            assert abilities_of(lacking) == set(ABILITIES) - {ability}


def test_what_is_written_is_not_taken_for_mirrors():
    """A camera's flip and a device's write in one class; a setting that is called flip."""
    device = PythonDevice(Everything())
    device.write(np.ones(14))
    assert np.array_equal(device.target.theta, np.ones(14))
    setting = NumpyDevice()
    setting.flip = True
    assert PythonDevice(setting).target is setting


class Forwards:
    """An honest proxy: it passes on what the other side has."""

    def __init__(self, far):
        self._far = far

    def __getattr__(self, name):
        return getattr(self._far, name)


def test_a_proxy_that_passes_on_what_there_is_can_do_the_same():
    near, far = Everything(), NumpyDevice()
    assert abilities_of(Forwards(near)) == abilities_of(near)
    device = PythonDevice(Forwards(far))
    assert device.extent.size == far.parameters
    device.write(np.ones(14))
    assert np.array_equal(device.measure(X, None), far.forward(X))


@pytest.mark.parametrize(
    "target",
    [Mock(), MagicMock(), xmlrpc.client.ServerProxy("http://127.0.0.1:9")],
    ids=["Mock", "MagicMock", "ServerProxy"],
)
def test_what_answers_to_every_name_is_refused_in_a_sentence(target):
    with pytest.raises(RequestError, match="answers to every name") as refusal:
        PythonDevice(target, parameters=3)
    assert str(refusal.value).endswith("wrap it in a class with write and measure.")


def test_of_what_answers_to_every_name_only_what_it_declares_counts():
    class Wrapped:
        """A proxy with its two methods written down."""

        parameters, bounds = 3, (-1.0, 1.0)

        def __init__(self):
            self.proxy = xmlrpc.client.ServerProxy("http://127.0.0.1:9")

        def __getattr__(self, name):
            return getattr(self.proxy, name)

        def write(self, theta):
            self.theta = theta

        def measure(self, inputs):
            return inputs @ self.theta

    device = PythonDevice(Wrapped())
    assert device.abilities == {protocols.Writable, protocols.MeasuresOutputs}
    assert (device.extent.levels, device.fed) == ({"theta": 0}, True)
    assert device.own_initial is None
    mock = Mock()
    mock.parameters, mock.write, mock.measure = 3, lambda _: None, lambda x: x
    assert PythonDevice(mock).abilities == device.abilities


def test_what_is_given_away_is_not_used_again():
    class Scales(NumpyDevice):
        def write(self, theta):
            super().write(theta)
            theta *= 1e3

        def measure_block(self, settings, inputs, _):
            for theta, x in zip(settings, inputs):
                self.write(theta)
                yield self.measure(x)

    device = PythonDevice(Scales(), bounds=(-1.0, 1.0))
    settings = np.full((3, 14), 0.5)
    list(device.measure_block(settings, np.zeros((3, 2, 3)), None))
    assert np.all(settings == 0.5)
    theta = device.writable(settings[0])
    device.program(theta)
    device.program(np.array([0.25]), np.array([3]))
    assert np.array_equal(device.target.theta, np.where(np.arange(14) == 3, 0.25, 0.5))


def test_some_parameters_are_not_written_before_all_of_them():
    device = PythonDevice(NumpyDevice())
    with pytest.raises(RunError, match="before the first write of all"):
        device.program(np.array([0.25]), np.array([3]))


def test_the_names_of_the_wing():
    import dither.instruments as wing

    for name in wing.__all__:
        assert getattr(wing, name).__module__.startswith("dither.")
    with pytest.raises(AttributeError, match="has no attribute 'Thermometer'"):
        _ = wing.Thermometer


SERVED = """
import sys
import numpy as np
from dither.instruments import BadReading, Mirrors, PythonDevice, find_object
import dither.instruments.protocols
import dither.remote.serve
def chip(theta, inputs):
    return inputs @ theta
chip.parameters, chip.bounds = {"a": (3,), "b": (2,)}, {"a": (0, 1), "b": (-2, 2)}
device = PythonDevice(chip)
device.write(device.initial(0))
device.program(np.array([0.5]), np.array([4]))
device.measure(np.zeros((2, 5)), None)
print(sorted({"jax", "equinox", "optax", "scipy", "pydantic"} & set(sys.modules)))
"""


def test_what_serves_a_device_imports_no_jax():
    told = subprocess.run([sys.executable, "-c", SERVED], capture_output=True, text=True)
    assert told.stdout == "[]\n", told.stderr


def imported(file):
    """The modules of dither that a file imports, at its head or inside."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name for name in names if name and name.startswith("dither."))


@pytest.mark.parametrize(
    ("part", "above"),
    [
        ("devices", "instruments algorithms training studies watch cli interop papers remote laws"),
        ("networks", "devices instruments algorithms training studies watch cli interop papers"),
        ("instruments", "devices algorithms training studies watch cli interop papers laws"),
    ],
)
def test_imports_run_one_way(part, above):
    forbidden = tuple(f"dither.{name}" for name in above.split())
    for file in (SRC / part).rglob("*.py"):
        wrong = [n for n in imported(file) if n.startswith(forbidden)]
        assert not wrong, f"{file.name} imports {wrong}"


def test_memory_that_serves_again_is_never_what_the_device_holds():
    device = dither.PythonDevice(NumpyDevice((3, 2, 2)))
    rng = np.random.default_rng(0)
    held = rng.normal(size=device.space.size)
    device.program(device.next_settings(held))
    assert device.writes() == 1
    for _ in range(5):
        device.next_settings(rng.normal(size=device.space.size))
    device.program(device.next_settings(held))
    assert device.writes() == 0
    device.program(device.next_settings(held + 1))
    device.program(device.next_settings(held))
    assert device.writes() == 2
    assert np.array_equal(device.target.theta, held)


@pytest.mark.parametrize("bad", [None, 0, 2, 4])
def test_an_array_of_readings_is_checked_as_one_by_one(bad):
    class Block(NumpyDevice):
        def measure_block(self, *_):
            readings = np.arange(10.0).reshape(5, 1, 2)
            if bad is not None:
                readings[bad, 0, 1] = np.nan
            return readings

    device, good = dither.PythonDevice(Block((3, 2, 2))), []
    settings = np.arange(5.0)[:, None] * np.ones(device.space.size)
    try:
        for reading in device.measure_block(settings, np.zeros((5, 1, 3)), None):
            good.append(reading)
    except BadReading:
        assert bad is not None
    assert len(good) == (5 if bad is None else bad)
    assert all(np.array_equal(y, [[2 * k, 2 * k + 1]]) for k, y in enumerate(good))
