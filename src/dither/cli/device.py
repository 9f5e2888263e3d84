"""`dither device`."""

import json
from pathlib import Path
from typing import Annotated

import typer

device = typer.Typer(help="Work with a real device.", no_args_is_help=True)


@device.callback()
def _device() -> None:
    pass


@device.command()
def check(
    place: Annotated[str, typer.Argument(metavar="FILE.py:NAME", help="The Python object.")],
    inputs: Annotated[
        str | None,
        typer.Option(help="The task whose inputs to measure: a kind such as nist7x7."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=4, help="Measurements of each kind.")] = 20,
    toml: Annotated[
        Path | None, typer.Option(help="Write the recommended specification to this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Test a device inside its bounds, and recommend settings to train it with."""
    import tomlkit

    from dither.devices.check import check_device, recommended
    from dither.devices.python import PythonDevice, find_object
    from dither.training.checkpoint import write_atomically
    from dither.training.safety import made_safe

    chip = PythonDevice(find_object(place))
    task = inputs or "nist7x7"
    with made_safe(chip):
        report = check_device(chip, task, repeats)
    table = recommended(report, place, task)
    if toml is not None:
        write_atomically(toml, tomlkit.dumps(table).encode())
    if as_json:
        typer.echo(json.dumps({**report.facts(), "recommended": table}))
        return
    for line in report.lines():
        typer.echo(line)
    if toml is None:
        typer.echo("\nrecommended, for `dither train` (--toml FILE writes it):\n")
        typer.echo(tomlkit.dumps(table))
    else:
        typer.echo(f"recommended: dither train {toml}")
