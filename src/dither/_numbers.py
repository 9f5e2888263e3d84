"""Validation of numbers from outside: real, whole, and finite in single precision."""

import operator
import re
from typing import Any

import numpy as np
from jaxtyping import Float

from dither._errors import RequestError

MOST = float(np.finfo(np.float32).max)
"""The largest number in single precision."""

DOUBT = 6
"""The number of digits from which a comma before them counts as a decimal comma."""

PAIR = re.compile(r"\s*[+-]?\d+,(\d+)(E[+-]?\d+)?\s*", re.IGNORECASE)


def real(given: Any) -> Float[np.ndarray, "..."]:
    """Numbers as a new array of doubles.

    Errors: `ValueError`, the end of a sentence, for values that are masked, complex or not numbers.
    """
    if type(given) is np.ndarray and given.dtype == float:
        return given.copy()
    if given is None:
        raise ValueError("None instead of numbers")
    if isinstance(given, list | tuple) and any(isinstance(g, np.ma.MaskedArray) for g in given):
        given = np.ma.array(given)
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise ValueError("masked values; leave them out or fill them in")
    try:
        found = np.asarray(given)
    except ValueError:
        raise ValueError("rows of unequal lengths") from None
    if np.iscomplexobj(found):
        raise ValueError("complex numbers; convert them to real ones, such as abs(y)**2")
    try:
        return np.array(found, float)
    except (TypeError, ValueError):
        raise ValueError(f"values of type {found.dtype} instead of numbers") from None


def finite(values: Float[np.ndarray, "..."]) -> bool:
    """Whether all numbers are finite in single precision."""
    return bool(np.abs(values).max(initial=0.0) <= MOST)


def decimal_commas(rows: list[str]) -> bool:
    """Whether commas between digits are decimal commas: 0,512345 for 0.512345.

    They are if the text holds pairs only and the second number of a pair begins with 0 or has an
    exponent, or if all second numbers have the same number of digits, six or more.
    """
    pairs = []
    for row in rows:
        fields = row.split(",")
        halves = [",".join(fields[k : k + 2]) for k in range(0, len(fields), 2)]
        found = [PAIR.fullmatch(half) for half in halves]
        if not all(found):
            return False
        pairs += [pair for pair in found if pair]
    digits = [pair[1] for pair in pairs]
    if not digits:
        return False
    odd = any(len(pair[1]) > 1 and (pair[1][0] == "0" or pair[2]) for pair in pairs)
    return odd or (len({len(d) for d in digits}) == 1 and len(digits[0]) >= DOUBT)


def whole_number(value: Any, what: str, least: int, most: int | None = None) -> int:
    """A whole number in a range, as a Python integer.

    Arguments: the value; `what` it is, the subject of the error message; the range.
    Errors: `RequestError` if it is not a whole number or lies outside the range.
    """
    bounds = f"of {least} or more" if most is None else f"from {least} to {most}"
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or (most is not None and number > most):
        raise RequestError(f"{what} must be a whole number {bounds}, not {value!r}.")
    return number
