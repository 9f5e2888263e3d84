"""A report's parts in other formats: figures for papers, tables for other programs."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from dither._errors import RequestError, nearest
from dither._words import THIN
from dither.studies.pictures import Picture
from dither.studies.tables import Table
from dither.training.checkpoint import write_atomically
from dither.training.drawing import figure_bytes

PICTURES = ("png", "svg", "pdf")
TABLES = ("csv", "latex")
FORMATS = (*PICTURES, *TABLES)
"""What the parts of a report can be written as."""

IN_LATEX = {THIN: r"\,", "−": "-", "–": "--", "—": "---", "∞": r"$\infty$", "·": r"$\cdot$"}


def check_formats(formats: Iterable[str]) -> tuple[str, ...]:
    """The formats asked for. Errors: `RequestError` for one that there is not."""
    asked = tuple(formats)
    for one in asked:
        if one not in FORMATS:
            raise RequestError(f"There is no format '{one}'; {nearest(one, FORMATS)}")
    return asked


def write_parts(
    folder: Path, formats: Sequence[str], pictures: Sequence[Picture], tables: Sequence[Table]
) -> None:
    """Write each figure and each table in each format that is for it."""
    for one in formats:
        for picture in pictures if one in PICTURES else ():
            write_atomically(folder / f"{picture.name}.{one}", figure_bytes(picture.figure, one))
        for table in tables if one in TABLES else ():
            ending = "tex" if one == "latex" else "csv"
            write_atomically(folder / f"{table.name}.{ending}", table_text(table, one).encode())


def table_text(table: Table, kind: str) -> str:
    """A table as CSV, of numbers, or for LaTeX, in words (with the package booktabs)."""
    if kind == "csv":
        return table.numbers.to_csv(index=False)
    caption = table.title.replace("_", r"\_").replace("%", r"\%").replace("&", r"\&")
    text = table.in_words.map(_escaped).rename(columns=_escaped).to_latex(
        index=False, escape=False, longtable=True, caption=caption
    )  # fmt: skip
    for sign, latex in IN_LATEX.items():
        text = text.replace(sign, latex)
    return text


def _escaped(text: str) -> str:
    signs = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(signs.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
