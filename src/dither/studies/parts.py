"""The parts of a report in other formats: figures for papers, tables for other programs."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dither._errors import RequestError, nearest
from dither._files import make_folder, write_atomically
from dither._words import THIN
from dither.studies.pictures import Picture
from dither.studies.tables import Table
from dither.training.drawing import figure_bytes

PICTURES = ("png", "svg", "pdf")
TABLES = ("csv", "latex")
FORMATS = (*PICTURES, *TABLES)
"""The formats of a report's parts."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""The first characters of a spreadsheet formula."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]inf")

IN_LATEX = {THIN: r"\,", "−": "-", "–": "--", "—": "---", "∞": r"$\infty$", "·": r"$\cdot$"}


def check_formats(formats: Iterable[str]) -> tuple[str, ...]:
    """The requested formats. Errors: `RequestError` for an unknown one."""
    asked = tuple(formats)
    for one in asked:
        if one not in FORMATS:
            raise RequestError(f"The format '{one}' is unknown; {nearest(one, FORMATS)}")
    return asked


def write_parts(
    folder: Path, formats: Sequence[str], pictures: Sequence[Picture], tables: Sequence[Table]
) -> None:
    """Write each figure and each table in its requested formats."""
    if formats:
        make_folder(folder)
    for one in formats:
        for picture in pictures if one in PICTURES else ():
            write_atomically(folder / f"{picture.name}.{one}", figure_bytes(picture.figure, one))
        for table in tables if one in TABLES else ():
            ending = "tex" if one == "latex" else "csv"
            write_atomically(folder / f"{table.name}.{ending}", table_text(table, one).encode())


def table_text(table: Table, kind: str) -> str:
    """A table as CSV with plain numbers, or as LaTeX with formatted ones (package booktabs)."""
    if kind == "csv":
        return table.numbers.map(as_text).rename(columns=as_text).to_csv(index=False)
    caption = table.title.replace("_", r"\_").replace("%", r"\%").replace("&", r"\&")
    text = table.in_words.map(_escaped).rename(columns=_escaped).to_latex(
        index=False, escape=False, longtable=True, caption=caption
    )  # fmt: skip
    for sign, latex in IN_LATEX.items():
        text = text.replace(sign, latex)
    return text


def as_text(cell: Any) -> Any:
    """A cell that a spreadsheet reads as data: text that looks like a formula is quoted."""
    if not isinstance(cell, str) or not cell.startswith(FORMULA) or NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}"


def _escaped(text: str) -> str:
    signs = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(signs.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
