"""Nonsense for a field, whatever it means: of a wrong type, no number, infinite, out of range."""

import datetime
import math
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dither._configuration import Registry

NO_NUMBERS = (
    "fast", "3", "", True, {"a": 1}, [[1]], [1, "a"], math.nan, math.inf, -math.inf, 1e308, -1e308,
    10**400, datetime.date(2026, 11, 28),
)  # fmt: skip
NO_WHOLE_NUMBERS = (*NO_NUMBERS, 2.5, 10**30, -(10**30))
NO_CHOICES = ("no-such-choice", 3, 0.5, True, ["a"], {"a": 1}, "")
NO_PARTS = ("no-such-kind", "", 3, True, [[1]], {}, {"kind": 3}, {"kind": "no-such-kind"})
NO_LISTS = (3, "a", True, {"a": 1}, math.nan)
NO_TEXT = (3, True, 0.5, ["a"], {"a": 1})


def nonsense(field: FieldInfo) -> list[Any]:
    """What no field of this type and range can hold."""
    if any(isinstance(mark, Registry) for mark in field.metadata):
        return list(NO_PARTS)
    kinds = list(_members(field.annotation, tuple(field.metadata)))
    return [
        value
        for kind, marks in kinds
        for value in _wrong(kind, marks)
        if not any(_takes(other, value) for other, _ in kinds if other is not kind)
    ]


def _members(kind: Any, marks: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The types of which a field takes any, each with its marks."""
    if get_origin(kind) is Annotated:
        inner, *more = get_args(kind)
        own = [
            m for mark in more for m in (mark.metadata if isinstance(mark, FieldInfo) else [mark])
        ]
        yield from _members(inner, (*marks, *own))
    elif get_origin(kind) in (Union, types.UnionType):
        for one in get_args(kind):
            yield from _members(one, marks)
    elif kind is not type(None):
        yield kind, marks


def _wrong(kind: Any, marks: Sequence[Any]) -> Iterator[Any]:
    origin, inner = get_origin(kind), get_args(kind)
    if any(isinstance(mark, Registry) for mark in marks):
        yield from NO_PARTS
    elif origin is Literal:
        yield from NO_CHOICES
    elif origin is dict:
        yield from (3, "a", True, [1])
    elif origin is tuple:
        yield from NO_LISTS
        for one, its in _members(inner[0]):
            yield from (
                [value] * (2 if Ellipsis in inner else len(inner)) for value in _wrong(one, its)
            )
    elif kind is bool:
        yield from ("maybe", "", 3, 0.5, ["a"], {"a": 1}, math.nan)
    elif kind in (int, float):
        yield from NO_WHOLE_NUMBERS if kind is int else NO_NUMBERS
        yield from _beyond(marks, 1 if kind is int else 1e-3)
    elif kind in (str, Path):
        yield from NO_TEXT
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        yield from (3, True, ["a"], "no-such-name", {"no_such_key": 1})


def _beyond(marks: Sequence[Any], step: float) -> Iterator[float]:
    for mark in marks:
        for name, way, inside in (("ge", -1, 1), ("gt", -1, 0), ("le", 1, 1), ("lt", 1, 0)):
            if (end := getattr(mark, name, None)) is not None:
                yield from (end + way * inside * step, end + way * 10**6)


def _takes(kind: Any, value: Any) -> bool:
    if kind in (int, float):
        return type(value) in (int, float) and abs(value) < 10
    if kind in (str, Path):
        return isinstance(value, str)
    return get_origin(kind) is Literal and value in get_args(kind)
