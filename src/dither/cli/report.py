"""`dither report`."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A study's or a run's folder.", readable=False)
    ],
    format: Annotated[  # noqa: A002  # the name of the option
        str | None,
        typer.Option(
            metavar="png,svg,pdf,csv,latex", help="Write the figures and tables apart too, so."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write; the folder itself if not given.", readable=False),
    ] = None,
) -> None:
    """Write the report of a study or a run: one HTML file."""
    from dither.studies.report import PARTS, write_report

    formats = [one.strip() for one in (format or "").split(",") if one.strip()]
    page = write_report(folder, formats, out)
    typer.echo(f"report: {page}")
    if formats:
        typer.echo(f"figures and tables: {page.parent / PARTS}")
