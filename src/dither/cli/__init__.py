"""The shell: the same things that Python offers, as commands."""

import errno
import sys
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated, Any

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


UsageError: Any = typer.BadParameter.__base__
"""What wrong options raise; where it is defined depends on the version of Typer."""


def _tell_version(asked: bool) -> bool:
    if asked:
        typer.echo(f"dither {version('dither')}")
        raise typer.Exit
    return asked


@app.callback()
def _dither(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Say which it is."),
    ] = False,
) -> None:
    del version


def main() -> None:
    """Run the shell: exit status 0 done, 1 the run failed, 2 the request was wrong."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # which may know less than Unicode
            stream.reconfigure(errors="replace")
    try:
        sys.exit(app(prog_name="dither", standalone_mode=False))
    except UsageError as error:
        said = error.format_message()
        see = f"see {error.ctx.command_path} --help." if error.ctx else "see dither --help."
        # without any arguments it is the help
        print(said if "\n" in said else f"dither: {said.rstrip('.')}; {see}", file=sys.stderr)
        sys.exit(2)
    except typer.Abort:
        sys.exit(1)
    except RunError as error:
        print(f"dither: {error}", file=sys.stderr)
        sys.exit(1)
    except RequestError as error:
        print(f"dither: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        print(f"dither: The name {error.filename:.60}… is too long for a file.", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        # of JAX a RuntimeError
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        what = str(error).partition("\n")[0]
        print(f"dither: Not enough memory ({what}); take fewer replicas.", file=sys.stderr)
        sys.exit(1)
