"""Replicas that differ in a number of their configuration, side by side in one program."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

from jaxtyping import Array, Float

from dither._configuration import Configuration

T = TypeVar("T")

Varied: TypeAlias = Mapping[str, float | Float[Array, "*R"]]
"""Values by key path, such as `algorithm.learning_rate`: of one replica, or one for each."""


def vary(part: T, name: str, varied: Varied) -> T:
    """A part of a run with its varied settings replaced.

    Arguments: `part`, a configuration, known as `name`; `varied`, by key paths that begin with the
    names of parts; those of other parts are left out.
    Errors: `LookupError` where a path leads nowhere.
    """
    for path, value in varied.items():
        first, *keys = path.split(".")
        if first == name:
            part = _replaced(part, keys, value)
    return part


def _replaced(part: Any, keys: list[str], value: Any) -> Any:
    if not keys:
        return value
    first, rest = keys[0], keys[1:]
    if isinstance(part, tuple):
        items = list(part)
        items[int(first)] = _replaced(items[int(first)], rest, value)
        return tuple(items)
    if not isinstance(part, Configuration) or first not in type(part).model_fields:
        raise LookupError(first)
    copy = part.model_copy(update={first: _replaced(getattr(part, first), rest, value)})
    for owner in type(part).__mro__:
        for name, attribute in vars(owner).items():
            if isinstance(attribute, cached_property):
                copy.__dict__.pop(name, None)
    return copy
