"""Validation of numeric fields: numbers within single precision, no text and no booleans."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np

from dither._numbers import MOST

LARGEST = 2**31 - 1
"""The largest integer that a field accepts."""


def check_numbers(kind: Any, value: Any) -> None:
    """Check the value of a numeric field.

    Arguments: the field's type; the value, or a list of them.
    Errors: `ValueError`, the end of a sentence, for values that pydantic would convert to numbers,
    such as "3" or true, and for numbers that are infinite in single precision.
    """
    taken = _plain(kind, isinstance(value, list | tuple))
    if not taken & {int, float}:
        return
    for one in _each(value):
        if isinstance(one, bool | np.bool_) and bool not in taken:
            raise ValueError("must be a number, not true or false")
        if isinstance(one, str) and not taken & {str, Path} and one not in taken:
            raise ValueError("must be a number, not text")
        size: Any = abs(one) if isinstance(one, int | float | np.number) else 0
        if LARGEST < size < np.inf:
            if float not in taken:
                raise ValueError(f"must be at most {LARGEST}")
            if size > MOST:
                raise ValueError(
                    f"must be at most {MOST:.1e} in magnitude, the limit of single precision"
                )


@cache
def _plain(kind: Any, lists: bool) -> frozenset[Any]:
    """The plain types and literals in a type annotation, on request also those inside lists."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return frozenset(inner)
    if not inner or origin is dict or (origin in (tuple, list) and not lists):
        return frozenset([kind])
    return frozenset().union(*(_plain(one, lists) for one in inner))


def _each(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _each(one)
    else:
        yield value
