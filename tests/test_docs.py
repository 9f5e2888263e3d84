"""The documentation's own examples run, and pages and examples name the extras that they need."""

import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dither.cli import app
from dither.studies import read_study
from dither.training.specification import Bench, read_specification

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r'^``` { \.\w+ title="(.*?)" }\n(.*?)^```$', re.DOTALL | re.MULTILINE)


def blocks(page):
    """The code of a page, block by block, and what it is written in."""
    return BLOCK.findall((ROOT / "docs" / page).read_text("utf-8"))


def commands(text):
    """The commands of a block for the shell."""
    return [shlex.split(line, comments=True) for line in text.replace("\\\n", "").splitlines()]


def invoked(words):
    """What a command has printed, which must have gone well."""
    done = CliRunner().invoke(app, words[1:])
    assert done.exit_code == 0, (words, done.output, done.exception)
    return done.output


def test_the_page_on_own_data_runs_from_its_first_line_to_its_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").mkdir()
    for name in ("spectra.csv", "mineral_chip.py"):
        shutil.copy(ROOT / "examples" / name, tmp_path / "examples")
    shutil.copy(ROOT / "examples" / "spectra.csv", tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "examples")
    monkeypatch.setattr(sys.modules["dither.cli.train"], "use_all_cores", lambda: None)
    names: dict[str, object] = {}
    said = ""
    for language, text in blocks("data.md"):
        if language == "python":
            if "import torch" in text:
                pytest.importorskip("torch", reason="torch is not installed")
            exec(compile(text, "data.md", "exec"), names)
        elif language == "toml":
            Bench.model_validate({**tomllib.loads(text), "device": "remote://127.0.0.1:9"})
        elif language == "sh":
            said += "".join(invoked(words) for words in commands(text))
    assert len(Path("told.csv").read_text().splitlines()) == 121
    assert names["result"].score is not None
    assert names["task"].outputs == (3,)
    # the sentence that the page shows
    shown = next(text for language, text in blocks("data.md") if "change the network" in text)
    changes = ["task=examples/spectra.csv"]
    with pytest.raises(Exception, match="change the network's input") as caught:
        read_specification("nist7x7", changes).train()
    assert " ".join(shown.split()) == str(caught.value)


SHORT = ["--set", "until.measurements=3000"]
"""Every training of a recipe is cut to this."""
NOT_HERE = {"compare", "paper", "plan", "watch"}
"""Commands that take minutes, or that end by a signal."""


def test_the_recipes_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.setattr(sys.modules["dither.cli.train"], "use_all_cores", lambda: None)
    page = (ROOT / "docs" / "howto.md").read_text("utf-8")
    for name, text in FILE.findall(page):
        Path(name).write_text(text, "utf-8")
    names: dict[str, object] = {}
    ran = []
    for language, text in blocks("howto.md"):
        if language == "python":
            exec(compile(text, "howto.md", "exec"), names)
        for words in commands(text) if language == "sh" else []:
            if words[1] == "study":
                read_study(Path(words[2]))
            elif (
                not NOT_HERE & set(words)
                and "serve" not in words
                and "remote://" not in " ".join(words)
            ):
                invoked([*words, *(SHORT if words[1] == "train" else [])])
                ran.append(words[1])
    assert len(FILE.findall(page)) == 4
    assert set(ran) == {"train", "predict", "device", "presets"}
    assert names["weights"]["dense0/weight"].shape == (49, 4)
    assert len(re.findall("^## ", page, re.MULTILINE)) >= 20


NEEDS = {
    "scpi": r'kind = "scpi"|ScpiConnection',
    "qcodes": r'kind = "qcodes"|QcodesDevice',
    "ophyd": r'kind = "ophyd"|OphydDevice',
    "torch": r'kind = "torch"|^import torch|interop import MGD',
    "aihwkit": r'kind = "aihwkit"',
    "gest": r"DitherGenerator",
    "evolution": r'kind = "evolution"',
    "remote": r"remote://|device serve",
    "cluster": r"--cluster|dask_jobqueue|dask scheduler",
    "studies": r"^\[search\]",
    "watch": r"dither watch",
    "mlflow": r"--track mlflow",
    "tensorboard": r"--track tensorboard",
}
TEXTS = [
    path
    for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.*"))
    if path.suffix in (".md", ".py", ".toml", ".ipynb")
]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_what_a_page_or_an_example_needs_is_named_in_it(path):
    text = path.read_text("utf-8")
    needed = {extra for extra, mark in NEEDS.items() if re.search(mark, text, re.MULTILINE)}
    named = {
        extra
        for extras in re.findall(r"(?:dither|\.)\[([a-z,]+)\]", text)
        for extra in extras.split(",")
    }
    named |= {"scpi", "qcodes", "ophyd"} if "lab" in named else set()
    assert needed <= named
