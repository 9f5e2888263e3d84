"""`dither plan`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dither._bar import AbstractBar

if TYPE_CHECKING:
    from dither.planning.plan import Plan, Row

FILE_WIDTH = 200


def plan(
    what: Annotated[
        str,
        typer.Argument(metavar="PRESET|FILE.toml", help="The run to plan; it must have a target."),
    ],
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="PRESET|FILE.toml",
            help="For a real device: a run with a simulated device like it. The device is then "
            "measured a few times.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the rows, the figures and best.toml to this folder.", readable=False
        ),
    ] = None,
    patience: Annotated[
        float, typer.Option(min=1, help="Computing time per method and point, s.")
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Predict what each method needs to reach a target, before anything is built."""
    from dither._platform import check_platform

    check_platform()
    from dither.planning.plan import make_plan
    from dither.planning.question import read_question
    from dither.planning.written import write_plan

    question = read_question(what, changes or [], model)
    if question.probe is not None:
        typer.echo(question.probe.line(), err=True)
    with PlanBar(question.name) as observe:
        made = make_plan(question, observe, patience)
    if out is not None:
        write_plan(made, out)
    if as_json:
        probe = {} if question.probe is None else {"probe": question.probe.facts()}
        typer.echo(json.dumps({"rows": [row.facts() for row in made.rows], **probe}))
    else:
        _tell(made, out)


class PlanBar(AbstractBar):
    """The part that is being computed, and the number of finished parts."""

    def __init__(self, name: str) -> None:
        from rich.progress import MofNCompleteColumn

        super().__init__(name, "compiling", MofNCompleteColumn())
        self.name = name

    def __call__(self, what: str, done: int, parts: int) -> None:
        line = f"{self.name}: {done} of {parts} parts; {what}"
        self.show(line, completed=done, total=parts, text=what)


def _tell(made: "Plan", out: Path | None) -> None:
    from rich.console import Console

    from dither.planning.written import best_toml

    console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH)
    typer.echo(f"{made.name}: {made.score_name} {made.target:g}")
    console.print(_table(made))
    for row in made.rows:
        if row.reason:
            console.print(_where(row) + row.reason, markup=False, highlight=False)
    if any(row.to_build for row in made.rows):
        typer.echo("* needs more access than the device offers: shows what added access would gain")
    best = made.best
    if best is None:
        typer.echo("No method that the device allows is predicted to reach the target.")
    else:
        typer.echo(
            f"Cheapest on this device: {_where(best)}{best.label} ({best.method}). To train it:\n"
        )
        typer.echo(best_toml(made))
    if out is not None:
        typer.echo(f"folder: {out}")
        if best is not None:
            typer.echo(f"train: dither train {out / 'best.toml'}")


def _where(row: "Row") -> str:
    at = ", ".join(f"{axis} = {value}" for axis, value in row.point.items())
    return f"{at}: " if at else ""


def _table(made: "Plan") -> Any:
    from rich.table import Table

    from dither._words import number

    table = Table(*made.rows[0].point, "method", box=None)
    for column in ("measurements", "90 %", "device time", "energy", "eta", "delta", "optimiser",
                   "sources", "words", "reads", "floor"):  # fmt: skip
        table.add_column(column, justify="right")
    for row in made.rows:
        sources, words, reads = row.wiring
        table.add_row(
            *map(str, row.point.values()),
            row.label + (" *" if row.to_build else ""),
            _count(row.measurements) if row.feasible else "never",
            _interval(row),
            _seconds(row.device_seconds),
            "—" if row.joules is None else f"{row.joules:.3g} J",
            number(row.learning_rate), number(row.delta), row.optimizer or "—",
            number(sources), number(words), number(reads),
            number(row.floor),
        )  # fmt: skip
    return table


def _count(value: float | None) -> str:
    from dither._words import number, rounded

    return number(None if value is None else rounded(value, 3))


def _interval(row: "Row") -> str:
    if row.low is None:
        return ""
    return f"{_count(row.low)} – {'∞' if row.high is None else _count(row.high)}"


def _seconds(value: float | None) -> str:
    from dither._words import duration

    return "—" if value is None else duration(value)
