"""`dither compare`."""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dither.studies.tables import Table

ON_THE_PAGE = ("samples", "chosen", "measurements of tuning")
"""Columns that are left out in a terminal."""

WIDE = 150
"""The width of a line, in characters, if the output is not a terminal."""


def compare(
    file: Annotated[Path, typer.Argument(help="The TOML file of the comparison.", readable=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="The output folder (default: comparisons/NAME).", readable=False),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the comparison that the folder holds.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Use three seeds and half the trials.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare methods on devices and tasks at equal measurements and equal tuning budgets."""
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
        raise RequestError(f"The folder {out} holds no comparison to resume; leave out --resume.")
    with (
        warnings.catch_warnings(),
        StudyBar(asked.name) as observe,
        ctrl_c(*LEAVING) as interrupted,
    ):
        warnings.simplefilter("ignore")  # about settings that tuning tries
        try:
            compared = run(asked, out, observers=[observe], interrupted=interrupted)
        except Interrupted:
            typer.echo(
                f"dither: Interrupted; run the same command again to continue in {out}.", err=True
            )
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
