"""What users of other packages have run into, tried here: runs, the shell, Python's own values."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import dither
from dither import RequestError, Until
from dither.studies.report import write_report
from dither.tasks import XOR, Arrays
from dither.training.drawing import figure_bytes
from dither.training.figure import run_figure
from dither.training.folder import LEASE, free_folder, latest_folder
from dither.training.lease import Lease
from dither.watch.run import RunWatch

CHIP = dither.SimulatedDevice(network=dither.MLP(widths=(2, 3, 1)))
RULE = dither.WeightMGD(learning_rate=1.0, delta=0.05)
SHORT = Until(measurements=40)


def shell(*arguments, cwd, **environment):
    """Run `dither` as its own process."""
    return subprocess.run(
        [sys.executable, "-m", "dither.cli", *arguments],
        cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
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
        pytest.raises(RequestError, match=r"still going \(process \d+ on .+\): give another --out"),
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
def test_a_run_on_another_machine_counts_as_dead_after_a_minute(tmp_path, silent, free):
    train(out=tmp_path / "run")
    file = tmp_path / "run" / LEASE
    file.write_text(json.dumps({"host": "elsewhere", "pid": 7, "born": 0.0}))
    last = time.time() - silent
    os.utime(file, (last, last))
    if free:
        train(Until(measurements=60), out=tmp_path / "run", resume=True)
        return
    with pytest.raises(RequestError, match=r"still going \(process 7 on elsewhere\)"):
        train(Until(measurements=60), out=tmp_path / "run", resume=True)


def test_what_a_killed_start_has_left_is_no_run(tmp_path):
    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / LEASE
    file.write_text(json.dumps({"host": "elsewhere", "pid": 7, "born": 0.0}))
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
        ((Chip(), own_task()), (Chip(5), own_task()), "device"),
        ((Chip(), own_task()), (Chip(bounds=(-4.0, 4.0)), own_task()), "device"),
        ((Chip(), own_task()), (Chip(5), own_task(batch=5)), "task and device"),
    ],
)  # fmt: skip
def test_another_run_is_not_gone_on_with(tmp_path, first, then, differs):
    ending = "differ" if " and " in differs else "differs"
    with pytest.raises(RequestError, match=rf"specification \(its {differs} {ending}\); give"):
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
    with pytest.warns(UserWarning, match=rf"run is done and kept.*{error}.*dither report"):
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
