"""The shell: the same things that Python offers, as commands."""

import sys

import typer

from dither._errors import RequestError, RunError
from dither.cli.device import device
from dither.cli.paper import paper
from dither.cli.presets import presets
from dither.cli.report import report
from dither.cli.study import study
from dither.cli.train import train
from dither.cli.watch import watch

app = typer.Typer(
    name="dither",
    help="Train neural networks that live in hardware from what can be measured at their output.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(train)
app.command()(presets)
app.command()(paper)
app.command()(study)
app.command()(report)
app.command()(watch)
app.add_typer(device, name="device")


def main() -> None:
    """Run the shell: exit status 0 done, 1 the run failed, 2 the request was wrong."""
    try:
        app()
    except RunError as error:
        print(f"dither: {error}", file=sys.stderr)
        sys.exit(1)
    except RequestError as error:
        print(f"dither: {error}", file=sys.stderr)
        sys.exit(2)
