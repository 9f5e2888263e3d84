"""`dither presets`."""

from importlib import resources
from typing import Annotated

import typer


def presets(
    name: Annotated[str | None, typer.Argument(help="Print this preset's TOML.")] = None,
) -> None:
    """List the presets, or print one as TOML to start your own file from."""
    import tomllib

    from rich.console import Console
    from rich.table import Table

    from dither._errors import RequestError, nearest

    folder = resources.files("dither") / "presets"
    files = {p.name.removesuffix(".toml"): p for p in folder.iterdir() if p.name.endswith(".toml")}
    if name is not None:
        if name not in files:
            raise RequestError(f"There is no preset '{name}'; {nearest(name, files)}")
        typer.echo(files[name].read_text(encoding="utf-8"), nl=False)
        return
    table = Table("preset", "what it trains", box=None)
    for preset in sorted(files):
        table.add_row(preset, tomllib.loads(files[preset].read_text(encoding="utf-8"))["about"])
    Console().print(table)
