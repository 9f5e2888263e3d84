"""`dither report`."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of a study or a run.", readable=False)
    ],
    format: Annotated[  # noqa: A002  # the name of the option
        str | None,
        typer.Option(
            metavar="png,svg,pdf,csv,latex", help="Also write figures and tables as separate files."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The output folder (default: DIR).", readable=False),
    ] = None,
) -> None:
    """Write the report of a study or a run as one HTML file."""
    from dither.studies.report import PARTS, write_report

    formats = [one.strip() for one in (format or "").split(",") if one.strip()]
    page = write_report(folder, formats, out)
    typer.echo(f"report: {page}")
    if formats:
        typer.echo(f"figures and tables: {page.parent / PARTS}")
