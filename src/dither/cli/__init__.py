"""The command line: each command does what a function of the package does."""

import contextlib
import errno
import gc
import os
import signal
import sys
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from dither._errors import DitherError, RequestError, RunError
from dither._files import refusal
from dither._interrupt import status_of_signal
from dither.cli.compare import compare
from dither.cli.compiled import keep_compiled
from dither.cli.device import device
from dither.cli.paper import paper
from dither.cli.plan import plan
from dither.cli.predict import predict
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
app.command()(predict)
app.command()(plan)
app.command()(presets)
app.command()(paper)
app.command()(study)
app.command()(compare)
app.command()(report)
app.command()(watch)
app.add_typer(device, name="device")


INTERRUPTED = 128 + signal.SIGINT
"""The exit status of a command that Ctrl-C has stopped immediately."""

RARELY = 100_000
"""The threshold of garbage collection: imports and JAX's tracing make many objects that live on."""

UsageError: Any = typer.BadParameter.__base__
"""The error that wrong options raise; its module depends on the version of Typer."""


def _tell_version(asked: bool) -> bool:
    if asked:
        from dither._kernels import built

        typer.echo(f"dither {version('dither')}, compiled kernels: {built()[1]}")
        raise typer.Exit
    return asked


@app.callback()
def _dither(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    del version


def main() -> None:
    """Run the command line.

    Exit status: 0 done, 1 the run failed, 2 the request was wrong, 128 + N ended by signal N.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # its encoding may lack characters
            stream.reconfigure(errors="replace")
    keep_compiled()
    gc.set_threshold(RARELY)
    try:
        status = app(prog_name="dither", standalone_mode=False)
        if status == INTERRUPTED:  # Typer returns it
            raise typer.Abort
        sys.stdout.flush()
        sys.exit(status_of_signal() or status)
    except UsageError as error:
        said = error.format_message()
        see = f"see {error.ctx.command_path} --help." if error.ctx else "see dither --help."
        # without arguments the message is the help text
        print(said if "\n" in said else f"dither: {said.rstrip('.')}; {see}", file=sys.stderr)
        sys.exit(2)
    except typer.Abort:
        print("dither: Interrupted.", file=sys.stderr)
        sys.exit(status_of_signal() or INTERRUPTED)
    except DitherError as error:
        _end(error)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _end(RequestError(f"The name {error.filename:.60}… is too long for a file."))
        where = error.filename or "The output"
        _end(refusal(Path(str(where)), error, "used"))
    except (MemoryError, RuntimeError) as error:
        # JAX raises a RuntimeError
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        what = str(error).partition("\n")[0]
        _end(RunError(f"Memory ran out ({what}); train fewer replicas at once."))


def _end(error: DitherError) -> None:
    """Print the error and exit with its status, or with that of an earlier signal."""
    with contextlib.suppress(OSError):
        print(f"dither: {error}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # a full disk: Python would flush again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(status_of_signal() or (2 if isinstance(error, RequestError) else 1))
