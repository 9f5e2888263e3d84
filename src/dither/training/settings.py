"""Settings by key path, such as `algorithm.delta` or `device.imperfections.0.sigma`."""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

from jaxtyping import Array, Float

from dither._configuration import Configuration
from dither._errors import RequestError

T = TypeVar("T")

Varied: TypeAlias = Mapping[str, float | Float[Array, "*R"]]
"""Values by key path: for one replica, or one for each."""


def setting(whole: Any, path: str) -> Any:
    """The setting at a key path of a table or a configuration; None if it does not exist."""
    for key in path.split("."):
        try:
            if isinstance(whole, Configuration):
                whole = getattr(whole, key)
            else:
                whole = whole[int(key) if isinstance(whole, list | tuple) else key]
        except (AttributeError, LookupError, TypeError, ValueError):
            return None
    return whole


def settings(table: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """The settings of a specification's table, as text by key path."""
    found: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= settings(value, f"{above}{key}.")
        elif value is not None:
            found[above + key] = value if isinstance(value, str) else json.dumps(value)
    return found


def without_none(value: Any) -> Any:
    """A table without values of None, which TOML cannot represent."""
    if isinstance(value, Mapping):
        return {key: without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [without_none(inner) for inner in value]
    return value


def change_setting(table: dict[str, Any], path: str, value: Any) -> None:
    """Change a setting in a specification's table, which is validated later.

    Arguments: the table; the key path; the value. A kind given by name alone becomes a table.
    Errors: `RequestError` for a path through a value that is not a table.
    """
    keys = [key.strip() for key in path.split(".")]
    if not all(keys):
        raise RequestError(f"'{path}' is not the path of a setting, such as algorithm.delta.")
    here: Any = table
    for depth, key in enumerate(keys[:-1]):
        if isinstance(here, list):
            here = here[_index(here, key, path)]
            continue
        inner = here.setdefault(key, {})
        if isinstance(inner, str):
            here[key] = inner = {"name" if key in ("optimizer", "schedule") else "kind": inner}
        if not isinstance(inner, dict | list):
            above = ".".join(keys[: depth + 1])
            raise RequestError(
                f"The setting {path} is inside {above}, which is not a table; correct the key path."
            )
        here = inner
    here[_index(here, keys[-1], path) if isinstance(here, list) else keys[-1]] = value


def _index(items: list[Any], key: str, path: str) -> int:
    if not key.isdigit() or int(key) >= len(items):
        raise RequestError(f"The key path {path} needs an index below {len(items)}, not '{key}'.")
    return int(key)


def vary(part: T, name: str, varied: Varied) -> T:
    """A part of a run with its varied settings replaced.

    Arguments: `part`, a configuration, called `name`; `varied`, by key paths that begin with the
    name of a part; those of other parts are ignored.
    Errors: `LookupError` if a path does not exist.
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
    return part.model_copy(update={first: _replaced(getattr(part, first), rest, value)})
