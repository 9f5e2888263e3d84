"""`dither device`."""

import json
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
    repeats: Annotated[int, typer.Option(min=2, help="Measurements of each kind.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Test a device: shape, bounds, noise, how much its parameters move the output, its speed."""
    from dither.devices.check import check_device
    from dither.devices.python import PythonDevice, find_object

    chip = PythonDevice(find_object(place))
    report = check_device(chip, inputs or "nist7x7", repeats)
    if as_json:
        typer.echo(json.dumps(report.facts()))
        return
    for line in report.lines():
        typer.echo(line)
