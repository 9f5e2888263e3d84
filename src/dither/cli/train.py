"""`dither train`."""

import json
import os
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from dither._words import count

if TYPE_CHECKING:
    from dither.training import Result, Specification


Out: TypeAlias = Annotated[
    Path | None, typer.Option(help="The run's folder; runs/NAME-k if not given.", readable=False)
]


def train(
    what: Annotated[str, typer.Argument(help="A preset, a TOML file, or a run's folder.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, by its key path."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE", help="Train FILE.py:NAME, or what remote://HOST:PORT serves, instead."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The seed of the first replica.")] = None,
    replicas: Annotated[int | None, typer.Option(help="Specimens trained side by side.")] = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    track: Annotated[
        str | None, typer.Option(help="Send the history to mlflow or tensorboard too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a device from measured costs alone."""
    use_all_cores()
    from dither.training import read_specification
    from dither.training.progress import ProgressBar

    asked: list[str] = []
    if device is not None:
        # before the changes, some of which may be the device's
        if device.startswith("remote://"):
            asked.append("device=" + json.dumps(device))
        else:
            asked.append("device=" + json.dumps("lab"))
            asked.append("device.object=" + json.dumps(device))
        replicas = replicas or 1
    asked += changes or []
    if seed is not None:
        asked.append(f"seed={seed}")
    if replicas is not None:
        asked.append(f"replicas={replicas}")
    specification = read_specification(what, asked)
    if out is None and resume and Path(what).is_dir():
        out = Path(what)

    with (
        warnings.catch_warnings(),
        _folder(out, specification.name, resume) as folder,
        ProgressBar(specification.name) as observe,
    ):
        warnings.showwarning = _warn
        result = specification.train(folder, resume=resume, observers=[observe], track=track)
    if as_json:
        typer.echo(json.dumps(result.summary()))
    else:
        _tell(specification, result)
    if not result.succeeded:
        typer.echo(f"dither: {result.failure or result.stop_reason.advice}", err=True)
        raise typer.Exit(1)


def _folder(out: Path | None, name: str, resume: bool) -> AbstractContextManager[Path]:
    """The run's folder: as given, or the latest of this name, or a new one."""
    from dither.training.folder import latest_folder, new_folder

    if out is None and not resume:
        return new_folder(name)
    return nullcontext(latest_folder(name) if out is None else out)


def use_all_cores() -> None:
    """Let replicas run on all cores: one of JAX's devices each. Before JAX is first used."""
    import jax

    jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)


def _warn(message: Any, *_: Any, **__: Any) -> None:
    typer.echo(f"dither: warning: {message}", err=True)


def _reached(result: "Result") -> str:
    if result.score is not None:
        return f"{result.score_name} {result.score:.4f}"
    cost = result.replicas[0].test_cost
    return "no score" if cost is None else f"test cost {cost:.4g}"


def _tell(specification: "Specification", result: "Result") -> None:
    ledger = result.ledger
    score = _reached(result)
    typer.echo(
        f"{specification.name}: {score} after {count(ledger['measurements'])} measurements "
        f"(stopped by: {result.stop_reason})"
    )
    if len(result.replicas) > 1:
        reached = sum(replica.reached for replica in result.replicas)
        aim = specification.until.score
        aimed = f"; {reached} reached {aim:g}" if aim is not None else ""
        typer.echo(f"{len(result.replicas)} replicas{aimed}; score is their median")
    if ledger["device_seconds"]:
        typer.echo(f"time on the device: {ledger['device_seconds']:.3g} s")
    if ledger["failed"]:
        typer.echo(f"failed measurements: {ledger['failed']}")
    typer.echo(f"folder: {result.out}\nfigure: {(result.out or Path()) / 'figure.png'}")
