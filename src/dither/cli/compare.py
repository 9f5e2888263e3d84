"""`dither compare`."""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dither.studies.tables import Table

ON_THE_PAGE = ("samples", "chosen", "measurements of tuning")
"""Columns that a terminal has no room for."""

WIDE = 150
"""Letters in a line where the output is no terminal."""


def compare(
    file: Annotated[Path, typer.Argument(help="A comparison's TOML file.", readable=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="Its folder; comparisons/NAME if not given.", readable=False),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Only go on: the folder must hold this comparison.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Three seeds, half the trials: for a first look.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare methods on devices and tasks, at equal measurements, each tuned by one budget."""
    from dither._errors import RequestError
    from dither._interrupt import LEAVING, ctrl_c
    from dither.cli.study import StudyBar
    from dither.studies.compare import SPECIFICATION
    from dither.studies.compare import compare as run
    from dither.studies.compare_page import best_of, rows_of, tables_of, write_page
    from dither.studies.comparison import read_comparison
    from dither.studies.together import Interrupted

    asked = read_comparison(file)
    asked = asked.quick() if quick else asked
    out = Path("comparisons") / asked.name if out is None else out
    if resume and not (out / SPECIFICATION).is_file():
        raise RequestError(f"There is no comparison in {out} to go on with; leave --resume out.")
    with (
        warnings.catch_warnings(),
        StudyBar(asked.name) as observe,
        ctrl_c(*LEAVING) as interrupted,
    ):
        warnings.simplefilter("ignore")  # of settings that tuning tries
        try:
            compared = run(asked, out, observers=[observe], interrupted=interrupted)
        except Interrupted:
            typer.echo(f"dither: Interrupted; the same command goes on with {out}.", err=True)
            raise typer.Exit(1) from None
    report = write_page(asked, compared, out)
    if as_json:
        rows = rows_of(compared)
        told = {"name": asked.name, "out": str(out), "report": str(report), "rows": rows,
                "best": best_of(rows)}  # fmt: skip
        typer.echo(json.dumps(told))
        return
    for table in tables_of(compared):
        if table.lines:
            _show(table)
    typer.echo(f"report: {report}")


def _show(table: "Table") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Shown

    shown = Shown(title=table.title, title_justify="left", box=box.SIMPLE)
    kept = [k for k, heading in enumerate(table.headings) if heading not in ON_THE_PAGE]
    for k in kept:
        shown.add_column(table.headings[k], justify="left" if k < table.leading else "right")
    for line in table.lines:
        shown.add_row(*(line[k] for k in kept))
    console = Console()
    console = console if console.is_terminal else Console(width=WIDE)
    console.print(shown)
