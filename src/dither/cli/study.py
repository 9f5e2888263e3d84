"""`dither study`."""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dither._bar import AbstractBar

if TYPE_CHECKING:
    import pandas as pd

    from dither.studies import Study
    from dither.studies.local import StudyProgress


def study(
    file: Annotated[
        Path, typer.Argument(help="The TOML file or the folder of the study.", readable=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The output folder (default: studies/NAME).", readable=False),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="The number of local processes.")] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Run on the Dask scheduler at this address."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the study that the folder holds.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the runs and their estimated time; run nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Allow more than 100 000 runs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run a grid of trainings, or the ones still missing, and write the report."""
    from dither._errors import RequestError
    from dither._interrupt import LEAVING, ctrl_c
    from dither.studies import read_study, run_study
    from dither.studies.installed import check_installed
    from dither.studies.run import check_size
    from dither.studies.store import SPECIFICATION
    from dither.studies.together import Interrupted

    asked = read_study(file)
    if out is None:
        out = file if (file / SPECIFICATION).is_file() else Path("studies") / asked.name
    if resume and not (out / SPECIFICATION).is_file():
        raise RequestError(f"The folder {out} holds no study to resume; leave out --resume.")
    if dry_run:
        check_size(asked, yes)
        check_installed(asked, cluster)
        _tell_beforehand(asked, out, as_json)
        return
    with (
        warnings.catch_warnings(),
        StudyBar(asked.name) as observe,
        ctrl_c(*LEAVING) as interrupted,
    ):
        warnings.showwarning = _warn
        try:
            table = run_study(
                asked, out, workers=workers, cluster=cluster, observers=[observe],
                interrupted=interrupted, yes=yes,
            )  # fmt: skip
        except Interrupted:
            typer.echo(
                f"dither: Interrupted; run the same command again to continue in {out}.", err=True
            )
            raise typer.Exit(1) from None
    _tell(asked.name, table, out, observe.own, as_json)


def _tell(name: str, table: "pd.DataFrame", out: Path, own: int, as_json: bool) -> None:
    from dither.training.stop import FAILED

    page = _report(out)
    runs = table[table["role"] == "run"]
    reached = int(runs["reached"].sum())
    failed = runs["stop_reason"].isin(FAILED)
    if as_json:
        told = {
            "out": str(out),
            "report": None if page is None else str(page),
            "runs": len(runs),
            "reached": reached,
            "failed": int(failed.sum()),
            "measurements": int(table["measurements"].sum()),
            "own": own,
        }
        typer.echo(json.dumps(told))
    else:
        typer.echo(f"{name}: {len(runs)} runs, {reached} reached their target")
        typer.echo(f"folder: {out}")
        if page is not None:
            typer.echo(f"report: {page}")
    if failed.any():
        see = page or out
        typer.echo(f"dither: {int(failed.sum())} runs diverged or failed; see {see}.", err=True)


def _report(out: Path) -> Path | None:
    """The report's file; None, with a warning, if it cannot be written."""
    try:
        from dither.studies.report import write_report

        return write_report(out)
    except Exception as error:  # any error of Matplotlib or the disk: the runs must not be lost
        _warn(
            f"The runs are finished and saved, but the report could not be written ({error}); "
            f"`dither report {out}` tries again."
        )
        return None


def _tell_beforehand(asked: "Study", out: Path, as_json: bool) -> None:
    from dither.studies.forecast import forecast

    expected = forecast(asked, out)
    if as_json:
        typer.echo(json.dumps(expected.facts()))
        return
    for line in expected.lines():
        typer.echo(line)


def _warn(message: Any, *_: Any, **__: Any) -> None:
    typer.echo(f"dither: warning: {message}", err=True)


class StudyBar(AbstractBar):
    """The number of finished runs, and the current run."""

    def __init__(self, name: str) -> None:
        from rich.progress import MofNCompleteColumn, TextColumn

        super().__init__(name, "planning", MofNCompleteColumn(), TextColumn("runs "))
        self.name, self.own = name, 0

    def __call__(self, now: "StudyProgress") -> None:
        self.own = now.own
        line = "; ".join(filter(None, (f"{self.name}: {now.done} of {now.runs} runs", now.doing)))
        self.show(line, completed=now.done, total=now.runs, text=now.doing)
