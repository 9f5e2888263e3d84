"""The answers of an instrument: numbers and error queues."""

import re
from collections import Counter

import numpy as np
from jaxtyping import Float

from dither._errors import RunError
from dither._numbers import decimal_commas

NO_NUMBER = 9.9e37
"""SCPI defines infinity as 9.9e37 and NaN as 9.91e37."""

ENTRY = re.compile(r"[+-]?\d+(\.\d*)?(E[+-]?\d+)?(?![\w.])", re.IGNORECASE)


class InstrumentError(RunError):
    """An instrument has reported an error or given an invalid answer."""


def no_error(answer: str, query: str) -> bool:
    """Whether an error queue is empty: error 0 in any form, such as `0`, `+00,"No error"`.

    Errors: `InstrumentError` for a reading, left over from an earlier query.
    """
    text = answer.strip().strip("\"'").strip()
    number = ENTRY.match(text)
    if number is None:
        return text.lower().startswith("no error")
    if float(number[0]) % 1:
        raise InstrumentError(
            f"the answer to '{query}' is '{answer[:80]}', which is a reading, not an error: the "
            "instrument must give all values in one line, separated by commas"
        )
    return float(number[0]) == 0


def complain(found: list[str]) -> None:
    """Errors: `InstrumentError` with the content of the error queue, if it is not empty."""
    if found:
        raise InstrumentError(
            "; ".join(entry + f" ({n} times)" * (n > 1) for entry, n in Counter(found).items())
        )


def numbers(answer: str, query: str, rows: int) -> Float[np.ndarray, " n"]:
    """The numbers of an answer; NaN as the instrument encodes it.

    Errors: `InstrumentError` with the answer if it does not hold equally many numbers for each row.
    """
    shown = f"the answer to '{query}' is '{answer[:80]}'"
    if decimal_commas([answer]):
        raise InstrumentError(f"{shown} with decimal commas; set the instrument to decimal points")
    try:
        values = np.array([float(number) for number in answer.split(",")])
    except ValueError:
        raise InstrumentError(f"{shown} instead of numbers separated by commas") from None
    if values.size % rows:
        raise InstrumentError(
            f"{shown}: {values.size} numbers for {rows} samples; the answer must hold "
            "equally many for "
            "each, in one line"
        )
    return np.where(np.abs(values) < NO_NUMBER, values, np.nan)
