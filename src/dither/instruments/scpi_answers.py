"""The answers of an instrument: numbers, and what is in its error queue."""

import re
from collections import Counter

import numpy as np
from jaxtyping import Float

from dither._errors import RunError
from dither._numbers import decimal_commas

NO_NUMBER = 9.9e37
"""By SCPI's rule infinity is 9.9e37 and what is not a number 9.91e37."""

ENTRY = re.compile(r"[+-]?\d+(\.\d*)?(E[+-]?\d+)?(?![\w.])", re.IGNORECASE)


class InstrumentError(RunError):
    """An instrument has put an error into its queue, or answered what it should not."""


def no_error(answer: str, query: str) -> bool:
    """Whether an error queue is empty: error 0 in any form, such as `0`, `+00,"No error"`.

    Errors: `InstrumentError` for a reading, of which a line was left over.
    """
    text = answer.strip().strip("\"'").strip()
    number = ENTRY.match(text)
    if number is None:
        return text.lower().startswith("no error")
    if float(number[0]) % 1:
        raise InstrumentError(
            f"the answer to '{query}' is '{answer[:80]}', which is no error but a reading: the "
            "instrument gives a value a line, and all values are due in one, with commas"
        )
    return float(number[0]) == 0


def complain(found: list[str]) -> None:
    """Errors: `InstrumentError` with what was in the error queue, if anything."""
    if found:
        raise InstrumentError(
            "; ".join(entry + f" ({n} times)" * (n > 1) for entry, n in Counter(found).items())
        )


def numbers(answer: str, query: str, rows: int) -> Float[np.ndarray, " n"]:
    """The numbers of an answer, NaN for what the instrument says is none.

    Errors: `InstrumentError` with the answer where it is not the same number of them for each row.
    """
    shown = f"the answer to '{query}' is '{answer[:80]}'"
    if decimal_commas([answer]):
        raise InstrumentError(
            f"{shown}, whose commas are decimal ones; set the instrument to decimal points"
        )
    try:
        values = np.array([float(number) for number in answer.split(",")])
    except ValueError:
        raise InstrumentError(f"{shown}, and numbers are due, with commas between") from None
    if values.size % rows:
        raise InstrumentError(
            f"{shown}: {values.size} for {rows} samples, and as many for each are due, in one line"
        )
    return np.where(np.abs(values) < NO_NUMBER, values, np.nan)
