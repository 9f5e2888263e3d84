"""A Griffe extension that converts docstrings to Markdown and adds tables of settings."""

import re
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at
import griffe
from pydantic.fields import FieldInfo

from dither._configuration import Configuration, Registry
from dither._errors import RequestError

LABEL = re.compile(r"(Arguments|Attributes|Returns|Errors|Source)\b([^:`]{0,20}):(.*)")
ENTRY = re.compile(r" {4}(\w[\w, ]*): (.*)")
PAPERS = re.findall(r"\{ #(\w+) \}", (Path(__file__).parent / "papers.md").read_text("utf-8"))
WORDS = {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path"}


class Docstrings(griffe.Extension):
    """Rewrites all docstrings of the loaded package."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Called by Griffe after a package has been loaded."""
        self._visit(pkg)

    def _visit(self, thing: griffe.Object) -> None:
        if thing.docstring:
            thing.docstring.value = markdown(thing.docstring.value)
            if thing.is_class and (table := settings_table(thing)):
                thing.docstring.value += f"\n\n{table}"
        for member in thing.members.values():
            if not member.is_alias:
                self._visit(member)


def markdown(text: str) -> str:
    """Convert a docstring to Markdown.

    Labels become bold, indented entries become lists, and papers become links.
    """
    lines: list[str] = []
    listing = False
    for line in text.splitlines():
        if label := LABEL.match(line):
            listing = not label[3].strip()
            lines += ["", f"**{label[1]}{label[2]}:**{label[3]}", *([""] if listing else [])]
        elif listing and (entry := ENTRY.match(line)):
            names = ", ".join(f"`{name.strip()}`" for name in entry[1].split(","))
            lines.append(f"- {names}: {entry[2]}")
        elif listing and line.startswith("     "):
            lines.append(f"  {line.strip()}")
        else:
            listing = listing and not line.strip()
            lines.append(line)
    linked = "\n".join(lines)
    for paper in PAPERS:
        linked = re.sub(rf"\b{paper}\b", f"[{paper}][{paper}]", linked)
    return linked


def settings_table(cls: griffe.Class) -> str:
    """The table of settings of a configuration, from its pydantic fields."""
    try:
        module = import_module(cls.module.path)
    except RequestError:  # the module needs a package of an extra and contains no configuration
        return ""
    model = getattr(module, cls.name, None)
    if not (isinstance(model, type) and issubclass(model, Configuration)):
        return ""
    rows = [
        f"| `{name}` | {kind_of(field)} | {default_of(field)} | {range_of(field)} |"
        for name, field in model.model_fields.items()
        if name != "kind"
    ]
    if not rows:
        return ""
    return "\n".join(["| setting | type | default | range |", "| --- | --- | --- | --- |", *rows])


def _parts(field: FieldInfo) -> tuple[Any, list[Any]]:
    """The type of a field without `| None`, and the annotations of its range."""
    kind, marks = field.annotation, list(field.metadata)
    while True:
        inner = get_args(kind)
        if get_origin(kind) is Annotated:
            kind, marks = inner[0], [*marks, *_flat(inner[1:])]
        elif get_origin(kind) in (Union, UnionType) and NoneType in inner and len(inner) == 2:
            kind = next(one for one in inner if one is not NoneType)
        else:
            return kind, marks


def _flat(marks: tuple[Any, ...]) -> list[Any]:
    return [one for m in marks for one in (m.metadata if isinstance(m, FieldInfo) else [m])]


def kind_of(field: FieldInfo) -> str:
    """The type of a field in the terms of a TOML file."""
    kind, marks = _parts(field)
    return _say(kind, marks)


def _say(kind: Any, marks: list[Any]) -> str:
    inner = get_args(kind)
    choice = next((mark for mark in marks if isinstance(mark, Registry)), None)
    if choice is not None:
        cls = inner[0] if inner else kind
        return f"[{choice.what}][{cls.__module__}.{cls.__qualname__}]"
    if get_origin(kind) is Annotated:
        return _say(inner[0], _flat(inner[1:]))
    if get_origin(kind) is Literal:
        return ", ".join(f"`{word}`" for word in inner)
    if get_origin(kind) is tuple and all(get_origin(one) is tuple for one in inner[:1]):
        return "table"
    if get_origin(kind) is tuple:
        length = "list" if inner[-1] is Ellipsis else f"list of {len(inner)}"
        return f"{length}: {_say(inner[0], [])}"
    if isinstance(kind, type) and issubclass(kind, Configuration):
        return f"[{kind.__name__}][{kind.__module__}.{kind.__qualname__}]"
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_say(one, []) for one in inner)
    return WORDS.get(kind, getattr(kind, "__name__", str(kind)))


def default_of(field: FieldInfo) -> str:
    """The default of a field as written in a TOML file."""
    if field.is_required():
        return "*required*"
    return _value(field.default)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Configuration):
        return f"`{getattr(value, 'kind', None) or getattr(value, 'name', '')}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def range_of(field: FieldInfo) -> str:
    """The permitted range of a field, or of each entry of its list."""
    kind, marks = _parts(field)
    said = _range(marks)
    for inner in get_args(kind)[:1] if get_origin(kind) is tuple else ():
        if get_origin(inner) is Annotated and (each := _range(_flat(get_args(inner)[1:]))):
            said = ", ".join(filter(None, [said, f"each {each}"]))
    return said


def _range(marks: list[Any]) -> str:
    signs = {at.Gt: (">", "gt"), at.Ge: ("≥", "ge"), at.Lt: ("<", "lt"), at.Le: ("≤", "le")}
    said = [
        f"{sign} {_number(getattr(mark, name))}"
        for mark in marks
        for cls, (sign, name) in signs.items()
        if isinstance(mark, cls)
    ]
    said += [f"at least {m.min_length} entries" for m in marks if isinstance(m, at.MinLen)]
    return ", ".join(said)


def _number(value: float) -> str:
    power = int(value).bit_length() - 1
    return f"2^{power}^" if value > 10**6 and value == 2**power else f"{value:g}"
