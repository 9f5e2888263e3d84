"""Tables in text files, as written by spreadsheets, instruments and pandas."""

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
"""The rows used to detect the format of a file."""

MISSING = ("", "-", "na", "n/a", "nan", "none", "null")
"""Markers of missing numbers, which cannot be column names."""

DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+(e[+-]?\d+)?\s*", re.IGNORECASE)


class Table(NamedTuple):
    """A table: its columns, its first sample's line, whether columns have names, its separator."""

    frame: "pd.DataFrame"
    first: int
    named: bool
    decimal: str


def read_delimited(file: Path, header: bool | None = None) -> Table:
    """A table from a text file.

    Columns are separated by tabs, semicolons or commas, whichever occurs first, in this order, in
    the first row. With another separator than the comma, numbers may have decimal commas. Lines
    that begin with # before the table are skipped.

    Arguments: the file; `header`, whether the first row names the columns; if not given, it does if
    it has text above numbers.
    Errors: `RequestError` for a file that is missing or not a table.
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
        raise RequestError(
            f"Two columns of {file} have the name '{twice}'; give them different names."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                StringIO("\n".join(lines)), sep=mark, decimal=decimal, header=0 if named else None,
                na_filter=False, skipinitialspace=True, low_memory=False,
            )  # fmt: skip
    except (ValueError, pd.errors.ParserWarning) as error:
        why = str(error).strip().rpartition("C error: ")[2]
        raise RequestError(f"The file {file} is not a table ({why}).") from None
    if named:
        frame.columns = pd.Index([name.strip() for name in rows[0]])
    if len(rows) == 1 and not any(is_number(cell, decimal) for cell in rows[0]):
        raise RequestError(
            f"The file {file} has a row of text but no samples; give one row per sample."
        )
    table = Table(frame, skipped + 1 + named, named, decimal)
    if header is None and not named:
        _check_unnamed(file, table)
    return table


def _lines(file: Path) -> tuple[list[str], int]:
    """The lines of a file from the table on, and the number of skipped lines."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise RequestError(f"The file {file} does not exist.") from None
    except OSError as error:
        raise RequestError(f"The file {file} cannot be read: {error.strerror}.") from None
    except ValueError:  # a null character in its name
        raise RequestError(f"{str(file)!r:.60} is not a valid file name.") from None
    if b"\0" in content and content[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise RequestError(f"The file {file} is not text; save the table as CSV.")
    text = _decoded(content)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    start = 0
    while start < len(lines) and (not lines[start].strip() or lines[start].startswith("#")):
        start += 1
    if start == len(lines):
        raise RequestError(f"The file {file} holds no table; give one row per sample.")
    return lines[start:], start


def _decoded(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):  # such as Excel's Unicode text
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _check_rows(file: Path, rows: list[list[str]], mark: str, lines: list[str]) -> None:
    for place, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise RequestError(
                f"Row {place + 1} of {file} has {len(row)} columns, but the first has "
                f"{len(rows[0])}; give all rows the same number."
            )
    if len(rows[0]) == 1 and _spaced(rows[-1][0]):
        raise RequestError(
            f"The columns of {file} are separated by spaces; separate them by commas, semicolons "
            "or tabs."
        )
    digits = [",".join(cell for cell in row if is_number(cell)) for row in rows]
    if mark == "," and decimal_commas([row for row in digits if row]):
        raise RequestError(
            f"The first row of {file} is '{lines[0][:80]}', whose commas are read as decimal "
            "commas; separate columns by semicolons, or use decimal points."
        )


def _spaced(cell: str) -> bool:
    """Whether a cell holds several words, the first of which is a number."""
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
    """Check that an unnamed first row is not a header above numeric names or text labels."""
    from pandas.api.types import is_numeric_dtype

    for place in table.frame:
        column = table.frame[place]
        text = not is_numeric_dtype(column) and not is_number(str(column.iloc[0]))
        if text and len(column) > 1 and (column == column.iloc[0]).sum() == 1:
            raise RequestError(
                f"The first row of {file} may be a header, since '{column.iloc[0]}' occurs nowhere "
                "else in its column; set header to true or false."
            )


def numbers(file: Path, table: Table, places: list[int]) -> Float[np.ndarray, "N K"]:
    """Columns of numbers. Errors: `RequestError` with the line of a cell that is not a number."""
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
                    f"{table.first + line}, but inputs must be numbers; correct it, make the "
                    "column "
                    "the label, or exclude it with inputs."
                )
        found.append(column.to_numpy(float))
    return np.stack(found, axis=1)


def title(table: Table, place: int) -> str:
    """A column's name, or its number."""
    return f"'{table.frame.columns[place]}'" if table.named else str(place)
