"""`dither device`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dither.instruments.connection import AbstractConnection
    from dither.tasks.task import AbstractTask

device = typer.Typer(help="Check, serve and inspect a real device.", no_args_is_help=True)


@device.callback()
def _device() -> None:
    pass


@device.command()
def check(
    place: Annotated[
        str,
        typer.Argument(
            metavar="DEVICE",
            help="FILE.py:NAME, remote://HOST:PORT, or a TOML file with tables task and device.",
        ),
    ],
    inputs: Annotated[
        str | None,
        typer.Option(help="The task whose inputs are measured: nist7x7, own.csv, own.npz."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a setting of the device or of the task."
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=4, help="Measurements of each kind.")] = 20,
    toml: Annotated[
        Path | None, typer.Option(help="Write the recommended specification to this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Test a device inside its bounds and recommend training settings."""
    import tomlkit

    from dither._explain import made_of
    from dither._files import make_folder, write_atomically
    from dither._platform import check_platform
    from dither.instruments.check import check_device, recommended
    from dither.tasks import TASKS
    from dither.training.safety import made_safe

    check_platform()
    connection, task = _to_check(place, inputs, changes or [])
    data = None if task is None else task.load()
    chip = connection.connect()
    task = task or made_of(TASKS, chip.task)
    with made_safe(chip):
        report = check_device(chip, data or task.load(), repeats)
    if report.unmoved:
        typer.echo(json.dumps(report.facts()) if as_json else "\n".join(report.lines()))
    table = recommended(report, connection, task)
    if toml is not None:
        make_folder(toml.parent)
        write_atomically(toml, tomlkit.dumps(table).encode())
    if as_json:
        typer.echo(json.dumps({**report.facts(), "recommended": table}))
        return
    for line in report.lines():
        typer.echo(line)
    if toml is None:
        typer.echo("\nrecommended specification for `dither train` (--toml FILE writes it):\n")
        typer.echo(tomlkit.dumps(table))
    else:
        typer.echo(f"recommended: dither train {toml}")


def _to_check(
    place: str, inputs: str | None, changes: list[str]
) -> "tuple[AbstractConnection, AbstractTask | None]":
    """The device at a place, and the task whose inputs are measured, if one is given."""
    from dither.training.specification import read_bench

    bench = read_bench(place, inputs, changes)
    return bench.real_device(), bench.task


@device.command()
def serve(
    place: Annotated[
        str,
        typer.Argument(
            metavar="DEVICE", help="FILE.py:NAME, or a TOML file with tables task and device."
        ),
    ],
    listen: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="The address; TLS is required beyond this machine."),
    ] = "127.0.0.1:7700",
    token_file: Annotated[
        Path | None,
        typer.Option(help="The shared secret's file, made if missing. [default: dither-token]"),
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="The server's certificate, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="The certificate's key, PEM.")] = None,
    client_ca: Annotated[
        Path | None, typer.Option(help="Require client certificates of this authority, PEM.")
    ] = None,
    record: Annotated[Path | None, typer.Option(help="Append every action to this file.")] = None,
    timeout: Annotated[float, typer.Option(min=0.01, help="Time limit of one call, s.")] = 60.0,
    lease: Annotated[
        float, typer.Option(min=1, help="Silence after which a trainer counts as lost, s.")
    ] = 10.0,
    rate: Annotated[float, typer.Option(min=1, help="Requests per second, at most.")] = 20_000.0,
) -> None:
    """Serve a device on the network as `remote://HOST:PORT`, to one trainer at a time."""
    _needs_remote("msgpack")
    from dither.remote.serve import serve as serve_device

    serve_device(
        place, listen, token_file=token_file, certificate=certificate, key=key,
        client_ca=client_ca, record=record, timeout=timeout, lease=lease, rate=rate,
        say=typer.echo,
    )  # fmt: skip


@device.command()
def look(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The server's address.")],
    token_file: Annotated[Path | None, typer.Option(help="The file of the shared secret.")] = None,
    ca: Annotated[
        Path | None, typer.Option(help="The authority of the server's certificate, PEM.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="The client's certificate, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="The client's key, PEM.")] = None,
) -> None:
    """Show who trains a served device and what was done to it, as one JSON object."""
    _needs_remote("msgpack")
    from dither.remote.client import look as look_at

    seen = look_at(address, token_file=token_file, ca=ca, certificate=certificate, key=key)
    typer.echo(json.dumps(seen))


@device.command()
def certificates(
    hosts: Annotated[list[str], typer.Argument(help="The server's host names and addresses.")],
    out: Annotated[Path, typer.Option(help="The output folder.")] = Path("certificates"),
) -> None:
    """Make an authority and the server's and client's certificates for mutual TLS."""
    _needs_remote("cryptography")
    from dither.remote.certificates import make_certificates

    make_certificates(hosts, out)
    typer.echo(f"server: {out / 'server.pem'}, {out / 'server.key'}, {out / 'ca.pem'}")
    typer.echo(f"trainer: {out / 'client.pem'}, {out / 'client.key'}, {out / 'ca.pem'}")


def _needs_remote(*packages: str) -> None:
    from dither.instruments.extras import needs

    for package in packages:
        needs(package, "remote")
