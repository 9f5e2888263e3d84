"""`dither paper`."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dither._bar import AbstractBar
from dither._words import number, rounded

if TYPE_CHECKING:
    from dither.papers import Row

FILE_WIDTH = 180


def paper(
    name: Annotated[str, typer.Argument(help="The paper, such as andreoli2023.")],
    figure: Annotated[str | None, typer.Argument(help="One figure (default: all figures).")] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Use smaller sizes and fewer seeds: a few minutes at most."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="The output folder (default: runs/NAME-k).", readable=False),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the finished trainings in --out.")
    ] = False,
) -> None:
    """Reproduce a paper's figures: measured, published, expected and predicted values."""
    from dither._platform import check_platform
    from dither.cli.train import use_all_cores

    use_all_cores()
    check_platform()
    from dither._errors import RequestError
    from dither._files import make_folder, write_atomically
    from dither.papers import find_paper
    from dither.training.drawing import save_figure
    from dither.training.folder import new_folder, open_folder

    chosen = find_paper(name)
    makers = {one: chosen.figure(one) for one in ([figure] if figure else chosen.figures)}
    if resume and out is None:
        raise RequestError("--resume needs the folder of the earlier run; give it with --out.")
    rows: list[Row] = []
    own = new_folder(name) if out is None else nullcontext(out)
    with own as out, PaperBar() as observe:
        open_folder(out, resume)
        make_folder(out)
        scale = chosen.scale(quick, out, resume)
        for one, make in makers.items():
            observe.figure = one
            made = make(scale, observe)
            rows += made.rows
            table = {"rows": [row.as_json() for row in rows]}
            write_atomically(out / "rows.json", (json.dumps(table, indent=1) + "\n").encode())
            save_figure(made.picture, out / one)
    if as_json:
        typer.echo(json.dumps(table))
        return
    _tell(rows)
    typer.echo(f"rows and figures: {out}")


class PaperBar(AbstractBar):
    """The current training, and the finished share of the figure."""

    def __init__(self) -> None:
        super().__init__("", "", total=1.0)
        self.figure = ""

    def __call__(self, what: str, share: float) -> None:
        text = f"{self.figure}: {what}"
        self.show(f"{text}, {share:.0%} of the figure", completed=share, text=text)


def _tell(rows: list["Row"]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "method", "at", "quantity", box=None)
    for column in ("published", "expected", "law", "measured", "95 %"):
        table.add_column(column, justify="right")
    for row in rows:
        at = ", ".join(f"{axis} {value:g}" for axis, value in row.point.items())
        quantity = row.quantity if row.criterion is None else f"{row.quantity}: {row.criterion}"
        unit = "" if row.unit == "1" else f" ({row.unit})"
        interval = "" if row.measured_low is None else (
            f"{_number(row.measured_low)} – {_number(row.measured_high)}"
        )  # fmt: skip
        known = ("" if v is None else _number(v) for v in (row.published, row.expected, row.law))
        table.add_row(row.figure, row.method, at, quantity + unit,
                      *known, _number(row.measured), interval)  # fmt: skip
    # a file needs no folded lines
    Console(width=None if sys.stdout.isatty() else FILE_WIDTH).print(table)


def _number(value: float | None) -> str:
    return "not run" if value is None else number(rounded(value, 3))
