"""A lab's own files: classes with arguments, modules beside them, extras that are missing."""

import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dither
from dither import RequestError
from dither._places import find_object
from dither.cli import app
from dither.instruments import LabDevice
from dither.remote.serve import serve

LAB = """
import helper


class Chip:
    parameters, bounds = 3, (-4.0, 4.0)

    def __init__(self, port, *, gain=1.0):
        self.port, self.gain = port, gain

    def write(self, theta):
        self.theta = theta

    def measure(self, inputs):
        import late_helper

        return helper.scaled(late_helper.sum_of(inputs, self.theta), self.gain)


class Keywords(Chip):
    def __init__(self, **settings):
        super().__init__(**settings)


class Fails(Chip):
    def __init__(self, port):
        raise OSError(f"no port {port}")


plain = Chip("COM1")
"""

HELPERS = {
    "helper.py": "def scaled(y, gain):\n    return gain * y\n",
    "late_helper.py": "def sum_of(x, w):\n    return x @ w[:2, None] + w[2]\n",
}

RUN = """
name = "own"
task = "xor"
device = {{ kind = "lab", object = "lab.py:Chip", arguments = {{ {arguments} }} }}
algorithm = {{ kind = "weight-mgd", learning_rate = 0.2, delta = 0.05 }}
until = {{ measurements = 60 }}
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A lab's folder with its files, and another one that is worked in."""
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "lab.py").write_text(LAB)
    for name, text in HELPERS.items():
        (folder / name).write_text(text)
    (tmp_path / "desk").mkdir()
    monkeypatch.chdir(tmp_path / "desk")
    monkeypatch.setattr(sys.modules["dither.cli.train"], "use_all_cores", lambda: None)
    return folder


def written(folder, arguments):
    file = folder / "run.toml"
    file.write_text(RUN.format(arguments=arguments))
    return file


def test_a_class_is_given_its_arguments(lab):
    place = f"{lab / 'lab.py'}:Chip"
    chip = find_object(place, {"port": "COM3", "gain": 2.0})
    assert (chip.port, chip.gain) == ("COM3", 2.0)
    file = written(lab, 'port = "COM3"')
    for changes, gain in (((), 1.0), (("device.arguments.gain=0.5",), 0.5)):
        specification = dither.read_specification(str(file), changes)
        chip = specification.device.connect().target
        assert (chip.port, chip.gain) == ("COM3", gain)
    # a bare word is text, as in the shell
    specification = dither.read_specification(str(file), ["device.arguments.port=COM4"])
    assert specification.device.connect().target.port == "COM4"


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("Chip", {}, r"needs the argument port; give device\.arguments = \{port = …\}"),
        ("Chip", {"gain": 2.0}, "needs the argument port;"),
        ("Chip", {"port": "COM3", "gian": 2.0}, "takes no argument 'gian'; did you mean gain"),
        ("Chip", {"prt": "COM3"}, "takes no argument 'prt'; did you mean port"),
        ("Chip", {"port": "COM3", "self": 1}, "takes no argument 'self'"),
        ("Keywords", {"prt": 3}, "cannot be made: TypeError"),
        ("Fails", {"port": "COM3"}, r"cannot be made: OSError: no port COM3 in .*lab\.py, line 27"),
        ("plain", {"port": "COM3"}, r"is not a class.*remove device\.arguments \(port\)"),
    ],
)
def test_arguments_that_do_not_fit_are_told(lab, name, arguments, words):
    device = LabDevice(object=f"{lab / 'lab.py'}:{name}", arguments=arguments)
    with pytest.raises(RequestError, match=words) as caught:
        device.connect()
    assert "\n" not in str(caught.value)


def test_a_check_is_given_arguments_and_what_is_fed_in(lab):
    Path("own.csv").write_text("a,b,y\n" + "1000,2000,0.5\n3000,4000,1.5\n" * 5)
    words = ["device", "check", f"{lab / 'lab.py'}:Chip", "--set", "device.arguments.port=COM3",
             "--inputs", "own.csv", "--set", "task.scale=minmax", "--toml", "c.toml"]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    table = tomllib.loads(Path("c.toml").read_text())
    assert table["device"]["arguments"] == {"port": "COM3"}
    assert table["task"]["scale"] == "minmax"


def test_arguments_belong_to_the_run(lab, tmp_path):
    file = written(lab, 'port = "COM3"')
    dither.read_specification(str(file)).train(tmp_path / "run")
    assert 'port = "COM3"' in (tmp_path / "run" / "spec.toml").read_text()
    longer = ["until.measurements=120"]
    same = dither.read_specification(str(file), longer).train(tmp_path / "run", resume=True)
    assert same.ledger["measurements"] >= 119
    other = dither.read_specification(str(file), [*longer, "device.arguments.gain=2.0"])
    with pytest.raises(RequestError, match="device"):
        other.train(tmp_path / "run", resume=True)


@pytest.mark.long
def test_modules_beside_a_labs_file_are_found_by_a_studys_processes(lab, tmp_path):
    base = written(lab, 'port = "COM3"')
    study = tmp_path / "study.toml"
    study.write_text(
        f'base = "{base.as_posix()}"\nseeds = 1\n'
        '[axes]\n"device.arguments.gain" = [0.5, 1.0]\n'
    )  # fmt: skip
    table = dither.run_study(study, tmp_path / "study", workers=2)
    assert table["stop_reason"].tolist() == ["measurements"] * 2
    assert table["device.arguments.gain"].tolist() == [0.5, 1.0]


# -------------------------------------------------------------------------------- missing extras

SIMULATED = '{ kind = "simulated", network = { kind = "mlp", widths = [2, 1] } }'
SCPI = (
    '{ kind = "scpi", resource = "TCPIP::127.0.0.1::9::SOCKET", '
    'channels = { v = { count = 1, bounds = [0, 1], write = "V {channel},{value:.3f}" } }, '
    'readings = { query = "R? {values}" } }'
)
KNOBS = 'object = "lab.py:plain", parameters = ["a"], outputs = ["b"]'
DEVICES = {
    "torch": ("torch", '{ kind = "torch", object = "lab.py:plain" }'),
    "aihwkit": ("aihwkit", '{ kind = "aihwkit", object = "lab.py:plain" }'),
    "qcodes": ("qcodes", f'{{ kind = "qcodes", {KNOBS} }}'),
    "ophyd": ("ophyd", f'{{ kind = "ophyd", {KNOBS} }}'),
    "pyvisa": ("scpi", SCPI),
    "pyvisa_py": ("scpi", SCPI),
    "msgpack": ("remote", '"remote://127.0.0.1:9"'),
}
STUDY = """
seeds = 1
[base]
task = "xor"
device = {device}
algorithm = {{ kind = "weight-mgd", learning_rate = 0.2, delta = 0.05 }}
until = {{ measurements = 60 }}
{more}
"""
SEARCH = '[search]\nkey = "algorithm.learning_rate"\nlow = 0.1\nhigh = 1\ntrials = 40\nseeds = 1'


@pytest.fixture
def without(monkeypatch):
    """Python without a package."""
    known = importlib.util.find_spec

    def hide(package):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *_: None if name == package else known(name)
        )
        monkeypatch.setitem(sys.modules, package, None)

    return hide


def refused(*words):
    """What a command says that is refused; it leaves the folder as it was."""
    before = sorted(Path().rglob("*"))
    done = CliRunner().invoke(app, [*map(str, words)])
    assert isinstance(done.exception, RequestError), (done.output, done.exception)
    assert sorted(Path().rglob("*")) == before
    return str(done.exception)


def studied(device=SIMULATED, more=""):
    Path("study.toml").write_text(STUDY.format(device=device, more=more))
    return "study.toml"


@pytest.mark.parametrize("package", DEVICES)
@pytest.mark.usefixtures("lab")
def test_a_devices_missing_extra_is_found_before_anything_runs(package, without):
    extra, device = DEVICES[package]
    without(package)
    said = f"The Python package {package} is not installed; run pip install 'dither[{extra}]'."
    file = studied(device)
    assert refused("study", file, "--dry-run") == said
    assert refused("study", file) == said
    assert refused("train", "xor", "--set", f"device={device}", "--replicas", "1") == said


@pytest.mark.usefixtures("lab")
def test_other_missing_extras_are_found_before_anything_runs(without):
    searching = studied(more=SEARCH)
    without("optuna")
    assert "dither[studies]" in refused("study", searching, "--dry-run")
    assert "dither[studies]" in refused("study", searching)
    plain = studied()
    without("distributed")
    for more in ((), ("--dry-run",)):
        assert "dither[cluster]" in refused("study", plain, "--cluster", "tcp://127.0.0.1:1", *more)


@pytest.mark.parametrize("tracker", ["mlflow", "tensorboard"])
@pytest.mark.usefixtures("lab")
def test_a_missing_tracker_is_found_before_anything_runs(tracker, without):
    without({"mlflow": "mlflow", "tensorboard": "tensorboardX"}[tracker])
    assert f"dither[{tracker}]" in refused("train", "xor", "--track", tracker)


@pytest.mark.usefixtures("lab")
def test_a_missing_page_is_told(without):
    without("bokeh.server.server")
    assert "dither[watch]" in refused("watch", ".")


# ----------------------------------------------------------------- what is refused leaves nothing

OTHER = '{ kind = "simulated", network = { kind = "mlp", widths = [3, 1] } }'


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "nothing"), "no preset"),
        (("train", "xor", "--set", f"device={OTHER}"), "takes inputs of shape"),
        (("train", "xor", "--set", f"device={OTHER}", "--out", "deep/run"), "takes inputs"),
        (("train", "xor", "--task", "none.csv"), "does not exist"),
        (("train", "xor", "--device", "lab.py:Chip"), "needs the argument"),
        (("train", "xor", "--device", "none.py:Chip"), "does not exist"),
        (("train", "xor", "--set", "until.score=95"), "cannot be reached"),
        (("train", "xor", "--resume"), "no run of"),
        (("train", "xor", "--track", "nobody"), "no tracker"),
        (("study", "none.toml"), "does not exist"),
        (("study", "bad.toml"), "takes inputs of shape"),
        (("study", "bad.toml", "--out", "deep/study"), "takes inputs of shape"),
        (("study", "bad.toml", "--workers", "2"), "takes inputs of shape"),
        (("study", "bad.toml", "--cluster", "none://127.0.0.1:1"), "No Dask scheduler"),
        (("study", "bad.toml", "--dry-run"), "takes inputs of shape"),
        (("report", "."), "no"),
        (("report", "none", "--out", "deep"), "no"),
        (("watch", "."), "no"),
        (("paper", "nobody"), "no paper"),
        (("paper", "andreoli2023", "99"), "no figure"),
        (("paper", "andreoli2023", "--resume"), "needs the folder"),
        (("presets", "nothing"), "no preset"),
        (("predict", "none", "--inputs", "own.csv", "--out", "told.csv"), "no run"),
        (("device", "check", "lab.py:Chip", "--toml", "chip.toml"), "needs the argument"),
        (("device", "check", "lab.py:plain", "--inputs", "none.csv", "--toml", "c.toml"),
         "does not exist"),
        (("device", "check", "lab.py:plain", "--inputs", "nothing"),
         "task has no kind 'nothing'"),
        (("device", "check", "lab.py:plain", "--set", "algorithm.delta=1", "--toml", "c.toml"),
         "no setting 'algorithm'; the known names are device, task"),
        (("device", "serve", "lab.py:Chip", "--record", "record"), "needs the argument"),
        (("device", "serve", "none.py:Chip", "--record", "record"), "does not exist"),
        (("device", "serve", "lab.py:plain", "--listen", "0.0.0.0:0", "--record", "record"),
         "needs TLS"),
        (("device", "serve", "lab.py:plain", "--listen", "here", "--record", "record"),
         "HOST:PORT"),
        (("device", "serve", "lab.py:plain", "--record", "none/record"), "cannot be written"),
        (("device", "look", "here"), "HOST:PORT"),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_nothing_behind(lab, words, said):
    for name in ("lab.py", *HELPERS):
        Path(name).write_text((lab / name).read_text())
    Path("bad.toml").write_text(STUDY.format(device=OTHER, more=""))
    sys.dont_write_bytecode, kept = True, sys.dont_write_bytecode
    try:
        assert said in refused(*words)
    finally:
        sys.dont_write_bytecode = kept


def test_a_token_that_was_there_stays(lab):
    token = Path("dither-token")
    token.write_text("x" * 30)
    token.chmod(0o600)
    with pytest.raises(RequestError, match="needs TLS"):
        serve(f"{lab / 'lab.py'}:plain", "0.0.0.0:0")
    assert token.read_text() == "x" * 30


def test_a_study_with_a_finished_run_stays(tmp_path):
    study = tmp_path / "study.toml"
    grid = '[axes]\n"device.network.widths" = [[2, 1], [3, 1]]'
    study.write_text(STUDY.format(device=SIMULATED, more=grid))
    out = tmp_path / "out"
    with pytest.raises(RequestError, match="takes inputs of shape"):
        dither.run_study(study, out)
    runs = list((out / "runs").glob("*.parquet")) if out.exists() else []
    # whichever of the two came first
    assert out.exists() == bool(runs) == (out / "study.toml").is_file()
