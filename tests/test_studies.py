"""Studies: the grid, what goes side by side, the store, leases, processes, kills, bad input."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dither
from dither import RequestError
from dither._seal import sealed_json
from dither.studies import load_study, plan, read_study, run_study, store
from dither.training import lease
from dither.training.lease import Lease
from dither.training.settings import change_setting
from dither.training.specification import read_table

GRID = """
name = "small"
base = "parity4"
seeds = 3
at_once = 8

[set]
"until.measurements" = 600
"until.score" = 0.9
score_every = 100

[axes]
"algorithm.learning_rate" = [0.5, 2]

[axes.bits]
"task.bits" = [2, 3]
"device.network.widths" = [[2, 4, 1], [3, 6, 1]]
"""

SCORES = ["run", "seed", "score", "test_cost", "stop_reason", "measurements"]


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("studies")
    file = folder / "small.toml"
    file.write_text(GRID)
    return file, run_study(file, folder / "whole")


def test_the_grid_is_every_combination_of_its_axes(grid: tuple[Path, pd.DataFrame]) -> None:
    _, table = grid
    assert len(table) == 2 * 2 * 3
    assert list(table["algorithm.learning_rate"]) == [0.5] * 6 + [2.0] * 6
    assert list(table["bits"]) == [2, 2, 2, 3, 3, 3] * 2
    assert list(table["task.bits"]) == list(table["bits"])
    assert list(table["seed"]) == [0, 1, 2] * 4
    for row in table.to_dict("records"):
        asked = json.loads(row["specification"])
        assert asked["algorithm"]["learning_rate"] == row["algorithm.learning_rate"]
        assert asked["task"]["bits"] == row["bits"]
        assert asked["device"]["network"]["widths"] == json.loads(row["device.network.widths"])


def test_runs_side_by_side_are_the_runs_by_themselves(grid: tuple[Path, pd.DataFrame]) -> None:
    """Learning rates and seeds of one program against `dither.train` of each run, to rounding."""
    _, table = grid
    for row in table[table["seed"] == 1].to_dict("records"):
        base, _, _ = read_table("parity4")
        for path, value in {
            "until.measurements": 600,
            "until.score": 0.9,
            "score_every": 100,
            "replicas": 1,
            "seed": 1,
            "algorithm.learning_rate": row["algorithm.learning_rate"],
            "task.bits": row["bits"],
            "device.network.widths": json.loads(row["device.network.widths"]),
        }.items():
            change_setting(base, path, value)
        alone = dither.Specification.model_validate(base).train()
        assert alone.replicas[0].stop_reason == row["stop_reason"]
        assert alone.ledger["measurements"] == row["measurements"]
        assert alone.replicas[0].test_cost == pytest.approx(row["test_cost"], rel=1e-3)


def test_one_program_for_what_differs_in_numbers_and_seeds(grid: tuple[Path, pd.DataFrame]) -> None:
    jobs = plan(read_study(grid[0]))
    assert [len(job.runs) for job in jobs] == [6, 6]  # the two sizes; rates and seeds together
    assert all(job.varied == ("algorithm.learning_rate",) for job in jobs)
    names = [run.name for job in jobs for run in job.runs]
    assert len(set(names)) == 12


def test_a_second_start_runs_only_what_is_missing(
    grid: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    file, whole = grid
    folder = tmp_path / "again"
    run_study(file, folder)
    files = sorted((folder / "runs").glob("*.parquet"))
    kept = files[4:]
    before = {path: path.stat().st_mtime_ns for path in kept}
    for path in files[:4]:
        path.unlink()
    again = run_study(file, folder)
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    pd.testing.assert_frame_equal(again[SCORES], whole[SCORES])
    assert not (folder / "leases").exists()
    assert not (folder / "work").exists()


def test_processes_give_the_same_table(grid: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    file, whole = grid
    table = run_study(file, tmp_path / "many", workers=2)
    pd.testing.assert_frame_equal(table[SCORES], whole[SCORES], check_exact=True)


def test_a_damaged_file_is_named_set_aside_and_run_again(
    grid: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    file, whole = grid
    folder = tmp_path / "damaged"
    run_study(file, folder)
    victim = sorted((folder / "runs").glob("*.parquet"))[2]
    victim.write_bytes(victim.read_bytes()[:100])
    with pytest.warns(store.DamagedFileWarning, match=victim.name):
        assert len(load_study(folder)) == 11
    with pytest.warns(store.DamagedFileWarning, match=victim.name):
        table = run_study(file, folder)
    assert (folder / "damaged" / victim.name).exists()
    pd.testing.assert_frame_equal(table[SCORES], whole[SCORES])


def test_curves_are_a_line_an_evaluation(grid: tuple[Path, pd.DataFrame]) -> None:
    file, whole = grid
    curves = load_study(file.parent / "whole", curves=True)
    last = curves.groupby("run").last()
    ends = whole.set_index("run")
    assert np.array_equal(last.loc[ends.index, "measurements"], ends["measurements"])
    assert np.array_equal(last.loc[ends.index, "score"].astype(float), ends["score"])


def test_the_files_read_without_dither(grid: tuple[Path, pd.DataFrame]) -> None:
    file, whole = grid
    plain = pd.read_parquet(file.parent / "whole" / "runs")
    assert sorted(plain["run"]) == sorted(whole["run"])


@pytest.mark.quick("2-30")
@pytest.mark.parametrize(("times", "seeds"), [(2, 30), (10, 100)])
def test_killed_several_times_it_ends_with_the_same_table(
    times: int, seeds: int, tmp_path: Path
) -> None:
    """SIGKILL of the process group at random moments, of one process and of two."""
    file = tmp_path / "killed.toml"
    text = GRID.replace("seeds = 3", f"seeds = {seeds}").replace("at_once = 8", "at_once = 10")
    file.write_text(text)  # 4 runs of each seed, in programs of 10
    whole = run_study(file, tmp_path / "whole")
    folder, chance = tmp_path / "killed", random.Random(1)
    kills = 0
    for start in range(40):
        command = [sys.executable, "-m", "dither.cli", "study", str(file), "--out", str(folder)]
        workers = ["--workers", "2"] if start % 2 else []
        process = subprocess.Popen(
            [*command, *workers],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        wait = None if kills >= times else 1.5 + chance.random() * 2.0
        try:
            _, said = process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            for path in folder.glob("runs/*"):
                assert path.suffix == ".parquet" or path.name.startswith(".")
            continue
        assert process.returncode == 0, said
        break
    table = load_study(folder)
    assert kills == times
    assert len(table) == 4 * seeds == table["run"].nunique()
    pd.testing.assert_frame_equal(table[SCORES], whole[SCORES], check_exact=True)
    assert not list(folder.glob("runs/.*"))


def test_two_processes_on_one_folder_share_the_work(tmp_path: Path) -> None:
    file = tmp_path / "shared.toml"
    file.write_text(GRID.replace("seeds = 3", "seeds = 20").replace("at_once = 8", "at_once = 4"))
    folder = tmp_path / "shared"
    command = [
        sys.executable,
        "-m",
        "dither.cli",
        "study",
        str(file),
        "--out",
        str(folder),
        "--json",
    ]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    own = []
    for process in both:
        told, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        own.append(json.loads(told)["own"])
    table = load_study(folder)
    assert len(table) == 80
    assert sum(own) == 80
    assert min(own) > 0


def test_a_lease_is_held_by_one_and_taken_over_from_the_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SIGN_OF_LIFE_EVERY", 0.1)
    file = tmp_path / "leases" / "job.json"
    mine = Lease.take(file)
    assert mine is not None
    assert Lease.take(file) is None
    mine.give_up()
    code = (
        "import sys, os; from pathlib import Path; from dither.training.lease import Lease; "
        f"Lease.take(Path({str(file)!r})); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert file.exists()
    taken = Lease.take(file)
    assert taken is not None
    taken.give_up()
    # of another machine: only when it shows no sign of life
    about = {"host": "elsewhere", "pid": 1, "born": 0.0, "since": 0.0}
    file.write_bytes(sealed_json(about))
    assert Lease.take(file) is None
    old = time.time() - 1000
    os.utime(file, (old, old))
    assert Lease.take(file) is None  # not before it was watched for a while: clocks may be set
    time.sleep(lease.watched_for())
    taken = Lease.take(file)
    assert taken is not None
    taken.give_up()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (GRID.replace("learning_rate", "lerning_rate"), ["lerning_rate", "learning_rate?"]),
        (GRID.replace("[0.5, 2]", "[]"), ["algorithm.learning_rate", "no values"]),
        (GRID.replace("[2, 3]", "[2, 3, 4]"), ["bits", "different lengths"]),
        (GRID.replace("seeds = 3", "seeds = 0"), ["seeds"]),
        (GRID.replace("seeds = 3", "seeds = 2500000"), ["10 000 000 runs", "--yes"]),
        (GRID.replace("[0.5, 2]", "[0.5, -2]"), ["learning_rate = -2", "greater"]),
        (GRID.replace("[0.5, 2]", "[2, 2.0]"), ["learning_rate = 2", "are the same"]),
        (GRID.replace('"task.bits"', "task.bits"), ["quotes"]),
        (GRID.replace('"parity4"', '"parity5"'), ["parity5", "did you mean parity4"]),
        (GRID + '[[fits]]\nx = "size"\n', ["size", "which does not exist"]),
        (GRID + "[search]\nlow = 2.0\nhigh = 1.0\n", ["low"]),
        (GRID.replace("[set]", "[sett]"), ["no setting 'sett'", "set"]),
    ],
)
def test_wrong_studies_are_refused_in_a_sentence(
    text: str, parts: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(RequestError) as refused:
        run_study(file, tmp_path / "out")
    for part in parts:
        assert part in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(
    grid: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    file, _ = grid
    other = tmp_path / "other.toml"
    other.write_text(GRID.replace("seeds = 3", "seeds = 4"))
    with pytest.raises(RequestError, match=r"another study.*seeds"):
        run_study(other, file.parent / "whole")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    with pytest.raises(RequestError, match="other files"):
        run_study(file, tmp_path / "full")
    with pytest.raises(RequestError, match="no study"):
        load_study(tmp_path)


LAB = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import numpy as np
from dither.testing.devices import NumpyDevice

class chip(NumpyDevice):
    def __init__(self):
        super().__init__(widths=(2, 2, 1), initial=np.linspace(-0.5, 0.5, 9))

    def measure(self, inputs):
        dies = Path({folder!r}) / "dies"
        if dies.exists() and self.calls == 9:
            dies.unlink()
            os._exit(9)
        return super().measure(inputs)
"""

REAL = """
name = "real"
base = "xor"
seeds = 2

[set]
score_every = 20
until = {{ measurements = 60 }}
device = {{ kind = "lab", object = {place!r} }}

[axes]
"algorithm.delta" = [0.05, 0.1]
"""

SEARCH = """
[search]
low = 0.01
high = 1.0
trials = 4
at_once = 2
seeds = 2
"""


@pytest.mark.long
def test_a_study_of_a_real_device_and_a_search_on_it(tmp_path: Path) -> None:
    """One run after another, each in a folder of its own; one that died at its start goes on."""
    tests = str(Path(__file__).parent)
    (tmp_path / "lab.py").write_text(LAB.format(tests=tests, folder=str(tmp_path)))
    file = tmp_path / "real.toml"
    text = REAL.format(place=str(tmp_path / "lab.py:chip"))
    file.write_text(text)
    whole = run_study(file, tmp_path / "whole")
    assert len(whole) == 4
    (tmp_path / "dies").touch()
    words = ["study", str(file), "--out", str(tmp_path / "died")]
    died = subprocess.run([sys.executable, "-m", "dither.cli", *words], capture_output=True)
    assert died.returncode == 9
    assert list((tmp_path / "died").glob("work/*/runs/0/spec.toml"))
    again = run_study(file, tmp_path / "died")
    pd.testing.assert_frame_equal(again[SCORES], whole[SCORES])

    file.write_text(text + SEARCH)
    table = run_study(file, tmp_path / "searched")
    assert (table["role"] == "trial").sum() == 2 * 4 * 2
    assert (table["role"] == "run").sum() == 4
