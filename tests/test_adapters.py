"""The battery that every adapter must pass that this machine can install."""

import math
import re
import sys
from collections.abc import Callable
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tomlkit
from typer.testing import CliRunner

import dither
from dither import MLP, PythonDevice, RequestError, SimulatedDevice, Until, WeightMGD
from dither.cli import app
from dither.instruments.aihwkit import AihwkitDevice
from dither.instruments.connection import AbstractConnection
from dither.instruments.ophyd import OphydDevice
from dither.instruments.qcodes import QcodesDevice
from dither.instruments.scpi import ScpiConnection
from dither.instruments.scpi_answers import InstrumentError
from dither.instruments.scpi_commands import Channels, Readings
from dither.instruments.torch import TorchDevice
from dither.networks.jax_function import JaxFunction
from dither.training.kinds import DEVICES
from dither.training.progress import ProgressBar
from dither.training.safety import UnsafeWarning

EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.append(str(EXAMPLES))
from scpi_bench import Bench, Chip  # noqa: E402

BOUNDS = (-2.0, 2.0)
RNG = np.random.default_rng(0)
P = (3 + 1) * 2 + (2 + 1) * 2
START, TEACHER = RNG.uniform(-0.5, 0.5, P), RNG.uniform(-1.5, 1.5, P)
INPUTS = RNG.normal(size=(8, 3))
DELTA = 0.1


def network(theta, inputs):
    """Three inputs, two tanh neurons, two outputs; biases before weights."""
    b1, w1, b2, w2 = np.split(theta, [2, 8, 10])
    return np.tanh(inputs @ w1.reshape(3, 2) + b1) @ w2.reshape(2, 2) + b2


def network_of_torch(theta, inputs):
    """The same with weights before biases, a row for each neuron, as PyTorch has it."""
    w1, b1, w2, b2 = np.split(theta, [6, 8, 12])
    return np.tanh(inputs @ w1.reshape(2, 3).T + b1) @ w2.reshape(2, 2).T + b2


class Record:
    """Counts the readings of a device, keeps the extremes of what it holds, fails some readings."""

    def __init__(self):
        self.readings, self.lowest, self.highest, self.fails = 0, math.inf, -math.inf, ()

    def read(self, theta):
        self.readings += 1
        self.lowest = min(self.lowest, np.min(theta))
        self.highest = max(self.highest, np.max(theta))
        if self.readings in self.fails:
            raise ConnectionError("no light")


class Case(NamedTuple):
    """A device under test; `readings` of it in a measurement of four samples."""

    device: Any
    record: Record
    model: Callable[..., Any] = network
    readings: int = 1
    is_safe: Callable[[], bool] = lambda: True


@contextmanager
def torch_module():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.set_num_threads(1)
    record = Record()
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh(), torch.nn.Linear(2, 2))
    module.register_forward_pre_hook(
        lambda *_: record.read(torch.nn.utils.parameters_to_vector(module.parameters()).numpy())
    )
    with torch.no_grad():
        torch.nn.utils.vector_to_parameters(torch.tensor(START).float(), module.parameters())
    yield Case(TorchDevice(module, bounds=BOUNDS), record, network_of_torch)


@contextmanager
def analog_tiles():
    reason = "aihwkit is not installed: its source needs OpenBLAS and PyTorch at hand to be built"
    torch = pytest.importorskip("torch", reason="torch is not installed")
    nn = pytest.importorskip("aihwkit.nn", reason=reason)
    configs = pytest.importorskip("aihwkit.simulator.configs", reason=reason)
    record, ideal = Record(), configs.FloatingPointRPUConfig()
    layers = [nn.AnalogLinear(p, 2, bias=True, rpu_config=ideal) for p in (3, 2)]
    for layer, theta in zip(layers, np.split(START, [8])):
        weight, bias = np.split(theta.astype(np.float32), [theta.size - 2])
        layer.set_weights(torch.tensor(weight.reshape(2, -1)), torch.tensor(bias))
    module = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1])
    module.register_forward_pre_hook(
        lambda *_: record.read(
            np.concatenate([a.numpy().ravel() for one in layers for a in one.get_weights()])
        )
    )
    yield Case(AihwkitDevice(module, bounds=BOUNDS), record, network_of_torch)


class RecordedChip(Chip):
    """The bench's chip with the battery's network; a failed reading is no number."""

    def __init__(self, record, **settings):
        super().__init__((3, 2, 2), noise=0.0, **settings)
        self.record = record

    def outputs(self, inputs):
        try:
            self.record.read(self.voltages())
        except ConnectionError:
            return np.full((len(inputs), 2), np.nan)
        return network(self.voltages(), inputs)


def scpi_connection(port, **settings):
    given = {
        "resource": f"TCPIP0::127.0.0.1::{port}::SOCKET",
        "identity": "DITHER,CHIP3",
        "setup": ("*CLS", "OUTP ON"),
        "safe": ("OUTP OFF",),
        "timeout": 20.0,
        "initial": tuple(START),
        "channels": {"all": Channels(count=P, write="SOUR:VOLT:LIST {values}", bounds=BOUNDS)},
        "readings": Readings(present="INP:DATA {values}", query="READ?", whole_batch=True),
    }
    return ScpiConnection(**{**given, **settings})


@contextmanager
def scpi_bench(**settings):
    pytest.importorskip("pyvisa_py", reason="pyvisa-py is not installed")
    record = Record()
    with Bench(RecordedChip(record)) as bench:
        device = scpi_connection(bench.port, **settings).connect()
        yield Case(device, record, is_safe=lambda: not bench.instrument.chip.on)


def scpi_by_channel():
    """Channels that are set one by one, samples that are read one by one."""
    one = {"write": "SOUR{channel}:VOLT {value}", "bounds": BOUNDS}
    return scpi_bench(
        channels={"hidden": Channels(count=8, **one), "output": Channels(count=6, first=9, **one)},
        readings=Readings(present="INP:DATA {values}", query="READ?"),
        ready="*OPC?",
    )


@contextmanager
def qcodes_parameters():
    mock = pytest.importorskip(
        "qcodes.instrument_drivers.mock_instruments", reason="qcodes is not installed"
    )
    record = Record()
    dac = mock.DummyInstrument("dac", gates=[f"ch{n}" for n in range(P + 3)])
    meter = mock.DummyInstrument("meter", gates=[])
    knobs = [dac.parameters[f"ch{n}"] for n in range(P + 3)]

    def light():
        held = np.array([knob() for knob in knobs])
        record.read(held[:P])
        return network(held[:P], held[P:])

    meter.add_parameter("light", get_cmd=light)
    device = QcodesDevice(
        knobs[:P], [meter.light], knobs[P:], bounds=BOUNDS, initial=START, safe=0.0
    )
    try:
        yield Case(device, record, network, 4, lambda: not any(knob() for knob in knobs[:P]))
    finally:
        dac.close()
        meter.close()


@contextmanager
def ophyd_devices():
    sim = pytest.importorskip("ophyd.sim", reason="ophyd is not installed")
    record = Record()
    axes = [sim.SynAxis(name=f"m{n}") for n in range(P + 3)]

    def held():
        return np.array([axis.readback.get() for axis in axes], float)

    def second():
        return network(held()[:P], held()[P:])[1]

    def first():
        record.read(held()[:P])
        return network(held()[:P], held()[P:])[0]

    readouts = [sim.SynSignal(name=f"y{n}", func=f) for n, f in enumerate((first, second))]
    record.readings = 0  # they have been read once when they were made
    device = OphydDevice(axes[:P], readouts, axes[P:], bounds=BOUNDS, initial=START, safe=0.0)
    yield Case(device, record, network, 4, lambda: not held()[:P].any())


CASES = {
    "torch": torch_module,
    "scpi": scpi_bench,
    "scpi, by channel": scpi_by_channel,
    "qcodes": qcodes_parameters,
    "ophyd": ophyd_devices,
    "aihwkit": analog_tiles,
}


@pytest.fixture(params=CASES)
def case(request):
    with CASES[request.param]() as made:
        if request.param == "scpi, by channel":
            made = made._replace(readings=4)
        yield made


def test_every_adapter_has_a_case():
    foreign = {kind for kind, cls in DEVICES.items() if issubclass(cls, AbstractConnection)}
    assert foreign - {"lab", "lab-fleet", "remote"} <= {name.partition(",")[0] for name in CASES}


def teacher_task(model):
    targets = model(TEACHER, INPUTS)
    return dither.make_task(INPUTS, targets, INPUTS, targets, cost="mse", batch=4)


def train(device, model, measurements, rate=0.1, **more):
    return dither.train(
        device,
        teacher_task(model),
        WeightMGD(learning_rate=rate, delta=DELTA, pairs="central"),
        until=Until(measurements=measurements),
        **{"score_every": 10**6, "key": 2, **more},
    )


@cache
def trained_as_a_function(model, *parts):
    """The parameters that the same network reaches as a plain function of NumPy arrays."""

    def chip(theta, inputs):
        return model(theta, inputs)

    chip.parameters, chip.bounds, chip.initial = P, BOUNDS, START.astype(np.float32)
    with TemporaryDirectory() as folder:
        out = folder if len(parts) > 1 else None
        for n, most in enumerate(parts):
            result = train(chip, model, most, out=out, resume=n > 0)
    return result.parameters


def test_what_is_written_is_what_answers(case):
    device = case.device if isinstance(case.device, PythonDevice) else PythonDevice(case.device)
    assert device.space.size == P
    assert np.allclose(device.initial(0), START, atol=1e-7)
    for theta in (START, TEACHER):
        device.write(theta)
        outputs = device.measure(INPUTS[:5], np.zeros(5))
        # single precision at most
        assert np.allclose(outputs, case.model(theta, INPUTS[:5]), rtol=0, atol=3e-6)
    some = np.array([1, 12])
    device.program(np.array([0.5, -0.25]), some)
    theta = TEACHER.copy()
    theta[some] = 0.5, -0.25
    outputs = device.measure(INPUTS[:5], np.zeros(5))
    assert np.allclose(outputs, case.model(theta, INPUTS[:5]), rtol=0, atol=3e-6)


def test_training_goes_as_on_a_plain_function_and_ends_in_the_safe_state(case):
    result = train(case.device, case.model, 60)
    targets = case.model(TEACHER, INPUTS)
    before, after = (
        np.mean((case.model(theta, INPUTS) - targets) ** 2)
        for theta in (START, result.parameters[0])
    )
    assert after < 0.8 * before
    # a rounding of 1e-7 in a cost is 1e-6 in an estimate, over 30 steps of 0.1
    twin = trained_as_a_function(case.model, 60)
    assert np.allclose(result.parameters, twin, rtol=0, atol=1e-4)
    assert case.is_safe()


def test_nothing_outside_the_bounds_is_written(case):
    train(case.device, case.model, 40, rate=20.0)
    # some of them are reached
    assert -2 <= case.record.lowest < -1.99 or 1.99 < case.record.highest <= 2
    assert case.record.lowest >= -2
    assert case.record.highest <= 2


def test_a_failed_reading_is_counted_and_asked_again(case):
    # after the self-test there are 38 measurements and a look of 2; the second failure is that of a
    # pair's other side, whose partner is measured again
    case.record.fails = (7 * case.readings, 21 * case.readings + 1)
    result = train(case.device, case.model, 44)
    assert result.ledger["failed"] == 2
    twin = trained_as_a_function(case.model, 41)
    assert np.allclose(result.parameters, twin, rtol=0, atol=1e-4)
    assert case.is_safe()


@pytest.mark.quick("scpi, by channel")
def test_a_run_goes_on_from_its_checkpoint(case, tmp_path):
    train(case.device, case.model, 30, out=tmp_path / "run")
    assert case.is_safe()
    result = train(case.device, case.model, 60, out=tmp_path / "run", resume=True)
    twin = trained_as_a_function(case.model, 30, 60)
    assert np.allclose(result.parameters, twin, rtol=0, atol=1e-4)


# ------------------------------------------------------------------------------------------ SCPI


@contextmanager
def small_bench(timeout=1.0, **settings):
    pytest.importorskip("pyvisa_py", reason="pyvisa-py is not installed")
    with Bench(RecordedChip(Record())) as bench:
        yield bench, scpi_connection(bench.port, timeout=timeout, **settings).connect()


def test_a_pulled_cable_is_a_failed_measurement_and_the_device_is_restored():
    with small_bench() as (bench, device):
        device.write(TEACHER)
        expected = device.measure(INPUTS, INPUTS)
        bench.pull_cable()
        with pytest.raises((OSError, RuntimeError, TimeoutError)):
            device.measure(INPUTS, INPUTS)
        with pytest.raises((OSError, RuntimeError, TimeoutError)):
            device.measure(INPUTS, INPUTS)
        bench.instrument.answer("*RST")
        bench.plug_in()
        assert np.array_equal(device.measure(INPUTS, INPUTS), expected)
        assert bench.instrument.connections == 2


def test_a_late_answer_is_not_taken_for_the_next():
    with small_bench() as (bench, device):
        device.write(START)
        bench.instrument.silent = True
        with pytest.raises(TimeoutError, match="within 1 s"):
            device.measure(INPUTS, INPUTS)
        bench.instrument.silent = False
        device.write(TEACHER)
        found = device.measure(INPUTS[:3], INPUTS)
        assert np.allclose(found, network(TEACHER, INPUTS[:3]), atol=1e-8)


def test_what_the_instrument_refuses_fails_with_its_words():
    with small_bench() as (bench, device):
        device.write(START)
        instrument = device.target
        instrument._held[3] = 7.0  # past dither's own bounds, to the instrument
        with pytest.raises(InstrumentError, match="-222"):
            instrument.write(instrument._held)
        device.write(START)
        assert np.array_equal(bench.instrument.chip.wanted, START)


def test_another_instrument_is_refused_and_left_alone():
    with small_bench(identity="KEITHLEY") as (bench, device):
        bench.instrument.chip.on = True
        with pytest.raises(RequestError, match=r"CHIP3.*, not 'KEITHLEY'"):
            train(device, network, 10)
        assert bench.instrument.chip.on
        assert bench.instrument.voltages_asked == 0


def test_a_device_that_cannot_be_made_safe_says_so():
    with small_bench() as (bench, device):
        device.write(START)
        bench.pull_cable()
        with pytest.raises(dither.RunError, match="did not accept OUTP OFF"):
            device.safe()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"write": "VOLT 3"}, "needs either {value} or {values}"),
        ({"write": "VOLT {value}"}, "needs {channel}"),
        ({"write": "VOLT{chanel} {value}"}, "cannot have the field {chanel}"),
        ({"write": "VOLT{channel {value}"}, "expected"),
        ({"bounds": [1.0, -1.0]}, "low < high"),
        ({"bounds": [-0.006, 1.0], "write": "V{channel} {value:.2f}"}, "outside the bounds"),
        ({"write": "V{channel} {value:d}"}, "format code 'd'"),
        ({"wirte": "V{channel} {value}"}, "wirte"),
    ],
)
def test_wrong_channels_are_refused_with_the_place(settings, sentence, tmp_path):
    channels = {"count": 2, "write": "VOLT{channel} {value}", "bounds": [-1.0, 1.0], **settings}
    table = tomlkit.parse((EXAMPLES / "scpi_bench.toml").read_text())
    table["device"]["channels"] = {"dac": channels}
    file = tmp_path / "bench.toml"
    file.write_text(tomlkit.dumps(table))
    with pytest.raises(RequestError, match=re.escape(sentence)) as caught:
        dither.read_specification(str(file))
    assert "device.channels.dac" in str(caught.value)


def test_the_bench_is_trained_from_its_file():
    """To 95 %; the voltages that the server itself saw lie within the bounds."""
    pytest.importorskip("pyvisa_py", reason="pyvisa-py is not installed")
    with Bench(Chip()) as bench:
        address = f"device.resource=TCPIP0::127.0.0.1::{bench.port}::SOCKET"
        result = dither.read_specification(
            str(EXAMPLES / "scpi_bench.toml"),
            [address, "until.measurements=6000", "device.settle=0", "device.timeout=5"],
        ).train()
        assert result.ledger["failed"] == 0
        assert result.score >= 0.95
        assert bench.instrument.voltages_asked == 220 * result.ledger["writes"]
        assert -4 <= bench.instrument.lowest < bench.instrument.highest <= 4
        assert not bench.instrument.chip.on


def test_the_tutorials_way_from_the_check_to_a_chip_whose_cable_was_pulled(tmp_path, capfd):
    """Short of its training: a pull that the run survives, one that it does not, and --resume."""
    pytest.importorskip("pyvisa_py", reason="pyvisa-py is not installed")
    file, chip = tmp_path / "bench.toml", tmp_path / "chip.toml"
    with Bench(Chip(settling=0.001)) as bench:
        text = (EXAMPLES / "bench.toml").read_text().replace("::5025::", f"::{bench.port}::")
        file.write_text(
            text.replace("[device]", "[device]\ntimeout = 0.6").replace("tests = 200", "tests = 20")
        )
        told = CliRunner().invoke(
            app, ["device", "check", str(file), "--repeats", "4", "--toml", str(chip)]
        )
        assert told.exit_code == 0, told.output
        assert not bench.instrument.chip.on
        few = ["score_every=30", "until.measurements=150"]
        pulled = []

        def pull(progress):
            if progress.measurements >= 60 and not pulled:
                pulled.append(progress.measurements)
                bench.pull_cable()

        def plug_in(progress):
            if progress.failing:
                bench.plug_in()

        specification = dither.read_specification(str(chip), few)
        with ProgressBar("chip") as bar:
            result = specification.train(tmp_path / "short", observers=[bar, pull, plug_in])
        assert result.stop_reason == "measurements"
        assert result.ledger["failed"] >= 2
        lines = capfd.readouterr().err
        assert lines.index("the device fails") < lines.index("the device answers again")
        pulled.clear()
        specification = dither.read_specification(str(chip), [*few, "until.failures=3"])
        with pytest.warns(UnsafeWarning, match="did not accept OUTP OFF"):
            result = specification.train(tmp_path / "long", observers=[pull])
        assert result.stop_reason == "failures"
        assert result.failure.count("--resume") == 1
        assert "DITHER,CHIP49 failed 3 times in a row" in result.failure
        assert bench.instrument.chip.on
        bench.plug_in()
        result = specification.train(tmp_path / "long", resume=True)
        assert result.stop_reason == "measurements"
        assert result.ledger["failed"] == 3
        assert (tmp_path / "long" / "history.parquet").exists()
        assert not bench.instrument.chip.on
        assert -4 <= bench.instrument.lowest < bench.instrument.highest <= 4


# ---------------------------------------------------------------------- the other ones' own ways


def test_qcodes_validators_and_ophyd_limits_are_bounds():
    mock = pytest.importorskip(
        "qcodes.instrument_drivers.mock_instruments", reason="qcodes is not installed"
    )
    dac = mock.DummyInstrument("dac", gates=["a", "b"])
    try:
        space = PythonDevice(QcodesDevice([dac.a], [dac.b], bounds=(-1000.0, 0.1))).space
        assert (space.parameters[0].low, space.parameters[0].high) == (-800, 0.1)
        with pytest.raises(RequestError, match="safe value 500 is outside"):
            QcodesDevice([dac.a], [dac.b], safe=500.0)
        with pytest.raises(RequestError, match="the same name"):
            QcodesDevice([dac.a, dac.a], [dac.b])
    finally:
        dac.close()
    ophyd = pytest.importorskip("ophyd", reason="ophyd is not installed")
    motor = ophyd.SoftPositioner(name="m", limits=(-3, 4))
    assert OphydDevice([motor], [motor]).bounds == {"m": (-3.0, 4.0)}


def test_bounds_of_each_parameter_are_kept_in_double_precision():
    received = []

    class Chip:
        parameters: ClassVar = {"a": (1,), "b": (2,)}
        bounds: ClassVar = {"a": (0.1, 0.3), "b": (-0.7, 0.9)}

        def write(self, theta):
            received.append(theta)

        def measure(self, inputs):
            return inputs[:, :1]

    device = PythonDevice(Chip())
    for far in (-9.0, 9.0):
        device.write(np.full(3, far))
    assert np.array_equal(received, [[0.1, -0.7, -0.7], [0.3, 0.9, 0.9]])
    device.program(*[device.writable_at(np.full((1, 1), 9.0), np.array([[0]]))[0], np.array([0])])
    assert received[-1][0] == 0.3
    Chip.bounds = {"a": (0, 1)}
    with pytest.raises(RequestError, match="one for each name"):
        PythonDevice(Chip())


LAB = """
import numpy as np


def torch_net():
    import torch
    return torch.nn.Linear(3, 2)


class Bench:
    def __init__(self):
        from {module} import {knob} as Knob, {readout} as Readout
        self.dac = type("Dac", (), dict())()
        for n in range(6):
            setattr(self.dac, f"ch{{n}}", {make})
        self.light = {light}

    def outputs(self):
        held = np.array([{value} for n in range(6)])
        return float(held[:3] @ held[3:])


net = torch_net() if "{module}" == "torch" else None
"""


@pytest.mark.parametrize("kind", ["torch", "qcodes", "ophyd"])
def test_a_specification_names_what_to_train(kind, tmp_path):
    pytest.importorskip(kind, reason=f"{kind} is not installed")
    names = {
        "torch": ("torch", "nn", "nn", "None", "None", "0.0"),
        "qcodes": (
            "qcodes.parameters", "Parameter", "Parameter",
            'Knob(f"ch{n}", set_cmd=None, get_cmd=None, initial_value=0.5)',
            'Readout("light", get_cmd=self.outputs)', 'getattr(self.dac, f"ch{n}").get()',
        ),
        "ophyd": (
            "ophyd.sim", "SynAxis", "SynSignal",
            'Knob(name=f"ch{n}", value=0.5)',
            'Readout(name="light", func=self.outputs)',
            'getattr(self.dac, f"ch{n}").readback.get()',
        ),
    }[kind]  # fmt: skip
    keys = ("module", "knob", "readout", "make", "light", "value")
    place = tmp_path / f"lab_{kind}.py"
    place.write_text(LAB.format(**dict(zip(keys, names))))
    device = {"kind": kind, "object": f"{place}:net", "bounds": [-1.0, 1.0]}
    if kind != "torch":
        knobs = [f"dac.ch{n}" for n in range(6)]
        device |= {"object": f"{place}:Bench", "parameters": knobs[:3], "inputs": knobs[3:]}
        device["outputs"] = ["light"]
    made = DEVICES[kind].model_validate(device).connect()
    assert made.space.size == (8 if kind == "torch" else 3)
    made.write(np.full(made.space.size, 0.25))
    expected = 0.25 * INPUTS[:2].sum(1) + (0.25 if kind == "torch" else 0)
    reading = made.measure(INPUTS[:2], INPUTS)
    assert np.allclose(reading, expected[:, None], atol=1e-6)
    if kind != "torch":
        device["outputs"] = ["dac.lihgt"]
        with pytest.raises(RequestError, match=r"no 'dac\.lihgt'"):
            DEVICES[kind].model_validate(device).connect()


def test_what_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RequestError, match=r"pip install 'dither\[torch\]'"):
        TorchDevice(None)
    monkeypatch.setitem(sys.modules, "pyvisa", None)
    with pytest.raises(RequestError, match=r"pip install 'dither\[scpi\]'"):
        scpi_connection(1).connect()


# ------------------------------------------------------------------------------ functions in JAX

SHAPES = {
    "dense0/weight": (3, 2), "dense0/bias": (2,), "dense1/weight": (2, 2), "dense1/bias": (2,),
}  # fmt: skip


def jax_network(parameters, inputs):
    hidden = jnp.tanh(inputs @ parameters["dense0/weight"] + parameters["dense0/bias"])
    return hidden @ parameters["dense1/weight"] + parameters["dense1/bias"]


def test_a_jax_function_trains_as_the_network_that_it_is():
    function = JaxFunction(object=jax_network, parameters=SHAPES, input=3)
    mlp = MLP(widths=(3, 2, 2))
    theta = {name: jnp.asarray(RNG.normal(size=shape)) for name, shape in SHAPES.items()}
    inputs = jnp.asarray(INPUTS)
    assert function.outputs == 2
    assert np.allclose(function(theta, inputs), mlp(theta, inputs), atol=1e-6)
    bounds = {"kind": "bounds", "low": -1, "high": 1}
    device = SimulatedDevice(network=function, imperfections=(bounds,))
    result = train(device, network, 400)
    assert np.abs(result.parameters).max() <= 1
    assert result.replicas[0].test_cost < 0.5 * np.mean(network(TEACHER, INPUTS) ** 2)


def test_a_jax_function_of_an_array_named_in_a_table(tmp_path):
    place = tmp_path / "lab_jax.py"
    place.write_text("def f(theta, inputs):\n    return inputs @ theta\n")
    device = SimulatedDevice.model_validate(
        {"network": {"kind": "jax-function", "object": f"{place}:f", "parameters": 3, "input": 3}}
    )
    network = device.network
    assert network.outputs == 1
    theta = network.init(jax.random.key(0))
    assert np.allclose(network(theta, jnp.asarray(INPUTS))[:, 0], INPUTS @ theta["theta"])
    again = SimulatedDevice.model_validate(device.model_dump(mode="json"))
    assert again == device


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda theta, inputs: np.dot(inputs, theta) * float(theta[0]), "cannot trace"),
        (lambda theta, inputs: jnp.sum(inputs @ theta), "one row"),
        (lambda theta: theta, "cannot trace"),
    ],
)
def test_functions_that_do_not_fit_are_refused(function, sentence):
    network = JaxFunction(object=function, parameters=3, input=3)
    with pytest.raises(RequestError, match=sentence):
        _ = network.outputs
