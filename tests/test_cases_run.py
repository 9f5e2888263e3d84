"""What users of other packages have run into, tried here: runs, the shell, Python's own values."""

import json
import os
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import dither
from dither import RequestError, Until
from dither._kernels import built
from dither._numbers import whole_number
from dither._places import find, find_object
from dither._seal import sealed_json
from dither.studies.report import write_report
from dither.tasks import XOR, Arrays
from dither.tasks.series_file import SeriesFile
from dither.training.drawing import figure_bytes
from dither.training.figure import run_figure
from dither.training.fingerprint import fingerprint
from dither.training.folder import LEASE, free_folder, latest_folder
from dither.training.lease import Lease
from dither.watch.run import RunWatch

pytestmark = pytest.mark.long

CHIP = dither.SimulatedDevice(network=dither.MLP(widths=(2, 3, 1)))
RULE = dither.WeightMGD(learning_rate=1.0, delta=0.05)
SHORT = Until(measurements=40)


def shell(*arguments, cwd, module="dither.cli", **environment):
    """Run `dither` as its own process."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
        errors="replace",
        timeout=300,
    )  # fmt: skip


def train(until=SHORT, device=CHIP, task=None, algorithm=RULE, **more):
    return dither.train(device, task or XOR(), algorithm, until=until, **more)


# ------------------------------------------------------------------- one folder, one owner


def test_four_runs_started_at_once_have_a_folder_each(tmp_path):
    few = ("--set", "until.measurements=40", "--set", "until.score=1.0", "--json")
    command = [sys.executable, "-m", "dither.cli", "train", "xor", "--replicas", "1", *few]
    started = [
        subprocess.Popen([*command, "--seed", str(seed)], cwd=tmp_path, stdout=subprocess.PIPE)
        for seed in range(4)
    ]
    told = [json.loads(process.communicate(timeout=300)[0]) for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert len({one["out"] for one in told}) == 4
    for one in told:
        folder = tmp_path / one["out"]
        assert json.loads((folder / "result.json").read_text())["seed"] == one["seed"]
        assert f"seed = {one['seed']}\n" in (folder / "spec.toml").read_text()


def test_many_ask_for_a_free_folder_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(free_folder, ["chip"] * 64))
    assert {folder.name for folder in folders} == {f"chip-{k}" for k in range(1, 65)}


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_is_still_going_is_left_alone(tmp_path, resume):
    refused = []

    def another(now):
        del now
        with pytest.raises(RequestError) as caught:
            train(out=tmp_path / "run", resume=resume)
        refused.append(str(caught.value))

    whole = train(out=tmp_path / "run", observers=[another])
    assert whole.ledger["measurements"] == 40
    assert refused
    if resume:
        assert all("still going" in one and f"process {os.getpid()}" in one for one in refused)
    assert not (tmp_path / "run" / LEASE).exists()


def test_a_start_beside_one_that_has_not_written_yet_is_refused(tmp_path):
    with (
        Lease.take(tmp_path / "run" / LEASE),
        pytest.raises(RequestError, match=r"still going \(process \d+ on .+\); give another --out"),
    ):
        train(out=tmp_path / "run")


def test_a_run_whose_process_died_is_gone_on_with_at_once(tmp_path):
    train(out=tmp_path / "run")
    file = tmp_path / "run" / LEASE
    code = (
        "import os; from pathlib import Path; from dither.training.lease import Lease; "
        f"Lease.take(Path({str(file)!r})); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert file.exists()
    again = train(Until(measurements=60), out=tmp_path / "run", resume=True)
    assert again.ledger["measurements"] == 60
    assert not file.exists()


@pytest.mark.parametrize(("silent", "free"), [(20, False), (70, True)])
def test_a_run_on_another_machine_counts_as_dead_after_a_minute(
    tmp_path, silent, free, monkeypatch
):
    monkeypatch.setattr("dither.training.lease.SIGN_OF_LIFE_EVERY", 0.1)
    train(out=tmp_path / "run")
    file = tmp_path / "run" / LEASE
    file.write_bytes(sealed_json({"host": "elsewhere", "pid": 7, "born": 0.0, "since": 0.0}))
    last = time.time() - silent
    os.utime(file, (last, last))
    if free:
        train(Until(measurements=60), out=tmp_path / "run", resume=True)
        return
    with pytest.raises(RequestError, match=r"still going \(process 7 on elsewhere\)"):
        train(Until(measurements=60), out=tmp_path / "run", resume=True)


def test_what_a_killed_start_has_left_is_no_run(tmp_path, monkeypatch):
    monkeypatch.setattr("dither.training.lease.SIGN_OF_LIFE_EVERY", 0.1)
    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / LEASE
    file.write_bytes(sealed_json({"host": "elsewhere", "pid": 7, "born": 0.0, "since": 0.0}))
    os.utime(file, (0, 0))
    (tmp_path / "run" / ".spec.toml-1234").write_text("name")
    train(out=tmp_path / "run")


def test_what_is_refused_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError):
        train(out="a/b/c", task=dither.tasks.NIST7x7())
    done = shell("train", "xor", "--set", "device.network.widths=[5, 1]", cwd=tmp_path)
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------- names as users have them


@pytest.mark.parametrize("name", ["chip[1]", "a*", "what?", "[!a]", "ü 3", "$x", "chip.2", "-"])
def test_runs_of_any_name_get_a_folder_each(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert [free_folder(name).name for _ in range(3)] == [f"{name}-{k}" for k in (1, 2, 3)]
    (tmp_path / "runs" / f"{name}-2" / "spec.toml").write_text("")
    assert latest_folder(name) == Path("runs") / f"{name}-2"


@pytest.mark.parametrize("other", ["chip-b-1", "chip-1-1", "chip-b", "chipx-1", "xchip-1", "chip-"])
def test_resume_takes_its_own_run(tmp_path, monkeypatch, other):
    monkeypatch.chdir(tmp_path)
    for name in ("chip-1", other):  # the other is the later one
        Path("runs", name).mkdir(parents=True)
        Path("runs", name, "spec.toml").write_text("")
        os.utime(Path("runs", name, "spec.toml"), (len(name), len(name)))
    assert latest_folder("chip") == Path("runs") / "chip-1"


@pytest.mark.parametrize("name", ["a/b", "..", "", "../x", "a\\b", "x\n"])
def test_a_name_that_names_no_folder_is_refused(name):
    with pytest.raises(RequestError, match=r"name: .*without slashes"):
        dither.read_specification("xor", [f"name={json.dumps(name)}"])


def test_a_name_that_is_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match="cannot be made: File name too long; give --out"):
        free_folder("x" * 300)


# ------------------------------------------------------------------ resume means the same run

X = np.random.default_rng(0).normal(size=(40, 2))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


class Chip:
    """Two weights and a bias, and parameters that do nothing."""

    bounds = (-8.0, 8.0)

    def __init__(self, parameters=3, bounds=(-8.0, 8.0)):
        self.parameters, self.bounds = parameters, bounds

    def write(self, theta):
        self.theta = np.array(theta)

    def measure(self, inputs):
        z = inputs @ self.theta[:2] + self.theta[2]
        return 1 / (1 + np.exp(-z[:, None]))


def own_task(x=X, y=Y, **more):
    return dither.make_task(x, y, x, y, **{"batch": 10, **more})


def squares(outputs, targets):
    return (outputs[:, 0] - targets) ** 2


def minus_squares(outputs, targets):
    return -((outputs[:, 0] - targets) ** 2)


def scaled(by):
    return lambda outputs, targets: by * (outputs[:, 0] - targets) ** 2


class Scaled:
    def __init__(self, by):
        self.by = by

    def __call__(self, outputs, targets):
        return scaled(self.by)(outputs, targets)


def hosted(first, then, out):
    """Train, and go on with something else."""
    train(SMALL, *first, out=out)
    return train(Until(measurements=120), *then, out=out, resume=True)


SMALL = Until(measurements=60)


@pytest.mark.parametrize(
    ("first", "then", "differs"),
    [
        ((Chip(), own_task()), (Chip(), own_task(batch=20)), "task"),
        ((Chip(), own_task()), (Chip(), own_task(cost=minus_squares)), "task"),
        ((Chip(), own_task(cost=squares)), (Chip(), own_task(cost=minus_squares)), "task"),
        ((Chip(), own_task(cost=scaled(1))), (Chip(), own_task(cost=scaled(2))), "task"),
        ((Chip(), own_task(cost=Scaled(1))), (Chip(), own_task(cost=Scaled(2))), "task"),
        ((Chip(), own_task()), (Chip(), own_task(y=1 - Y)), "task"),
        ((Chip(), own_task()), (Chip(), own_task(x=X[::-1].copy())), "task"),
        ((Chip(), own_task()), (Chip(5), own_task()), "device as built"),
        ((Chip(), own_task()), (Chip(bounds=(-4.0, 4.0)), own_task()), "device as built"),
        # what a device is shows only once its file has run, which must not be for another task
        ((Chip(), own_task()), (Chip(5), own_task(batch=5)), "task"),
    ],
)  # fmt: skip
def test_another_run_is_not_gone_on_with(tmp_path, first, then, differs):
    with pytest.raises(RequestError, match=rf"specification \(its {differs} differs\); use"):
        hosted(first, then, tmp_path / "run")


@pytest.mark.parametrize("cost", ["mse", squares, scaled(2), Scaled(2), partial(squares)])
def test_the_same_run_is_gone_on_with_from_objects_made_anew(tmp_path, cost):
    again = hosted((Chip(), own_task(cost=cost)), (Chip(), own_task(cost=cost)), tmp_path / "run")
    assert again.ledger["measurements"] == 120


def test_data_in_a_file_is_part_of_the_run(tmp_path):
    file = tmp_path / "data.npz"
    chip, task = dither.SimulatedDevice(network=dither.MLP(widths=(2, 3, 1))), Arrays(file=file)
    np.savez(file, inputs=X, targets=Y)
    train(SMALL, chip, task, out=tmp_path / "run")
    np.savez(file, inputs=X, targets=Y)  # the file is another, its content is not
    train(Until(measurements=80), chip, task, out=tmp_path / "run", resume=True)
    np.savez(file, inputs=X, targets=1 - Y)
    with pytest.raises(RequestError, match=r"its task differs"):
        train(Until(measurements=120), chip, task, out=tmp_path / "run", resume=True)


def recursive():
    def cost(outputs, targets, depth=1):
        return squares(outputs, targets) if depth == 0 else cost(outputs, targets, depth - 1)

    return cost


def closing_over(thing):
    return lambda outputs, targets: (thing, outputs, targets)


@pytest.mark.parametrize(
    "value",
    [recursive(), closing_over(object()), closing_over(np.abs), closing_over(jnp.sin), np.exp, len],
)
def test_fingerprints_do_not_depend_on_places_in_memory(value):
    assert fingerprint(value) == fingerprint(value)
    assert fingerprint(closing_over(object())) == fingerprint(closing_over(object()))
    assert fingerprint(recursive()) == fingerprint(recursive())
    assert fingerprint(closing_over(np.abs)) != fingerprint(closing_over(np.exp))


def test_fingerprints_are_the_same_in_every_process():
    code = (
        "from dither.training.fingerprint import fingerprint; import numpy as np\n"
        "def f(a, b=2, *, c={'x', 'y'}):\n"
        "    return a if a in {'p', 'q', 'r'} else [lambda: b for _ in c]\n"
        "print(fingerprint(f, {'k': np.arange(3.0), 'j': {1, 2}}, None, 0.1))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(seen) == 1


# ------------------------------------------------- a picture, tracker or page never costs a result


@pytest.mark.parametrize(
    "backend", ["module://no_such.backend", "nonsense", "QtAgg", "", "svg", "TkAgg"]
)
def test_figures_do_not_depend_on_what_shows_the_users(tmp_path, backend):
    code = (
        "from pathlib import Path; from dither.training.drawing import picture, save_figure\n"
        "with picture(2, 1) as figure: figure.subplots().plot([1, 2], [3, 4])\n"
        "save_figure(figure, Path('figure'))"
    )
    (tmp_path / "own").mkdir()
    own = "text.usetex: True\nfont.family: NoSuchFont\nsavefig.facecolor: red\nfont.size: 40\n"
    (tmp_path / "own" / "matplotlibrc").write_text(own)
    made = []
    for where, name in ((tmp_path, "agg"), (tmp_path / "own", backend)):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=where, env={**os.environ, "MPLBACKEND": name},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        made.append([(where / f"figure.{ending}").read_bytes() for ending in ("png", "svg")])
    assert made[0] == made[1]


@pytest.mark.parametrize("error", [RuntimeError("no fonts"), OSError("full"), MemoryError("much")])
def test_a_figure_that_fails_is_a_warning(tmp_path, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr("dither.training.figure.run_figure", fails)
    with pytest.warns(UserWarning, match=rf"run is finished and saved.*{error}.*dither report"):
        result = train(out=tmp_path / "run")
    assert result.ledger["measurements"] == 40
    assert json.loads((tmp_path / "run" / "result.json").read_text())["stop_reason"]
    assert not (tmp_path / "run" / LEASE).exists()


STEEP = """
task = "xor"
[device]
kind = "simulated"
network = {kind = "mlp", widths = [2, 3, 1], activation = "relu"}
[algorithm]
kind = "weight-mgd"
learning_rate = 1e6
delta = 1.0
[until]
measurements = 3000
"""


def test_a_run_that_diverges_at_once_says_so(tmp_path):
    (tmp_path / "steep.toml").write_text(STEEP)
    done = shell("train", "steep.toml", "--replicas", "3", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith("dither: The parameters diverged; set a smaller learning rate.\n")
    assert (tmp_path / "runs" / "steep-1" / "figure.png").is_file()
    assert write_report(tmp_path / "runs" / "steep-1").is_file()
    assert (
        RunWatch(tmp_path / "runs" / "steep-1").look(time.time()).head.state == "ended (diverged)"
    )


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_single_evaluation_is_drawn_as_points(replicas):
    """A line through one point is invisible."""
    result = train(replicas=replicas, score_every=10**6)
    for axes in run_figure(result, "any").axes:
        points = axes.lines[:replicas]
        assert [len(line.get_xdata()) for line in points] == [1] * replicas
        assert {line.get_marker() for line in points} == {"o"}


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize(
    "costs",
    [[NAN, NAN], [INF, INF], [1.0, INF], [1.0, NAN], [1e-30, 1e38], [0.0, 0.0], [-1.0, -2.0]],
)
def test_any_costs_can_be_drawn(replicas, costs, recwarn):
    result = train(replicas=replicas, score_every=20)
    costs = np.repeat(costs, replicas)
    drawn = replace(result, history=result.history.assign(cost=costs, test_cost=costs))
    assert figure_bytes(run_figure(replace(drawn, score=None), "any"), "png")
    assert figure_bytes(run_figure(drawn, "any"), "svg")
    assert [str(one.message) for one in recwarn if one.category is not dither.TrapWarning] == []


# ------------------------------------------------------------- Python's values as people have them


@pytest.mark.parametrize(
    "given",
    [
        {"key": np.int64(3)}, {"key": np.uint8(3)}, {"key": np.array(3)}, {"key": jnp.int32(3)},
        {"key": 3, "replicas": np.int32(1)}, {"key": 3, "score_every": np.int64(20)},
        {"key": 3, "until": Until(measurements=np.int64(40), confirm=np.int8(1))},
    ],
)  # fmt: skip
def test_numpys_integers_are_whole_numbers(given, tmp_path):
    whole = train(key=3, score_every=20)
    given = {"score_every": 20, **given}
    result = train(out=tmp_path / "run", **given)
    np.testing.assert_array_equal(result.parameters, whole.parameters)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["seed"] == 3


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"key": 2**31}, "The key.* from 0 to 2147483647, not 2147483648"),
        ({"key": -1}, "not -1"),
        ({"key": 2**31 - 1, "replicas": 2}, "from 0 to 2147483646"),
        ({"replicas": 0}, "number of replicas must be a whole number from 1 "),
        ({"replicas": np.int64(-4)}, "number of replicas"),
        ({"score_every": 0}, "score_every must be a whole number from 1 "),
    ],
)
def test_counts_out_of_range_are_refused_in_a_sentence(given, sentence, tmp_path):
    with pytest.raises(RequestError, match=sentence) as caught:
        train(out=tmp_path / "run", **given)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", ["3", 3.0, None, np.float64(3), [3], np.array([3]), 2.5, {}])
def test_what_is_no_whole_number_is_refused_in_a_sentence(value):
    with pytest.raises(RequestError, match=r"^The key must be a whole number from 0 to 9, not"):
        whole_number(value, "The key", 0, 9)


ROWS, GOALS = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        (ROWS, GOALS),
        (tuple(map(tuple, ROWS)), tuple(GOALS)),
        (pd.DataFrame(ROWS, columns=["a", "b"]), pd.Series(GOALS)),
        (pd.DataFrame(ROWS), pd.DataFrame({"label": GOALS})),
        (pd.DataFrame(ROWS).astype("Int64"), pd.Series(GOALS).astype("Int64")),
        (np.array(ROWS, object), np.array(GOALS, object)),
        (np.asfortranarray(ROWS), np.array(GOALS, np.uint8)),
        (ROWS, [bool(goal) for goal in GOALS]),
        (np.ma.masked_equal(ROWS, 7), np.ma.masked_equal(GOALS, 7)),
        (jnp.asarray(ROWS), jnp.asarray(GOALS)),
    ],
)
def test_data_comes_as_users_have_it(inputs, targets):
    task = dither.make_task(inputs, targets, inputs, targets)
    np.testing.assert_array_equal(task.inputs, np.array(ROWS, np.float32))
    np.testing.assert_array_equal(task.targets, GOALS)
    assert task.targets.dtype == np.int32
    assert task.classes == ("0", "1")


def test_a_tensor_is_data_too():
    torch = pytest.importorskip("torch")
    inputs = torch.tensor(ROWS, dtype=torch.float32, requires_grad=True)
    task = dither.make_task(inputs, torch.tensor(GOALS), ROWS, GOALS)
    np.testing.assert_array_equal(task.inputs, task.test_inputs)


@pytest.mark.parametrize(
    ("inputs", "targets", "sentence"),
    [
        ([[1], [1, 2], [1], [2]], GOALS, "inputs have rows of unequal lengths"),
        (None, GOALS, "inputs are one value"),
        ({}, GOALS, "inputs are one value"),
        (3.0, GOALS, "inputs are one value"),
        (ROWS, ["a", 1, None, "a"], "targets mix text and other values, such as 1 in sample 1"),
        (np.array(ROWS) * 1j, GOALS, "inputs are complex"),
        (np.array(ROWS) * 1e39, GOALS, "inputs hold NaN or infinity, first in sample 1"),
        (np.ma.masked_equal(ROWS, 1), GOALS, "inputs are partly masked"),
        (pd.DataFrame(ROWS).astype("Int64").mask(lambda x: x == 1), GOALS, "give numbers"),
        (np.zeros(4, [("t", "f8")]), GOALS, "give numbers"),
        (np.zeros((4, 1), "M8[s]"), GOALS, "give numbers"),
        ([], [], "inputs hold no samples"),
        (ROWS, [GOALS] * 4, "give one label per sample"),
    ],
)
def test_data_that_cannot_be_used_is_refused_in_a_sentence(inputs, targets, sentence):
    with pytest.raises(RequestError, match=sentence) as caught:
        dither.make_task(inputs, targets, inputs, targets)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"batch": 0}, "batch must be a whole number of 1 or more, not 0"),
        ({"batch": -3}, "not -3"),
        ({"batch": "al"}, "batch 'al' is not valid; give a whole number, or 'all'"),
        ({"batch": 5}, "larger than the 4 training samples"),
        ({"cost": "mae"}, "cost 'mae' is unknown; give mse or cross_entropy"),
        ({"classes": ["one"]}, "outside the 1 classes"),
    ],
)
def test_wrong_settings_of_a_task_are_refused_in_a_sentence(given, sentence):
    with pytest.raises(RequestError, match=sentence):
        dither.make_task(ROWS, GOALS, ROWS, GOALS, **given)


@pytest.mark.parametrize("bounds", [np.array([0.0, 2.0]), [0, 2], (np.float32(0), np.int64(2))])
def test_bounds_come_as_users_have_them(bounds):
    assert dither.PythonDevice(Chip(bounds=bounds)).extent.limits == {"theta": (0.0, 2.0)}


@pytest.mark.parametrize(
    ("attribute", "value", "sentence"),
    [
        ("layers", 2, "has layers 2; give the names"),
        ("layers", "dense0", "has layers 'dense0'; give the names"),
        ("layers", [1, 2], r"has layers \[1, 2\]; give the names"),
        ("levels", 1, "levels must be a whole number from 2 to 16777216, not 1"),
        ("levels", -5, "levels must be .* not -5"),
        ("levels", 2.5, "levels must be .* not 2.5"),
        ("levels", "many", "levels must be .* not 'many'"),
        ("bits", 10.5, "bits must be a whole number from 1 to 24, not 10.5"),
        ("bits", -1, "bits must be .* not -1"),
        ("bits", 64, "bits must be .* not 64"),
        ("bounds", np.ones((3, 2)), "bounds .*; give"),
        ("bounds", np.ones((50, 50)), "bounds .*…; give"),
        ("bounds", "wide", "bounds 'wide'; give"),
        ("bounds", (np.nan, 1.0), "low < high, not nan"),
        ("bounds", 3, "bounds 3; give"),
        ("parameters", 3.0, "parameters 3.0 and"),
    ],
)
def test_what_a_device_says_of_itself_is_checked(attribute, value, sentence):
    chip = Chip()
    setattr(chip, attribute, value)
    with pytest.raises(RequestError, match=sentence) as caught:
        dither.PythonDevice(chip)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros(9, [("t", "f8"), ("v", "f8")]), "unreadable"),
        (np.zeros(9, "U3"), "unreadable"),
        (np.zeros((3, 3, 3)), "has shape"),
    ],
)
def test_a_series_file_of_something_else_is_refused(tmp_path, array, sentence):
    np.save(tmp_path / "series.npy", array)
    with pytest.raises(RequestError, match=sentence):
        SeriesFile(file=tmp_path / "series.npy").load()


# ------------------------------------------------------ refused before anything is measured


class Counting(Chip):
    measured = 0

    def measure(self, inputs):
        self.measured += 1
        return super().measure(inputs)


@pytest.mark.parametrize(("most", "batch"), [(100, 1), (1, 1), (41, 1), (4, 10), (2, "all")])
def test_a_budget_below_one_evaluation_is_refused_before_anything_is_measured(
    tmp_path, most, batch
):
    chip = Counting()
    x, y = np.repeat(X, 3, 0), np.repeat(Y, 3)
    task = dither.make_task(X, Y, x, y, batch=batch)
    with pytest.raises(
        RequestError, match=rf"until.measurements = {most} leaves none for training"
    ):
        train(Until(measurements=most), chip, task, out=tmp_path / "run")
    assert chip.measured == 0
    assert not list(tmp_path.iterdir())


def test_a_budget_that_is_mostly_an_evaluation_is_a_trap():
    with pytest.warns(dither.TrapWarning, match="takes 40 .*leaves 9 .*set 160 or more"):
        result = train(Until(measurements=50), Chip(), own_task(batch=1))
    assert result.ledger["measurements"] == 50


@pytest.mark.parametrize(
    ("aim", "instead"),
    [(95, "0.95 for 95 %"), (100, "1 for 100 %"), (1.01, "1 or less"), (1e6, "1 or less")],
)
@pytest.mark.parametrize("targets", [Y, np.float64(Y)])
def test_a_score_that_cannot_be_reached_is_refused(aim, instead, targets):
    chip = Counting()
    with pytest.raises(RequestError, match=f"set {instead}"):
        train(Until(measurements=400, score=aim), chip, own_task(y=targets))
    assert chip.measured == 0


def test_a_score_of_the_users_own_may_be_any():
    task = own_task(score=lambda *_: 100.0)
    assert train(Until(measurements=400, score=95.0), Chip(), task).stop_reason == "score"


@pytest.mark.parametrize("share", [0.6, 1.0, 13.0])
def test_a_perturbation_beyond_the_bounds_is_a_trap(share):
    rule = dither.WeightMGD(learning_rate=1.0, delta=16.0 * share)
    with pytest.warns(dither.TrapWarning, match="clipped .*delta, such as 0.8"):
        train(SMALL, Chip(), own_task(), rule)


# -------------------------------------------------------------------------------- the shell


@pytest.mark.parametrize("module", ["dither", "dither.cli"])
def test_the_shell_says_its_version(tmp_path, module):
    done = shell("--version", cwd=tmp_path, module=module)
    assert (done.returncode, done.stdout) == (
        0,
        f"dither {dither.__version__}, compiled kernels: {built()[1]}\n",
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("train", "dither: Missing argument 'what'; see dither train --help."),
        ("train xor --sed 3", "dither: No such option: --sed"),
        ("train xor --seed x", "dither: Invalid value for '--seed'"),
        ("train xor --seed", "dither: Option '--seed' requires an argument; see dither"),
        ("train xor xor", "dither: Got unexpected extra argument"),
        ("frobnicate", "dither: No such command 'frobnicate'; see dither --help."),
        ("device check --repeats 2 a.py:b", "dither: Invalid value for '--repeats'"),
        ("study --workers 0 a.toml", "dither: Invalid value for '--workers'"),
    ],
)
def test_wrong_options_are_told_in_a_sentence(tmp_path, arguments, sentence):
    done = shell(*arguments.split(), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [[], ["device"], ["--help"], ["train", "--help"]])
def test_help_is_there(tmp_path, arguments):
    done = shell(*arguments, cwd=tmp_path)
    assert done.returncode == (0 if "--help" in arguments else 2)
    assert "Usage: dither" in done.stdout + done.stderr


LAB = """
import numpy as np
class chip:
    parameters, bounds = 3, (-8.0, 8.0)
    def write(self, theta):
        self.theta = np.array(theta)
    def measure(self, inputs):
        return 1 / (1 + np.exp(-(inputs @ self.theta[:2, None] + self.theta[2])))
"""


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_a_terminal_may_know_less_than_unicode(tmp_path, encoding):
    (tmp_path / "lab.py").write_text(LAB)
    done = shell(
        "device", "check", "lab.py:chip", "--inputs", "xor", cwd=tmp_path, PYTHONIOENCODING=encoding
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "[algorithm]" in done.stdout


def test_the_packages_names_are_listed():
    assert {"train", "make_task", "load_study", "WeightMGD", "__version__"} <= set(dir(dither))
    for name in dir(dither):
        assert getattr(dither, name) is not None or name.startswith("__")


# ------------------------------------------------------------------- modules beside a lab's file


def a_lab(folder, gain=1.0):
    folder.mkdir(exist_ok=True)
    (folder / "lab.py").write_text("from my_driver import Driver\nchip = Driver\n")
    (folder / "my_driver.py").write_text(DRIVER.format(gain=gain))
    return f"{folder / 'lab.py'}:chip"


DRIVER = """import numpy as np


class Driver:
    parameters, bounds, gain = 3, (-8.0, 8.0), {gain}

    def write(self, theta):
        self.theta = np.array(theta)

    def measure(self, inputs):
        import late_helper
        return late_helper.sigmoid(inputs @ self.theta[:2, None] + self.theta[2])
"""
LATE = "import numpy as np\ndef sigmoid(z):\n    return 1 / (1 + np.exp(-z))\n"


def script(*arguments, cwd):
    """The program `dither` itself, which does not look in the current folder for modules."""
    code = "import sys; sys.path.remove(''); from dither.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("place", ["lab.py:chip", "here/../lab.py:chip", "lab:chip"])
def test_modules_beside_a_labs_file_are_found(tmp_path, place):
    a_lab(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "late_helper.py").write_text(LATE)
    few = ("--set", "until.measurements=60", "--set", "until.score=1.0")
    done = script("train", "xor", "--device", place, *few, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = script("train", json.loads(done.stdout)["out"], "--resume", *few[:2], cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def test_two_labs_have_helpers_of_one_name_each_its_own(tmp_path):
    places = [a_lab(tmp_path / str(gain), gain=gain) for gain in (1.0, 2.0)]
    assert [find_object(place).gain for place in (*places, *places)] == [1.0, 2.0, 1.0, 2.0]
    first, second = (find_object(place) for place in places)
    assert type(first).__module__ == type(second).__module__ == "my_driver"


def test_a_helper_may_be_a_package(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "bench").mkdir(parents=True)
        (tmp_path / name / "bench" / "__init__.py").write_text("from bench.parts import who\n")
        (tmp_path / name / "bench" / "parts.py").write_text(f"who = {name!r}\n")
        (tmp_path / name / "lab.py").write_text("import bench\nwho = bench.who\n")
    places = [f"{tmp_path / name / 'lab.py'}:who" for name in ("one", "two")]
    assert [find(place, "device") for place in places] == ["one", "two"]


def test_the_users_file_and_line_are_in_the_traceback(tmp_path):
    place = a_lab(tmp_path)
    (tmp_path / "my_driver.py").write_text("import numpy as np\n\nraise KeyError('wavelength')\n")
    with pytest.raises(RequestError, match="wavelength") as caught:
        find_object(place)
    lines = [
        (Path(frame.filename).name, frame.lineno, frame.line)
        for frame in traceback.extract_tb(caught.value.__cause__.__traceback__)
    ]
    assert ("lab.py", 1, "from my_driver import Driver") in lines
    assert ("my_driver.py", 3, "raise KeyError('wavelength')") in lines


# ------------------------------------------------------------------- a run and what it has learned


def test_a_run_is_read_again_and_predicts(tmp_path):
    result = train(replicas=2, out=tmp_path / "run")
    again = dither.load_run(tmp_path / "run")
    assert again.summary() == result.summary()
    pd.testing.assert_frame_equal(again.history, result.history)
    np.testing.assert_array_equal(again.parameters, result.parameters)
    assert [p.name for p in again.space.parameters] == [p.name for p in result.space.parameters]
    for replica in (0, 1):
        arrays = result.space.unravel(jnp.asarray(result.parameters[replica]))
        expected = CHIP.network(arrays, jnp.asarray(ROWS, float))
        for one in (result, again):
            np.testing.assert_allclose(one.predict(ROWS, replica), expected, rtol=1e-6)


def test_an_instance_predicts_with_its_own_defects():
    defects = [{"kind": "mismatch", "gain": 0.5}]
    chip = dither.SimulatedDevice(network=CHIP.network, imperfections=defects)
    result = train(device=chip, replicas=2)
    outputs = result.predict(XOR().load().test_inputs)
    task = XOR().load()
    cost = np.mean(task.cost(jnp.asarray(outputs), task.test_targets))
    assert cost == pytest.approx(result.replicas[0].test_cost, rel=1e-5)


def test_a_real_device_is_measured_for_a_prediction(tmp_path):
    chip = Chip()
    train(SMALL, chip, own_task(), out=tmp_path / "run")
    again = dither.load_run(tmp_path / "run", chip)
    theta = again.parameters[0]
    expected = 1 / (1 + np.exp(-(X @ theta[:2] + theta[2])))
    np.testing.assert_allclose(again.predict(X)[:, 0], expected, rtol=1e-5)
    with pytest.raises(RequestError, match=r"give it: load_run\(folder, device\)"):
        dither.load_run(tmp_path / "run").predict(X)


def test_what_cannot_be_predicted_is_told_in_a_sentence(tmp_path):
    result = train(out=tmp_path / "run")
    for inputs in (np.zeros((4, 3)), np.zeros((4,)), "x", [[np.nan, 1.0]]):
        with pytest.raises(RequestError) as caught:
            result.predict(inputs)
        assert "\n" not in str(caught.value)
    with pytest.raises(RequestError, match="replica 1 does not exist"):
        result.predict(ROWS, replica=1)
    with pytest.raises(RequestError, match="There is no run in"):
        dither.load_run(tmp_path)
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(RequestError, match="There is an unfinished run in"):
        dither.load_run(tmp_path / "run")
