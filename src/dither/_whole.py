"""Whole numbers as users give them: Python's, NumPy's, those of other libraries."""

import operator
from typing import Any

from dither._errors import RequestError


def whole_number(value: Any, what: str, least: int, most: int | None = None) -> int:
    """A whole number in a range, as Python's own.

    Arguments: the value; `what` it is, to begin a sentence with; the range.
    Errors: `RequestError` where it is none or outside.
    """
    bounds = f"of {least} or more" if most is None else f"from {least} to {most}"
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or (most is not None and number > most):
        raise RequestError(f"{what} must be a whole number {bounds}, not {value!r}.")
    return number
