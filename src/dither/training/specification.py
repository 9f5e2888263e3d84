"""Specifications of runs: presets and TOML files, with changed settings."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tomlkit
from pydantic import AfterValidator, Field, ValidationError, model_validator

from dither._configuration import Configuration
from dither._errors import RequestError, nearest
from dither._explain import explain, key_path
from dither._files import is_file, read_file
from dither._places import absolute
from dither._seal import check_toml
from dither.algorithms import AnyAlgorithm
from dither.devices.device import AbstractDevice
from dither.devices.fleet import Fleet
from dither.instruments.connection import AbstractConnection
from dither.instruments.network import SCHEME
from dither.tasks import AnyTask
from dither.training.kinds import AnyDevice
from dither.training.result import Result
from dither.training.run import Observer
from dither.training.settings import change_setting
from dither.training.train import train
from dither.training.until import Until

SEALED = ("spec.toml", "study.toml")
"""The files that dither writes in the folders of runs and studies."""

C = TypeVar("C", bound=Configuration)


def _names_a_folder(name: str) -> str:
    if not name.strip(". ") or re.search(r"[/\\\x00-\x1f]", name):
        raise ValueError("the name is used for folders; give a name without slashes")
    return name


class Specification(Configuration):
    """The specification of a run: task, device, algorithm and stop rules.

    Arguments:
        name: the name of the run.
        about: a description in one line.
        seed: the seed of the first replica; replica r has seed + r.
        replicas: the number of instances trained side by side.
        score_every: training measurements between evaluations.
        start_from: the folder of a run whose parameters are the start.
        task, device, algorithm: each a table with its `kind`; several tables `[[device]]` form a
            fleet, trained as one.
        devices: the size of a fleet of simulated devices like `device`, ≥ 1.
        until: the stop rules.
    """

    name: Annotated[str, AfterValidator(_names_a_folder)] = "run"
    about: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    replicas: Annotated[int, Field(ge=1)] = 1
    score_every: Annotated[int, Field(ge=1)] | None = None
    start_from: str | None = None
    task: AnyTask
    device: AnyDevice
    devices: Annotated[int, Field(ge=1)] = 1
    algorithm: AnyAlgorithm
    until: Until

    @model_validator(mode="after")
    def _as_fleet(self) -> "Specification":
        if self.devices > 1:
            if not isinstance(self.device, AbstractDevice):
                raise ValueError(
                    f"devices = {self.devices} is for a simulated device; give each real one a "
                    "table [[device]]"
                )
            fleet = Fleet(devices=(self.device,), copies=self.devices)
            # frozen: a shorthand is stored as if it had been given in full
            self.__dict__.update(device=fleet, devices=1)
        return self

    def train(
        self,
        out: str | Path | None = None,
        *,
        resume: bool = False,
        observers: Sequence[Observer] = (),
        track: str | None = None,
    ) -> Result:
        """Run the specification; see `dither.train`."""
        return train(
            self.device,
            self.task,
            self.algorithm,
            key=self.seed,
            until=self.until,
            replicas=self.replicas,
            score_every=self.score_every,
            start_from=self.start_from,
            out=out,
            resume=resume,
            observers=observers,
            track=track,
            name=self.name,
        )


def preset_names() -> list[str]:
    """The names of dither's presets."""
    files = resources.files("dither") / "presets"
    return sorted(p.name.removesuffix(".toml") for p in files.iterdir() if p.name.endswith(".toml"))


def read_table(
    what: str, changes: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, int], str]:
    """The table of a preset, a TOML file or a run's folder, with changes.

    Returns: the table; the line of each key path; the source.
    Errors: `RequestError`.
    """
    table, lines, where = _table_of(what)
    for change in changes:
        _change(table, change)
    return table, lines, where


def _table_of(what: str) -> tuple[dict[str, Any], dict[str, int], str]:
    path = Path(what)
    try:
        if is_file(path / "spec.toml"):
            path = path / "spec.toml"
    except (OSError, ValueError) as error:
        raise RequestError(
            f"{what!r:.80} is not the name of a preset or a file: {error!s:.80}."
        ) from None
    if path.suffix == ".toml":
        table, text = read_toml(path)
        return absolute(table, path.parent), _lines(text), str(path)
    if what not in preset_names():
        raise RequestError(f"There is no preset '{what}'; {nearest(what, preset_names())}")
    text = (resources.files("dither") / "presets" / f"{what}.toml").read_text(encoding="utf-8")
    return {"name": what, **tomllib.loads(text)}, _lines(text), what


def read_toml(path: Path) -> tuple[dict[str, Any], str]:
    """The table in a TOML file, with the file's name if it has none, and the text.

    Errors: `RequestError` for a file that is missing, unreadable, or not TOML.
    """
    content = read_file(path)
    if path.name in SEALED:
        check_toml(path, content)
    try:
        text = content.decode("utf-8-sig")
        return {"name": path.stem, **tomllib.loads(text)}, text
    except ValueError as error:  # of tomllib, or of Python for a number with thousands of digits
        raise RequestError(f"{path} is not TOML: {str(error).partition(';')[0]}.") from None
    except RecursionError:
        raise RequestError(f"{path} is not TOML: its tables are nested too deep.") from None


def read_specification(what: str, changes: Sequence[str] = ()) -> Specification:
    """The specification of a preset, a TOML file or a run's folder, with changes.

    Arguments: `what`; `changes`, each `key.path=value` with a TOML value (a bare word is a string).
    Errors: `RequestError` in one sentence with the line or the key path.
    """
    table, lines, where = read_table(what, changes)
    return validated(Specification, table, lines, where, changes)


class Bench(Configuration):
    """The device of a specification and its task, for a check before training.

    Arguments: `task`, whose inputs are measured, by default the device's own; `device`.
    """

    task: AnyTask | None = None
    device: AnyDevice

    def real_device(self) -> AbstractConnection:
        """The device, which must be real. Errors: `RequestError` if it is simulated."""
        if not isinstance(self.device, AbstractConnection):
            raise RequestError(
                "The device is simulated, so there is nothing to check; give a device of kind "
                "lab, remote, scpi, qcodes or ophyd."
            )
        return self.device


def read_bench(what: str, task: str | None = None, changes: Sequence[str] = ()) -> Bench:
    """The task and the device of a TOML file, or the device at a place, with changes.

    Arguments: a TOML file, whose other tables are optional, `FILE.py:NAME`, `MODULE:NAME` or
    `remote://HOST:PORT`; a task that replaces the file's; `changes`, each `key.path=value`.
    Errors: `RequestError` in one sentence with the line or the key path.
    """
    if what.endswith(".toml"):
        table, lines, where = read_table(what)
    else:
        device = what if what.startswith(SCHEME) else {"kind": "lab", "object": absolute(what)}
        table, lines, where = {"device": device}, {}, f"The device {what}"
    bench = {key: table[key] for key in table if key in Bench.model_fields}
    if task is not None:
        bench["task"] = task
    for change in changes:
        _change(bench, change)
    return validated(Bench, bench, lines, where, changes)


def validated(
    model: type[C],
    table: dict[str, Any],
    lines: Mapping[str, int],
    where: str,
    changes: Sequence[str] = (),
) -> C:
    """A table as a configuration. Errors: `RequestError` with the line or the key path."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        keys = key_path(error)
        changed = any(keys[: len(path)] == path for path in _paths(changes))
        line = None if changed else _line_of(keys, lines)
        place = where if line is None else f"{where}, line {line}"
        raise RequestError(explain(error, place, model, table)) from None


def _paths(changes: Sequence[str]) -> list[list[str]]:
    """The key path of each changed setting."""
    return [change.partition("=")[0].strip().split(".") for change in changes]


def _change(table: dict[str, Any], change: str) -> None:
    path, equals, text = change.partition("=")
    if not equals or not path.strip():
        raise RequestError(f"The change '{change}' is not of the form key=value.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = _number_or_text(text.strip())
    change_setting(table, path, absolute(value))


def _number_or_text(text: str) -> float | str:
    """A number in a form that TOML does not allow, such as .5, or a bare word."""
    try:
        return float(text)
    except ValueError:
        return text


def _lines(text: str) -> dict[str, int]:
    """The line of every key path in a TOML text, found in simple tables."""
    lines, table = {}, ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+\s*([\w.\-]+)\s*\]+", line):
            table = f"{header[1]}."
            lines[header[1]] = number
        elif key := re.match(r"\s*([\w.\-]+)\s*=", line):
            lines[f"{table}{key[1]}"] = number
    return lines


def _line_of(keys: Sequence[str], lines: Mapping[str, int]) -> int | None:
    """The line of the longest known key path that leads to a place."""
    for length in range(len(keys), 0, -1):
        if (path := ".".join(keys[:length])) in lines:
            return lines[path]
    return None


def to_toml(specification: Specification) -> str:
    """The specification as TOML."""
    return tomlkit.dumps(specification.model_dump(mode="json", exclude_none=True))
