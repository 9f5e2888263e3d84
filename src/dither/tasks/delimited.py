"""Tables in text files, as spreadsheets, instruments and pandas write them."""

import csv
import re
import warnings
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from dither._errors import RequestError
from dither._numbers import decimal_commas

if TYPE_CHECKING:
    import pandas as pd

LOOKED_AT = 50
"""Rows from which it is found how a file is written."""

MISSING = ("", "-", "na", "n/a", "nan", "none", "null")
"""What may stand where a number is missing: no name of a column."""

DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+(e[+-]?\d+)?\s*", re.IGNORECASE)


class Table(NamedTuple):
    """A table: its columns, the line of its first sample, whether they have names, its comma."""

    frame: "pd.DataFrame"
    first: int
    named: bool
    decimal: str


def read_delimited(file: Path, header: bool | None = None) -> Table:
    """A table from a text file.

    Columns are set apart by tabs, semicolons or commas, whichever of them, in this order, stands in
    the first row. Numbers have decimal commas where columns are set apart otherwise and some number
    has one. Lines that begin with # before the table are left out.

    Arguments: the file; `header`, whether the first row names the columns, found from it if not
    given: it does where it has a text above numbers.
    Errors: `RequestError` for a file that is missing or no table.
    """
    import pandas as pd

    lines, skipped = _lines(file)
    mark = next((mark for mark in "\t;" if mark in lines[0]), ",")
    rows = [row for row in csv.reader(lines[:LOOKED_AT], delimiter=mark, skipinitialspace=True)
            if row]  # fmt: skip
    _check_rows(file, rows, mark, lines)
    comma = mark != "," and any(DECIMAL_COMMA.fullmatch(cell) for row in rows for cell in row)
    decimal = "," if comma else "."
    named = _has_names(rows, decimal) if header is None else header
    if named and len(set(rows[0])) < len(rows[0]):
        twice = next(name for name in rows[0] if rows[0].count(name) > 1)
        raise RequestError(f"Two columns of {file} have the name '{twice}'; name them apart.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                StringIO("\n".join(lines)), sep=mark, decimal=decimal, header=0 if named else None,
                na_filter=False, skipinitialspace=True, low_memory=False,
            )  # fmt: skip
    except (ValueError, pd.errors.ParserWarning) as error:
        why = str(error).strip().rpartition("C error: ")[2]
        raise RequestError(f"The file {file} is no table ({why}).") from None
    if named:
        frame.columns = pd.Index([name.strip() for name in rows[0]])
    if len(rows) == 1 and not any(is_number(cell, decimal) for cell in rows[0]):
        raise RequestError(
            f"The file {file} has a row of text and no samples; give a row a sample."
        )
    table = Table(frame, skipped + 1 + named, named, decimal)
    if header is None and not named:
        _check_unnamed(file, table)
    return table


def _lines(file: Path) -> tuple[list[str], int]:
    """The lines of a file from its table on, and how many were left out before."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise RequestError(f"The file {file} does not exist.") from None
    except OSError as error:
        raise RequestError(f"The file {file} cannot be read: {error.strerror}.") from None
    except ValueError:  # a null in its name
        raise RequestError(f"No file has a name like {str(file)!r:.60}.") from None
    if b"\0" in content and content[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise RequestError(f"The file {file} is no text; save the table as CSV.")
    text = _decoded(content)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    start = 0
    while start < len(lines) and (not lines[start].strip() or lines[start].startswith("#")):
        start += 1
    if start == len(lines):
        raise RequestError(f"The file {file} holds no table; give a row a sample.")
    return lines[start:], start


def _decoded(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):  # as Excel's Unicode text
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _check_rows(file: Path, rows: list[list[str]], mark: str, lines: list[str]) -> None:
    for place, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise RequestError(
                f"Row {place + 1} of {file} has {len(row)} columns and the first has "
                f"{len(rows[0])}; give each row as many."
            )
    if len(rows[0]) == 1 and _spaced(rows[-1][0]):
        raise RequestError(
            f"The columns of {file} are set apart by spaces; set them apart by commas, semicolons "
            "or tabs."
        )
    digits = [",".join(cell for cell in row if is_number(cell)) for row in rows]
    if mark == "," and decimal_commas([row for row in digits if row]):
        raise RequestError(
            f"In {file} the first row is '{lines[0][:80]}', whose commas are taken for decimal "
            "ones; set columns apart by semicolons, or write numbers with a point."
        )


def _spaced(cell: str) -> bool:
    """Whether a cell holds several words, of which the first is a number."""
    words = cell.split()
    return len(words) > 1 and is_number(words[0])


def is_number(cell: str, decimal: str = ".") -> bool:
    """Whether a cell holds a number."""
    try:
        float(cell.replace(decimal, "."))
    except ValueError:
        return False
    return True


def _has_names(rows: list[list[str]], decimal: str) -> bool:
    first, others = rows[0], rows[1:]
    return any(
        not is_number(name, decimal)
        and name.strip().lower() not in MISSING
        and any(is_number(row[place], decimal) for row in others)
        for place, name in enumerate(first)
    )


def _check_unnamed(file: Path, table: Table) -> None:
    """Check that the first row is no header over numbers as names and labels as text."""
    from pandas.api.types import is_numeric_dtype

    for place in table.frame:
        column = table.frame[place]
        text = not is_numeric_dtype(column) and not is_number(str(column.iloc[0]))
        if text and len(column) > 1 and (column == column.iloc[0]).sum() == 1:
            raise RequestError(
                f"The first row of {file} may be a header, as '{column.iloc[0]}' stands nowhere "
                "else in its column; set header to true or false."
            )


def numbers(file: Path, table: Table, places: list[int]) -> Float[np.ndarray, "N K"]:
    """Columns of numbers. Errors: `RequestError` for a cell that holds none, with its line."""
    from pandas.api.types import is_numeric_dtype

    found = []
    for place in places:
        column = table.frame.iloc[:, place]
        cells: list[str] = []
        if not is_numeric_dtype(column):
            cells = column.astype(str).tolist()
        for line, cell in enumerate(cells):
            if not is_number(cell, table.decimal):
                holds = f"'{cell}'" if cell.strip() else "nothing"
                raise RequestError(
                    f"The column {title(table, place)} of {file} holds {holds} in line "
                    f"{table.first + line}, and an input is a number; mend it, name the column as "
                    "the label, or leave it out by inputs."
                )
        found.append(column.to_numpy(float))
    return np.stack(found, axis=1)


def title(table: Table, place: int) -> str:
    """A column's name, or its number."""
    return f"'{table.frame.columns[place]}'" if table.named else str(place)
