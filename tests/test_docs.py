"""The documentation's own examples run, and pages and examples name the extras that they need."""

import ast
import re
import shlex
import shutil
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dither.cli import app
from dither.studies import read_study
from dither.studies.comparison import read_comparison
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


@pytest.mark.long
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
OWN = (".csv", ".py:", "chip.toml", "runs/minerals", "runs/first")
"""What a recipe names that is run; of the other trainings the settings are read."""


@pytest.mark.long
def test_the_recipes_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.setattr(sys.modules["dither.cli.train"], "use_all_cores", lambda: None)
    page = (ROOT / "docs" / "howto.md").read_text("utf-8")
    for name, text in FILE.findall(page):
        Path(name).write_text(text, "utf-8")
    names: dict[str, object] = {}
    for language, text in blocks("howto.md"):
        if language == "python":
            exec(compile(text, "howto.md", "exec"), names)
        for words in commands(text) if language == "sh" else []:
            check_or_run(*words)
    assert len(Path("told.csv").read_text().splitlines()) == 121
    assert names["weights"]["dense0/weight"].shape == (49, 4)
    assert names["history"]["measurements"].iloc[-1] == 3000
    assert len(re.findall("^## ", page, re.MULTILINE)) >= 20


def check_or_run(dither, command, what, *more):
    """Run a command that takes seconds; of the others, read the file or the settings."""
    assert dither == "dither"
    own = any(mark in word for mark in OWN for word in (what, *more))
    if command == "study":
        read_study(Path(what))
    elif command == "compare":
        read_comparison(Path(what))
    elif command == "train" and not own:
        keys = {"--set": "", "--device": "device=", "--task": "task="}
        given = [keys[option] + word for option, word in pairwise(more) if option in keys]
        read_specification(what, given)
    elif command in ("train", "predict", "presets") or (command, what) == ("device", "check"):
        invoked([dither, command, what, *more, *(SHORT if command == "train" else [])])


def said_in_the_source():
    """The texts of the package, with … for what is filled in."""
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(getattr(part, "value", "…") for part in map(constant, node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def constant(part):
    return part if isinstance(part, ast.Constant) else None


def test_the_messages_that_troubleshooting_quotes_are_said_by_the_source():
    paragraphs = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8").split("\n\n")
    quoted = [
        quote.strip()
        for paragraph in paragraphs
        if paragraph.startswith("`")
        for _, quote in re.findall(r"(`+)(.+?)\1(?!`)", paragraph, re.DOTALL)
    ]
    texts = set(said_in_the_source())
    unknown = [quote for quote in quoted if not any(contains(text, quote) for text in texts)]
    assert len(quoted) > 50
    assert not unknown


def contains(text, quote):
    """Whether the parts of a quotation follow one another in a text."""
    parts = [re.escape(part.strip()) for part in quote.split("…")]
    return re.search(".*".join(parts), text, re.DOTALL) is not None


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
