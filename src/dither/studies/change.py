"""Modified tables of studies and comparisons: fewer points, other settings."""

from collections.abc import Mapping
from typing import Any

from dither.studies.study import plain


def changed(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A study's table, merged recursively with the entries of another.

    Arguments: the table; the changes, in which `only` gives, by axis, the labels of the points that
    are kept; it is applied first.
    Errors: `ValueError` for a label that is not on the axis.
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
