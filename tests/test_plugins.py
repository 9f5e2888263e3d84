"""Plug-ins from a folder outside the checkout, with dither installed from its wheel.

The files of `examples/plugins` go through the steps of docs/extend.md.
"""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dither import RequestError, read_specification
from dither.codes import CODES, Rademacher

ROOT = Path(__file__).parents[1]
PLUGINS = ROOT / "examples" / "plugins"
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder in which dither is installed from its wheel, and nothing else."""
    made = tmp_path_factory.mktemp("wheel")
    for part in ("src", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, made / part)
    pip = [sys.executable, "-m", "pip", "-q", "--no-input", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", "."]
    subprocess.run(build, cwd=made, check=True, **QUIET)
    wheel = next((made / "dist").glob("*.whl"))
    install = [*pip, "install", "--no-deps", "--no-index", "--target", "site", str(wheel)]
    subprocess.run(install, cwd=made, check=True, **QUIET)
    return made / "site"


@pytest.fixture
def lab(site, tmp_path, monkeypatch):
    """An empty folder with copies of the plug-ins; a function that runs a command in it."""
    monkeypatch.setenv("PYTHONPATH", str(site))
    folder = tmp_path / "lab"
    shutil.copytree(PLUGINS, folder, ignore=shutil.ignore_patterns("__pycache__"))

    def start(*command, at=folder):
        program = {"dither": [sys.executable, str(site / "bin" / "dither")]}
        words = program.get(command[0], [sys.executable, "-m", command[0]]) + list(command[1:])
        return subprocess.Popen(
            words, cwd=at, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(*command, at=folder):
        process = start(*command, at=at)
        out, err = process.communicate()
        assert process.returncode == 0, err or out
        return out

    run.start, run.folder = start, folder
    return run


def parameters(folder):
    with np.load(folder / "parameters.npz") as arrays:
        return np.concatenate([arrays[name].ravel() for name in sorted(arrays)])


def test_each_plugin_is_one_short_file():
    files = [file for file in PLUGINS.glob("*.py") if not file.name.startswith("test_")]
    assert len(files) == 5
    assert all(len(file.read_text().splitlines()) <= 60 for file in files)


def test_trained_from_toml_and_from_the_shell_and_repeated_from_elsewhere(lab, tmp_path):
    told = json.loads(lab("dither", "train", "run.toml", "--out", "one", "--json"))
    assert told["score"] >= 0.98
    # the same by the shell, on a preset's base
    changes = [
        f"--set={change}"
        for change in (
            'name="rings"', "task={kind='two_rings.py:TwoRings',noise=0.03}",
            "device.network=bumps.py:Bumps",
            "device.imperfections=[{kind='gain_control.py:GainControl',rate=0.02}]",
            "algorithm={kind='random_search.py:RandomSearch',delta=0.05}",
            "algorithm.code=uniform_code.py:Uniform",
            "until={measurements=20_000,score=0.98}", "replicas=1",
        )
    ]  # fmt: skip
    lab("dither", "train", "xor", *changes, "--out", "two")
    assert np.array_equal(parameters(lab.folder / "one"), parameters(lab.folder / "two"))
    # the run's own specification, from another folder
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    lab("dither", "train", str(lab.folder / "one"), "--out", "three", at=elsewhere)
    assert np.array_equal(parameters(lab.folder / "one"), parameters(elsewhere / "three"))


KILLED = """
import dither
asked = dither.read_specification("run.toml", {changes})
dither.train(asked.device, asked.task, asked.algorithm, until=asked.until, name=asked.name,
             score_every=asked.score_every, out="killed", checkpoint_seconds=0.1)
"""


@pytest.mark.long
def test_killed_and_resumed_is_the_undisturbed_run(lab):
    changes = ["until={measurements=40_000}", "score_every=500"]
    asked = ["run.toml", *(f"--set={change}" for change in changes)]
    # only from Python can checkpoints come so soon
    (lab.folder / "killed.py").write_text(KILLED.format(changes=changes))
    process = lab.start("killed")
    checkpoint = lab.folder / "killed" / "checkpoint" / "state.npz"
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (lab.folder / "killed" / "result.json").exists()
    lab("dither", "train", *asked, "--out", "killed", "--resume")
    lab("dither", "train", *asked, "--out", "whole")
    one, two = (lab.folder / name for name in ("killed", "whole"))
    assert np.array_equal(parameters(one), parameters(two))
    histories = [pd.read_parquet(at / "history.parquet") for at in (one, two)]
    assert (
        histories[0].drop(columns="wall_seconds").equals(histories[1].drop(columns="wall_seconds"))
    )


@pytest.mark.long
def test_in_a_study_on_two_dask_workers(lab, tmp_path):
    lab("dither", "study", "study.toml", "--out", "alone")
    address = tmp_path / "scheduler.json"
    where = ["--no-dashboard", "--scheduler-file", str(address)]
    workers_folder = tmp_path / "workers"
    workers_folder.mkdir()
    scheduler = ["scheduler", "--port", "0", "--host", "127.0.0.1", *where]
    worker = ["worker", "--no-nanny", "--nthreads", "1", *where]
    dask = [sys.executable, "-m", "dask"]
    running = [subprocess.Popen([*dask, *scheduler], cwd=workers_folder, **QUIET)]
    running += [subprocess.Popen([*dask, *worker], cwd=workers_folder, **QUIET) for _ in range(2)]
    try:
        # the file exists before its text does
        while not address.exists() or not address.stat().st_size:
            time.sleep(0.1)
        cluster = json.loads(address.read_text())["address"]
        lab("dither", "study", "study.toml", "--out", "together", "--cluster", cluster)
    finally:
        for process in running:
            process.kill()
            process.wait()
    names = [{f.name for f in (lab.folder / at / "runs").iterdir()} for at in ("alone", "together")]
    assert names[0] == names[1]
    assert len(names[0]) == 4
    for name in names[0]:
        one, two = (
            pd.read_parquet(lab.folder / at / "runs" / name) for at in ("alone", "together")
        )
        assert one["score"].equals(two["score"])
        assert one["test_cost"].equals(two["test_cost"])


@pytest.mark.long
def test_its_battery_is_green(lab):
    said = lab("pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly")
    assert " passed" in said
    assert " failed" not in said


# ------------------------------------------------------------------------------------- in short


def asked(tmp_path, code):
    file = tmp_path / "run.toml"
    text = (PLUGINS / "run.toml").read_text().replace("uniform_code.py:Uniform", code)
    file.write_text(text)
    for plugin in PLUGINS.glob("*.py"):
        shutil.copy(plugin, tmp_path)
    return read_specification(str(file))


def test_a_file_is_looked_for_beside_the_toml_file_and_written_by_its_place(tmp_path):
    specification = asked(tmp_path, "uniform_code.py:Uniform")
    written = specification.model_dump(mode="json")
    assert written["algorithm"]["code"]["kind"] == f"{tmp_path / 'uniform_code.py'}:Uniform"
    assert type(specification).model_validate(written) == specification
    assert asked(tmp_path, "uniform_code.py:Uniform") == specification


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("uniform_code.py:Unifrom", "has no 'Unifrom'; did you mean Uniform?"),
        ("missing.py:Uniform", "the code's file missing.py does not exist"),
        ("uniform_code.py:math", "not a class that inherits from AbstractCode"),
        ("two_rings.py:TwoRings", "not a class that inherits from AbstractCode"),
        ("no_such_module:Uniform", "No module named 'no_such_module'"),
        (":Uniform", "not of the form FILE.py:NAME or MODULE:NAME"),
        ("unifrom", "has no kind 'unifrom'; the known names are rademacher"),
    ],
)
def test_mistakes_are_named_with_key_and_line(tmp_path, code, sentence):
    with pytest.raises(RequestError, match=r"run.toml, line 17: algorithm.code has no kind") as e:
        asked(tmp_path, code)
    assert sentence in str(e.value)
    assert "\n" not in str(e.value)


def test_a_setting_that_a_plugin_lacks_is_named(tmp_path):
    asked(tmp_path, "walsh")
    change = "algorithm.delt=3"
    with pytest.raises(RequestError, match="algorithm has no setting 'delt'; did you mean delta"):
        read_specification(str(tmp_path / "run.toml"), [change])


def test_a_pickle_carries_the_file(tmp_path):

    specification = asked(tmp_path, "uniform_code.py:Uniform")
    (tmp_path / "asked.pkl").write_bytes(pickle.dumps(specification))
    for plugin in tmp_path.glob("*.py"):
        plugin.unlink()
    script = (
        "import pickle, sys; s = pickle.load(open(sys.argv[1], 'rb')); "
        "print(s.train().score > 0.9, type(s).model_validate(s.model_dump(mode='json')) == s)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "asked.pkl")]
    assert subprocess.check_output(command, text=True).split()[-2:] == ["True", "True"]


def test_an_edited_file_is_read_again(tmp_path):
    file = tmp_path / "mine.py"
    text = "from dither.codes import Rademacher\nclass Mine(Rademacher):\n    density: float = {}\n"
    file.write_text(text.format(0.25))
    first, again = CODES[f"{file}:Mine"], CODES[f"{file}:Mine"]
    assert first is again
    file.write_text(text.format(0.5))
    assert CODES[f"{file}:Mine"]().density == 0.5
    assert first().density == 0.25


def test_what_an_installed_package_offers_has_its_name(tmp_path, monkeypatch):
    (tmp_path / "labkit").mkdir()
    shutil.copy(PLUGINS / "uniform_code.py", tmp_path / "labkit" / "codes.py")
    (tmp_path / "labkit" / "__init__.py").touch()
    about = tmp_path / "labkit-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: labkit\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[dither.codes]\nuniform = labkit.codes:Uniform\n")
    monkeypatch.syspath_prepend(tmp_path)
    code = CODES["uniform"]()
    assert code.model_dump()["kind"] == "labkit.codes:Uniform"
    assert CODES["labkit.codes:Uniform"] is type(code)
    with pytest.raises(RequestError, match="did you mean uniform"):
        CODES["unifrm"]


def test_a_class_from_outside_need_not_name_its_kind():
    class Mine(Rademacher):
        """Rademacher's."""

    class Named(Rademacher):
        """The same, by name."""

        kind: str = "named"

    assert (Mine().kind, Named().kind) == ("rademacher", "named")
    instance = Mine()
    from dither import WeightMGD

    assert WeightMGD(learning_rate=0.1, code=instance).code is instance
