"""The names of a study's axes, in words instead of key paths."""

from collections.abc import Mapping
from typing import Any

from dither.studies.study import PARAMETERS, Study

WORDS = {
    "batch": "batch size",
    "delta": "perturbation amplitude delta",
    "tau_p": "perturbation period tau_p",
    "tau_theta": "update period tau_theta",
    "tau_x": "batch period tau_x",
    "widths": "layer widths",
}
"""Words for settings whose names are not self-explanatory."""

LIMITS = {"measurements": "budget of measurements", "score": "target score"}
"""The same for a run's stop rules."""

SHORT = {"adc": "ADC", "dac": "DAC", "mgd": "MGD", "spsa": "SPSA", "cnn": "CNN", "mlp": "MLP"}
"""Kinds that are abbreviations."""


def axis_words(study: Study) -> dict[str, str]:
    """The name of each axis: a given name unchanged, a key path in words.

    Two axes with the same words keep their key paths.
    """
    base = study.base_table()
    told = {
        axis: words_of(axis, base) if isinstance(values, list) or axis in values else axis
        for axis, values in study.axes.items()
    }
    twice = {one for one in told.values() if list(told.values()).count(one) > 1}
    told = {axis: axis if words in twice else words for axis, words in told.items()}
    return {PARAMETERS: "parameters P", **told}


def words_of(path: str, table: Mapping[str, Any]) -> str:
    """A key path in words: `DAC bits` for `device.imperfections.0.bits`.

    Arguments: the path; the specification's table, with the kinds of its parts.
    """
    *above, field = path.split(".")
    if field in ("kind", "name") and above:
        of = [key for key in above if not key.isdigit()][-1]
        return _spaced(of.removesuffix("s") if above[-1].isdigit() else of)
    if above[:1] == ["until"] and field in LIMITS:
        return LIMITS[field]
    words = WORDS.get(field, _spaced(field))
    if not above or not above[-1].isdigit():  # the run's only part of that sort
        return words
    kind = _kind(above, table)
    return f"{kind} {words}" if kind else words


def _kind(keys: list[str], table: Any) -> str:
    """The kind of the part at a key path, in words; None if the table has no such part."""
    for key in keys:
        try:
            table = table[int(key) if isinstance(table, list) else key]
        except (KeyError, IndexError, TypeError, ValueError):
            return ""
    kind = table if isinstance(table, str) else table.get("kind", "")
    return " ".join(SHORT.get(part, part) for part in str(kind).split("-"))


def _spaced(key: str) -> str:
    return key.replace("_", " ").replace("-", " ")
