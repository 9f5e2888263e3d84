"""`dither train`."""

import json
import os
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from dither._words import count, number

if TYPE_CHECKING:
    from dither.training import Result, Specification


Out: TypeAlias = Annotated[
    Path | None, typer.Option(help="The output folder (default: runs/NAME-k).", readable=False)
]

Like: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN|PLAN",
        help="Estimate the time left from the curve of a finished run or a plan.",
    ),
]


def train(
    what: Annotated[str, typer.Argument(help="A preset, a TOML file, or the folder of a run.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, given by its key path."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE", help="Train the device FILE.py:NAME or remote://HOST:PORT instead."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="Train on another task: own.csv, own.npz, or a kind."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The seed of the first replica.")] = None,
    replicas: Annotated[int | None, typer.Option(help="The number of replicas.")] = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint.")] = False,
    start_from: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN", help="Start a new run from the parameters of RUN."),
    ] = None,
    track: Annotated[
        str | None, typer.Option(help="Also send the history to mlflow or tensorboard.")
    ] = None,
    like: Like = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a device from measured costs alone."""
    use_all_cores()
    from dither.training import read_specification
    from dither.training.progress import ProgressBar

    start = None if start_from is None else json.dumps(str(start_from.resolve()))
    more = {"seed": seed, "replicas": replicas, "start_from": start}
    asked = [*_parts(device, task), *(changes or [])]
    asked += [f"{key}={value}" for key, value in more.items() if value is not None]
    specification = read_specification(what, asked)
    end = _end(like, specification.until.score)
    if out is None and resume and Path(what).is_dir():
        out = Path(what)

    with (
        warnings.catch_warnings(),
        _folder(out, specification.name, resume) as folder,
        ProgressBar(specification.name, end) as observe,
    ):
        warnings.showwarning = _warn
        result = specification.train(folder, resume=resume, observers=[observe], track=track)
    _tell_without_kernels(specification.device)
    if as_json:
        typer.echo(json.dumps(result.summary()))
    else:
        _tell(specification, result)
    if not result.succeeded:
        typer.echo(f"dither: {result.failure or result.stop_reason.advice}", err=True)
        raise typer.Exit(1)


def _end(like: Path | None, target: float | None) -> Any:
    """The expected time of arrival at the target, if a similar run gives one."""
    if like is None:
        return lambda _: None
    from dither.planning.left import End

    return End(like, target)


def _tell_without_kernels(device: Any) -> None:
    """Say once that compiled kernels would make the simulation faster."""
    from dither._kernels import built
    from dither.devices import AbstractDevice

    simulated = isinstance(device, AbstractDevice)
    if simulated and built()[0] is None and "DITHER_KERNELS" not in os.environ:
        typer.echo(
            f"dither: this run used plain JAX; compiled kernels were {built()[1]}.", err=True
        )


def _parts(device: str | None, task: str | None) -> list[str]:
    """The changes that replace a device or a task; they come before changes of its settings."""
    parts = [] if task is None else ["task=" + json.dumps(task)]
    if device is None:
        return parts
    if device.startswith("remote://"):
        return [*parts, "device=" + json.dumps(device), "replicas=1"]
    return [*parts, 'device="lab"', "device.object=" + json.dumps(device), "replicas=1"]


def _folder(out: Path | None, name: str, resume: bool) -> AbstractContextManager[Path]:
    """The run's folder: the given one, the latest of this name, or a new one."""
    from dither.training.folder import latest_folder, new_folder

    if out is None and not resume:
        return new_folder(name)
    return nullcontext(latest_folder(name) if out is None else out)


def use_all_cores() -> None:
    """Make each available core a JAX device, for replicas. Call this before JAX is used."""
    import jax

    ours = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    jax.config.update("jax_num_cpu_devices", ours or 1)


def _warn(message: Any, *_: Any, **__: Any) -> None:
    typer.echo(f"dither: warning: {message}", err=True)


def _reached(result: "Result") -> str:
    if result.score is not None:
        return f"{result.score_name} {result.score:.4f}"
    cost = result.replicas[0].test_cost
    return "no score" if cost is None else f"test cost {cost:.4g}"


def _tell(specification: "Specification", result: "Result") -> None:
    from dither.training.ledger import in_words

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
        typer.echo(f"{len(result.replicas)} replicas{aimed}; the score is their median")
    told = result.summary()
    if result.devices is not None and told["devices_mean_score"] is not None:
        typer.echo(
            f"{result.devices['device'].nunique()} devices: mean {result.score_name} "
            f"{told['devices_mean_score']:.4f}, worst {told['devices_worst_score']:.4f}; "
            f"{count(told['devices_in_all']['measurements'])} measurements in total"
        )
    if result.learning_rate is not None:
        typer.echo(f"last learning rate: {number(result.learning_rate)}")
    for what, how_much, unit in in_words(ledger):
        if how_much != "0" and what not in ("measurements", "samples"):
            typer.echo(f"{what}: {how_much} {unit}".rstrip())
    if result.memory:
        typer.echo(f"memory for layer inputs: {number(sum(result.memory.values()) / 1e3)} kB")
    if result.start_from is not None:
        typer.echo(f"started from: {result.start_from} (its measurements are not counted here)")
    typer.echo(f"folder: {result.out}")
    figure = (result.out or Path()) / "figure.png"
    if figure.is_file():
        typer.echo(f"figure: {figure}")
