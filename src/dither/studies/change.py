"""A study's or comparison's table with some of its points, and other settings."""

from collections.abc import Mapping
from typing import Any

from dither.studies.study import plain


def changed(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A study's table with another's entries, tables in it merged likewise.

    Arguments: the table; the changes, of which `only` names, by axis, the labels of the points that
    are kept, before all others are made.
    Errors: `ValueError` for a label that the axis has not.
    """
    rest = dict(changes)
    kept = {axis: _points(table["axes"][axis], axis, labels)
            for axis, labels in rest.pop("only", {}).items()}  # fmt: skip
    whole = {**table, "axes": {**table["axes"], **kept}} if kept else table
    return _merged(whole, rest)


def _points(axis: Any, name: str, labels: list[Any]) -> Any:
    lists = axis if isinstance(axis, dict) else {name: axis}
    known = [plain(label) for label in lists.get("label") or next(iter(lists.values()))]
    places = [known.index(label) for label in labels]
    kept = {key: [values[place] for place in places] for key, values in lists.items()}
    return kept if isinstance(axis, dict) else kept[name]


def _merged(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(table)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
