"""`dither watch`."""

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from dither.cli.train import Like


def watch(
    folder: Annotated[Path, typer.Argument(help="The folder of a run or a study.", readable=False)],
    port: Annotated[int, typer.Option(help="The port; 0 picks a free one.")] = 5006,
    listen: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="The address to listen on; other than this machine, it needs a token.",
        ),
    ] = "127.0.0.1",
    like: Like = None,
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.")
    ] = False,
) -> None:
    """Show the live page of a run or a study until Ctrl-C or SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    import webbrowser

    from dither.watch import serve

    def told(address: str) -> None:
        typer.echo(f"{folder}: {address}")
        if browser:
            webbrowser.open(address)

    serve(folder, port, listen, told, stop, like)
