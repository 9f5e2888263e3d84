"""A run's folder: everything needed to repeat it, and what came of it."""

import json
import os
import platform
import socket
from collections.abc import Mapping
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import tomlkit

from dither._errors import RequestError
from dither.training.checkpoint import write_atomically
from dither.training.result import Result
from dither.training.settings import without_none

SPECIFICATION = "spec.toml"
CHECKPOINT = Path("checkpoint") / "state.npz"
HISTORY = "history.parquet"
PROGRESS = "progress.json"
"""Where a run is: there as long as it goes on."""
RESULT = "result.json"
TRACEBACK = "traceback.txt"
"""How a device failed: there where a run was given up for it."""


def open_folder(out: Path, resume: bool) -> None:
    """Check that a folder can take this run.

    Errors: `RequestError` where it holds another run, or is no folder.
    """
    if out.exists() and not out.is_dir():
        raise RequestError(f"The output {out} is a file; give a folder.")
    if not resume and out.is_dir() and any(out.iterdir()):
        what = "another run" if (out / SPECIFICATION).exists() else "other files"
        raise RequestError(
            f"The output folder {out} holds {what}; give another --out, or --resume to go on."
        )


def cut_before_checkpoint(out: Path, specification: Mapping[str, Any]) -> bool:
    """Whether a folder holds this very run, cut before its first checkpoint."""
    file = out / SPECIFICATION
    if not file.is_file() or (out / CHECKPOINT).exists():
        return False
    return file.read_text(encoding="utf-8") == tomlkit.dumps(without_none(specification))


def sweep(out: Path) -> None:
    """Remove what a write that was killed has left."""
    for file in (SPECIFICATION, str(CHECKPOINT), HISTORY, PROGRESS, "parameters.npz", RESULT,
                 TRACEBACK, "figure.png", "figure.svg"):  # fmt: skip
        path = out / file
        for left in path.parent.glob(f".{path.name}-*"):
            left.unlink(missing_ok=True)


def free_folder(name: str) -> Path:
    """The first free folder `runs/NAME-k`."""
    taken = {path.name for path in Path("runs").glob(f"{name}-*")}
    number = next(k for k in range(1, len(taken) + 2) if f"{name}-{k}" not in taken)
    return Path("runs") / f"{name}-{number}"


def latest_folder(name: str) -> Path:
    """The folder `runs/NAME-k` that was last written to.

    Errors: `RequestError` where there is none.
    """
    found = [path for path in Path("runs").glob(f"{name}-*") if (path / SPECIFICATION).exists()]
    if not found:
        raise RequestError(f"There is no run of {name} under runs/ to resume; give --out.")
    return max(found, key=lambda path: (path / SPECIFICATION).stat().st_mtime)


def write_specification(out: Path, specification: Mapping[str, Any]) -> None:
    """Write `spec.toml`."""
    text = tomlkit.dumps(without_none(specification))
    write_atomically(out / SPECIFICATION, text.encode())


def write_history(out: Path, history: pd.DataFrame, durable: bool = True) -> None:
    """Write `history.parquet`."""
    buffer = BytesIO()
    history.to_parquet(buffer, index=False)
    write_atomically(out / HISTORY, buffer.getvalue(), durable)


def write_result(out: Path, result: Result) -> None:
    """Write `history.parquet`, `parameters.npz` and, last, `result.json` for `progress.json`."""
    write_history(out, result.history)
    arrays, start = {}, 0
    for parameter in result.space.parameters:
        stop = start + parameter.size
        rows = result.parameters[:, start:stop].reshape(-1, *parameter.shape)
        arrays[parameter.name.replace("/", ".")] = rows
        start = stop
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # mypy takes the names for allow_pickle
    write_atomically(out / "parameters.npz", buffer.getvalue())
    (out / PROGRESS).unlink(missing_ok=True)
    told = {**result.summary(), "made": made()}
    write_atomically(out / RESULT, json.dumps(told, indent=2).encode())


def write_traceback(out: Path, traceback: str) -> None:
    """Write `traceback.txt`, or remove it where there is none."""
    if traceback:
        write_atomically(out / TRACEBACK, traceback.encode())
    else:
        (out / TRACEBACK).unlink(missing_ok=True)


def made() -> dict[str, str]:
    """With what and where a run was made."""

    return {
        "dither": version("dither"),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "machine": f"{socket.gethostname()}, {os.cpu_count()} cores",
    }
