"""Every field of every configuration filled with nonsense, and what people type by mistake."""

import contextlib
import copy
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main
from pydantic.fields import FieldInfo

import dither.cli
from dither import read_specification
from dither._configuration import Configuration
from dither.algorithms.optimizer import Optimizer, Schedule
from dither.instruments import Guard
from dither.instruments.scpi_commands import Channels, Readings
from dither.studies.search import Search
from dither.studies.study import FitOf, Study
from dither.testing.settings import REGISTRIES
from dither.training.specification import Specification
from dither.training.until import Until
from mistakes import FILES, LAB_FILE, MISTAKES
from nonsense import nonsense

XOR = read_specification("xor").model_dump(mode="json", exclude_none=True)
LAB = {"object": "lab.py:chip"}
KNOBS = {**LAB, "parameters": ["a"], "outputs": ["b"]}
CHANNELS = {"write": "VOLT {channel},{value}", "count": 2, "bounds": [0.0, 1.0]}
READINGS = {"query": "READ? {values}"}
SCPI = {"resource": "x", "channels": {"a": CHANNELS}, "readings": READINGS}
STUDY = {"base": XOR, "axes": {"algorithm.delta": [0.1, 0.2]}}
SEARCH = {"low": 0.1, "high": 1.0}

GIVEN = {
    "lab": LAB, "remote": {"address": "localhost:7700"}, "torch": LAB, "scpi": SCPI,
    "qcodes": KNOBS, "ophyd": KNOBS, "aihwkit": LAB, "series-file": {"file": "x.csv"},
    "arrays": {"file": "x.npz"}, "csv": {"file": "x.csv"},
}  # fmt: skip
"""Settings of the kinds that have no example."""

HOMES = {
    "algorithm": ("algorithm",), "code": ("algorithm", "code"), "update": ("algorithm", "update"),
    "device": ("device",), "imperfection": ("device", "imperfections"), "task": ("task",),
    "network": ("device", "network"), "reservoir": ("device", "reservoir"),
    "selection": ("algorithm", "selection"), "series": ("task", "series"),
    "sampler": ("task", "sampler"), "stencil": ("task", "derivatives"),
}  # fmt: skip
"""Where each family stands in a specification."""

AROUND = {
    ("device", "reservoir"): {"kind": "readout"},
    ("algorithm", "selection"): {"kind": "coordinate-descent"},
    ("task", "series"): {"kind": "series"},
    ("task", "sampler"): {"kind": "xor"},
    ("task", "derivatives"): {"kind": "poisson-1d"},
    ("device", "guard"): {"kind": "lab", **LAB},
    ("device", "channels"): {"kind": "scpi", **SCPI},
    ("device", "readings"): {"kind": "scpi", **SCPI},
}
"""What must stand around a part."""


FIRST: dict[tuple[type, str], type] = {}
"""In which class a field is tried, by where it comes from."""


class Subject(NamedTuple):
    """A configuration: its class, its settings, and where they stand in a request."""

    cls: type[Configuration]
    table: dict[str, Any]
    home: tuple[str, ...]
    study: bool = False

    def fields(self) -> Iterator[tuple[str, FieldInfo]]:
        """Its fields; those that several inherit from one class are of the first of them only."""
        for name, field in self.cls.model_fields.items():
            owner = next(c for c in self.cls.__mro__ if name in vars(c).get("__annotations__", ()))
            if name != "kind" and FIRST.setdefault((owner, name), self.cls) is self.cls:
                yield name, field

    def request(self, table: Any) -> dict[str, Any]:
        """A specification, or a study, with these settings in their place."""
        whole: dict[str, Any] = copy.deepcopy(STUDY if self.study else XOR)
        if not self.home:
            return table
        *above, last = self.home
        if self.home in AROUND:
            whole[above[0]] = copy.deepcopy(AROUND[self.home])
        here = whole
        for key in above:
            here = here[key]
        here[last] = {"imperfections": [table], "channels": {"a": table}, "fits": [table]}.get(
            last, table
        )
        return whole


def _subjects() -> Iterator[Any]:
    for registry in REGISTRIES:
        for kind, cls in registry.items():
            table = GIVEN.get(kind) or cls.example().model_dump(mode="json", exclude_none=True)
            yield pytest.param(Subject(cls, {"kind": kind, **table}, HOMES[registry.what]), id=kind)
    optimizer = {"name": "adam", "settings": {"b1": 0.5}}
    for cls, table, home, study in (
        (Specification, XOR, (), False),
        (Until, XOR["until"], ("until",), False),
        (Optimizer, optimizer, ("algorithm", "optimizer"), False),
        (Schedule, {"name": "constant_schedule"}, ("algorithm", "optimizer", "schedule"), False),
        (Guard, {}, ("device", "guard"), False),
        (Channels, CHANNELS, ("device", "channels"), False),
        (Readings, READINGS, ("device", "readings"), False),
        (Study, STUDY, (), True),
        (Search, SEARCH, ("search",), True),
        (FitOf, {"x": "algorithm.delta"}, ("fits",), True),
    ):  # fmt: skip
        yield pytest.param(Subject(cls, table, home, study), id=cls.__name__)


SUBJECTS = list(_subjects())


def toml(table: dict[str, Any]) -> str:
    """A table as TOML, also of values that no field can hold; tomlkit takes ten times longer."""
    return "".join(f"{key} = {_toml(value)}\n" for key, value in table.items())


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value) if isinstance(value, str | bool) else str(value)


def wrong_tables(subject: Subject) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """The settings with one field spoilt, with one that is missing, and with one too many."""
    for name, field in subject.fields():
        for value in nonsense(field):
            yield name, value, {**subject.table, name: value}
        if field.is_required():
            yield name, "missing", {k: v for k, v in subject.table.items() if k != name}
    yield "no_such_setting", 1, {**subject.table, "no_such_setting": 1}


COMMANDS = typer.main.get_command(dither.cli.app)


class Shell:
    """The shell in this process: what it says, and its exit status. Nothing is trained."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        patch.chdir(folder)
        patch.setattr(sys.modules["dither.cli.train"], "use_all_cores", lambda: None)
        # the same commands, made once
        patch.setattr(dither.cli, "app", COMMANDS)
        patch.setattr(Specification, "train", accepted)
        patch.setattr("dither.studies.store.open_study", accepted)
        self.patch, self.said = patch, ""

    def __call__(self, *words: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        self.patch.setattr(sys, "argv", ["dither", *words])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                dither.cli.main()
            except SystemExit as ended:
                return int(ended.code or 0), out.getvalue(), err.getvalue()
        raise AssertionError("the shell has not ended")


class Accepted(Exception):
    """A request was taken for a right one."""


def accepted(*_: Any, **__: Any) -> None:
    raise Accepted


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(tmp_path, monkeypatch)


def fault(shell: Shell, *words: str) -> str:
    """What is wrong with how the shell has refused a request; empty where nothing is."""
    before = sorted(path.name for path in shell.folder.rglob("*"))
    try:
        status, out, err = shell(*words)
    except Accepted:
        return "accepted"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {error}"
    lines = err.strip().splitlines()
    shell.said = err
    if status != 2 or out or len(lines) != 1 or not err.startswith("dither: "):
        return f"status {status}, {len(lines)} lines: {err[:200]}"
    if sorted(path.name for path in shell.folder.rglob("*")) != before:
        return "written"
    return "" if err.rstrip()[-1] in ".?" else f"no sentence: {err}"


@pytest.mark.long
@pytest.mark.parametrize("subject", SUBJECTS)
def test_nonsense_in_any_field_is_refused(subject: Subject, shell: Shell) -> None:
    command = "study" if subject.study else "train"
    file, asked = shell.folder / "a.toml", (command, "a.toml", "--out", "out")
    file.write_text(toml(subject.request(subject.table)))
    assert fault(shell, *asked) == "accepted"
    faults = []
    for name, value, table in wrong_tables(subject):
        file.write_text(toml(subject.request(table)))
        found = fault(shell, *asked)
        if not found and name not in shell.said and not isinstance(value, dict):
            found = f"unnamed: {shell.said}"
        if found:
            faults.append(f"{name} = {value!r}: {found}")
    assert not faults, "\n".join(faults)


@pytest.fixture
def furnished(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A folder with what can be taken for something else; training ends where it begins."""
    monkeypatch.undo()
    monkeypatch.chdir(shell.folder)
    monkeypatch.setattr(sys.modules["dither.cli.train"], "use_all_cores", lambda: None)
    monkeypatch.setattr("dither.training.run.Run.go", accepted)
    monkeypatch.setattr("dither.studies.run.work", accepted)
    for name, content in FILES.items():
        (shell.folder / name).write_bytes(content)
    (shell.folder / "lab.py").write_text(LAB_FILE)
    for name in ("folder", "folder.toml", "empty_folder", "full"):
        (shell.folder / name).mkdir()
    (shell.folder / "full" / "notes.txt").write_text("mine")
    return shell


def test_mistakes_are_told_in_a_sentence(furnished: Shell) -> None:
    faults = []
    for words in MISTAKES:
        if found := fault(furnished, *words):
            faults.append(f"{' '.join(words)[:120]}: {found}")
    assert not faults, "\n".join(faults)


def test_there_are_hundreds() -> None:
    """By count, of what the two tests above ask for."""
    FIRST.clear()
    subjects = [parameter.values[0] for parameter in SUBJECTS]
    assert sum(len(list(wrong_tables(subject))) for subject in subjects) > 2500
    assert len(MISTAKES) >= 200


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["train", "deep.toml"], ["deep.toml", "nested too deep"]),
        (["train", "xor", "--replicas", "2147483647"], ["GB", "fewer replicas"]),
    ],
)
def test_the_same_in_a_process_of_its_own(words, parts, tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "dither.cli", *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1
    assert all(part in done.stderr for part in parts), done.stderr
    assert not (tmp_path / "runs").exists()
