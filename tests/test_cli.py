"""The shell as a user meets it: exit statuses, one sentence for a wrong request, JSON."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from dither import cli
from dither.cli.compiled import keep_compiled

ROOT = Path(__file__).parents[1]


def dither(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dither.cli", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "COLUMNS": "200"},
    )


def refused(done: subprocess.CompletedProcess[str], cwd: Path, *parts: str) -> None:
    """Status 2, one sentence on stderr with all the parts, no traceback, nothing written."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for part in parts:
        assert part in done.stderr
    assert not (cwd / "runs").exists()


def test_train_json_gives_one_object_and_a_folder_that_repeats_it(tmp_path: Path) -> None:
    quick = ("--replicas", "2", "--set", "until.measurements=400", "--seed", "5")
    first = dither("train", "xor", *quick, "--json", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert told["ledger"]["measurements"] <= 400
    assert {"score", "score_name", "stop_reason", "ledger", "seed", "out"} <= set(told)
    assert told["seed"] == 5
    folder = tmp_path / told["out"]
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "spec.toml", "history.parquet", "result.json", "parameters.npz", "checkpoint",
        "figure.png", "figure.svg",
    }  # fmt: skip
    again = dither("train", str(folder / "spec.toml"), "--json", "--out", "again", cwd=tmp_path)
    assert json.loads(again.stdout)["replicas"] == told["replicas"]


def test_presets_lists_and_prints(tmp_path: Path) -> None:
    listed = dither("presets", cwd=tmp_path).stdout
    for name in ("xor", "parity4", "nist7x7", "nist7x7-noisy-chip", "digits", "fashion-mnist",
                 "fashion-mnist-cnn", "fashion-mnist-node", "analog-xor"):  # fmt: skip
        assert name in listed
    assert tomllib.loads(dither("presets", "xor", cwd=tmp_path).stdout)["task"]["kind"] == "xor"


def test_help_does_not_import_jax(tmp_path: Path) -> None:
    code = (
        "import sys, dither, dither.cli; "
        "sys.exit(any(m in sys.modules for m in ('jax', 'pandas', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("kept", [True, False])
def test_compiled_programs_are_kept_where_they_can_be(tmp_path: Path, kept: bool) -> None:
    home = tmp_path / "cache"
    if not kept:
        home.write_text("a file, in which no folder can be made")
    unset = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES")
    environment = {k: v for k, v in os.environ.items() if k not in unset}
    environment |= {"XDG_CACHE_HOME": str(home), "MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    command = [sys.executable, "-m", "dither.cli", "train", "xor", "--json", "--set"]
    for _ in range(2):
        done = subprocess.run(
            [*command, "until.measurements=2"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0
        assert "cache" not in done.stderr
    assert kept == (len(list((home / "dither" / "compiled").glob("*"))) > 0)


def test_a_folder_for_compiled_programs_that_is_set_stays(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep_compiled()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["train", "nist7"], ["nist7", "did you mean nist7x7"]),
        (["train", "nowhere.toml"], ["nowhere.toml", "does not exist"]),
        (["train", "xor", "--set", "algorithm.lerning_rate=1"], ["did you mean learning_rate?"]),
        (["train", "xor", "--set", "algorithm.tau_x=0"], ["algorithm.tau_x", "greater"]),
        (["train", "xor", "--set", "algorithm.tau_x='a'"], ["algorithm.tau_x", "must be a number"]),
        (["train", "xor", "--set", "algorithm.code=wlsh"], ["did you mean walsh?"]),
        (["train", "xor", "--set", "algorithm.optimizer=adm"], ["did you mean adam"]),
        (["train", "xor", "--set", "device.network.widths=[3,2,1]"], ["(3,)", "(2,)"]),
        (["train", "xor", "--set", "device.network.widths=[2,2,5]"], ["5 outputs", "1 or 2"]),
        (["train", "xor", "--replicas", "0"], ["replicas"]),
        (["train", "xor", "--seed", "-1"], ["seed"]),
        (["train", "xor", "--resume", "--out", "x"], ["no checkpoint"]),
        (["train", "xor", "--device", "no.py:chip"], ["no.py", "does not exist"]),
        (["train", "xor", "--device", "chip"], ["FILE.py:NAME"]),
        (["device", "check", "no.py:chip"], ["no.py", "does not exist"]),
    ],
)
def test_a_wrong_request_is_one_sentence(
    words: list[str], parts: list[str], tmp_path: Path
) -> None:
    refused(dither(*words, cwd=tmp_path), tmp_path, *parts)


def test_a_wrong_file_is_named_with_its_line(tmp_path: Path) -> None:
    text = dither("presets", "xor", cwd=tmp_path).stdout
    (tmp_path / "a.toml").write_text(text.replace("delta = 0.1", "delta = -0.1"))
    line = text[: text.index("delta")].count("\n") + 1
    refused(
        dither("train", "a.toml", cwd=tmp_path), tmp_path,
        f"a.toml, line {line}", "algorithm.delta",
    )  # fmt: skip
    (tmp_path / "b.toml").write_text(text.replace("[task]", "[task"))
    refused(dither("train", "b.toml", cwd=tmp_path), tmp_path, "b.toml", "line")


@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (lambda x, t: (np.where(np.arange(x.size).reshape(x.shape) == 5, np.nan, x), t), "NaN"),
        (lambda x, t: (x, t - 1), "label -1"),
        (lambda x, t: (x[:-1], t), "targets"),
    ],
)
def test_wrong_data_is_named(spoil, part: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, t = spoil(rng.normal(size=(20, 2)), np.arange(20) % 2)
    np.savez(tmp_path / "data.npz", inputs=x, targets=t)
    words = ["train", "xor", "--set", "task.kind=arrays", "--set", "task.file=data.npz"]
    refused(dither(*words, cwd=tmp_path), tmp_path, part)


LAB = """
import numpy as np
class Chip:
    parameters = 9
    bounds = (-10.0, 10.0)
    def write(self, theta): self.theta = theta
    def measure(self, inputs): return {answer}
chip = Chip()
"""


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        ("np.full((len(inputs), 1), np.nan)", "NaN"),
        ("np.zeros((len(inputs) + 1, 1))", "shape"),
        ("np.zeros((len(inputs), 7))", "7 outputs"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_device_that_fails_its_self_test(answer: str, part: str, tmp_path: Path) -> None:
    (tmp_path / "lab.py").write_text(LAB.format(answer=answer))
    refused(dither("train", "xor", "--device", "lab.py:chip", cwd=tmp_path), tmp_path, part)


def test_an_algorithm_that_must_see_more_than_the_device_shows(tmp_path: Path) -> None:
    words = ["train", "xor", "--set", 'algorithm={kind="backpropagation", learning_rate=1.0}']
    refused(
        dither(*words, "--set", 'device.access="cost"', cwd=tmp_path), tmp_path,
        "backpropagation", "gradients", "cost",
    )  # fmt: skip


@pytest.mark.long
def test_another_run_in_the_folder(tmp_path: Path) -> None:
    quick = ("train", "xor", "--replicas", "1", "--set", "until.measurements=100", "--out", "a")
    assert dither(*quick, cwd=tmp_path).returncode == 0
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*")}
    done = dither(*quick, cwd=tmp_path)
    assert done.returncode == 2
    assert "another run" in done.stderr
    other = dither(*quick, "--resume", "--set", "algorithm.delta=0.2", cwd=tmp_path)
    assert other.returncode == 2
    assert "another specification" in other.stderr
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*")} == before


def test_the_documentations_own_device_trains_from_the_shell(tmp_path: Path) -> None:
    device = str(ROOT / "examples" / "my_lab.py") + ":chip"
    done = dither("train", "nist7x7", "--device", device, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["score"] >= 0.9
    assert told["ledger"]["measurements"] <= 100_000
    checked = dither("device", "check", device, "--json", cwd=tmp_path)
    assert json.loads(checked.stdout)["parameters"] == 220


def test_a_run_that_is_stopped_at_once_says_so(monkeypatch, capsys):
    def stopped():
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["dither", "presets"])
    command = next(c for c in cli.app.registered_commands if c.callback.__name__ == "presets")
    monkeypatch.setattr(command, "callback", stopped)
    monkeypatch.setattr(command, "name", "presets")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "dither: Interrupted.\n"
