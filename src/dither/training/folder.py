"""The folder of a run: everything needed to repeat it, and its results."""

import contextlib
import itertools
import os
import platform
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import tomlkit
from jaxtyping import Float

from dither._errors import DitherError, RequestError
from dither._files import is_file, make_folder, read_file, refusal, write_atomically
from dither._seal import DamagedFileError, sealed_json, sealed_toml
from dither.contract import Parameter, Space
from dither.training.checkpoint import npz, read_npz
from dither.training.history import history_bytes
from dither.training.lease import Lease, abandoned, holder, watched_for
from dither.training.result import Result
from dither.training.settings import without_none

if TYPE_CHECKING:
    import pandas as pd

SPECIFICATION = "spec.toml"
CHECKPOINT = Path("checkpoint") / "state.npz"
HISTORY = "history.parquet"
PLAN = "plan.json"
PROGRESS = "progress.json"
"""The progress of a run; the file exists while the run is going."""
PARAMETERS = "parameters.npz"
RESULT = "result.json"
TRACEBACK = "traceback.txt"
"""The traceback of a device's failure; the file exists if it ended the run."""
LEASE = "lease.json"
"""The process that trains in a folder; the file exists while it does."""

LEASE_SECONDS = 60.0
"""The time without a sign of life, s, after which a run counts as dead: less than for a job."""


def open_folder(out: Path, resume: bool) -> None:
    """Check that a folder can take this run.

    Errors: `RequestError` if it holds another run or is not a folder.
    """
    try:
        if out.exists() and not out.is_dir():
            raise RequestError(f"The output {out} is a file; give a folder.")
        taken = not resume and out.is_dir() and any(map(_counts, out.iterdir()))
    except OSError as error:
        raise refusal(out, error, "read") from None
    if taken:
        what = "another run" if (out / SPECIFICATION).exists() else "other files"
        raise RequestError(
            f"The output folder {out} holds {what}; give another --out, or --resume to continue it."
        )


def _counts(path: Path) -> bool:
    """Whether a file is more than the remains of a running or killed start."""
    return not path.name.startswith((LEASE, f".{LEASE}-", f".{SPECIFICATION}-", ".clock-"))


@contextmanager
def owned(out: Path, resume: bool) -> Iterator[None]:
    """Lock a run's folder for this run; remove the folder if nothing was written.

    Errors: `RequestError` if the folder cannot be written, holds another run, or a run that is
    still going.
    """
    open_folder(out, resume)
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        lease = Lease.take(out / LEASE, LEASE_SECONDS)
        if lease is None and abandoned(out / LEASE, LEASE_SECONDS):
            time.sleep(watched_for())
            lease = Lease.take(out / LEASE, LEASE_SECONDS)
    except DitherError:
        _remove_empty(new)
        raise
    if lease is None:
        raise RequestError(_still_going(out))
    try:
        open_folder(out, resume)
        sweep(out)
        yield
    finally:
        lease.give_up()
        _remove_empty(new)


def _still_going(out: Path) -> str:
    about = holder(out / LEASE)
    by = f" (process {about['pid']} on {about['host']})" if about else ""
    return (
        f"The run in {out} is still going{by}; give another --out, or wait until it ends or, "
        f"if that machine is down, for {LEASE_SECONDS:.0f} s."
    )


def _remove_empty(folders: Iterable[Path]) -> None:
    with contextlib.suppress(OSError):  # it is not empty, and neither are its parents
        for folder in folders:
            folder.rmdir()


def gone(out: Path | None) -> bool:
    """Whether the folder of a running run of this process was deleted or taken over."""
    if out is None:
        return False
    try:
        if not (out / SPECIFICATION).exists():
            return True
    except OSError:  # a shared folder may be unavailable for a while
        return False
    about = holder(out / LEASE)
    return bool(about) and (about["host"], about["pid"]) != (socket.gethostname(), os.getpid())


def folder_beside(folder: Path) -> Path:
    """A new folder `FOLDER.saved` for the results if a folder was deleted.

    Errors: `RequestError` if it cannot be made.
    """
    for number in itertools.count(1):
        beside = folder.with_name(f"{folder.name}.saved{'' if number == 1 else f'-{number}'}")
        if not beside.exists():
            break
    make_folder(beside)
    return beside


def cut_before_checkpoint(out: Path, specification: Mapping[str, Any]) -> bool:
    """Whether a folder holds this same run, stopped before its first checkpoint."""
    file = out / SPECIFICATION
    if not is_file(file) or is_file(out / CHECKPOINT):
        return False
    return read_file(file) == _specification(specification)


def _specification(specification: Mapping[str, Any]) -> bytes:
    return sealed_toml(tomlkit.dumps(without_none(specification)))


def sweep(out: Path) -> None:
    """Remove the remains of a killed write."""
    for file in (SPECIFICATION, str(CHECKPOINT), HISTORY, PROGRESS, PARAMETERS, RESULT,
                 TRACEBACK, "figure.png", "figure.svg"):  # fmt: skip
        path = out / file
        for left in path.parent.glob(f".{path.name}-*"):
            left.unlink(missing_ok=True)


def free_folder(name: str) -> Path:
    """Make the first free folder `runs/NAME-k`; a concurrent caller gets another one.

    Errors: `RequestError` if it cannot be made.
    """
    for number in itertools.count(1):
        folder = Path("runs") / f"{name}-{number}"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise RequestError(
                f"The folder {folder} cannot be made: {error.strerror}; give --out."
            ) from None
        return folder
    raise AssertionError("numbers do not end")


@contextmanager
def new_folder(name: str) -> Iterator[Path]:
    """The same; the folder is removed again if nothing was written to it."""
    new = [] if Path("runs").exists() else [Path("runs")]
    folder = free_folder(name)
    try:
        yield folder
    finally:
        _remove_empty([folder, *new])


def latest_folder(name: str) -> Path:
    """The most recently written folder `runs/NAME-k`.

    Errors: `RequestError` if there is none.
    """
    own = re.compile(re.escape(name) + r"-\d+")
    found = [
        path
        for path in (Path("runs").iterdir() if Path("runs").is_dir() else ())
        if own.fullmatch(path.name) and (path / SPECIFICATION).exists()
    ]
    if not found:
        raise RequestError(f"There is no run of {name} under runs/ to resume; give --out.")
    return max(found, key=lambda path: (path / SPECIFICATION).stat().st_mtime)


def write_specification(out: Path, specification: Mapping[str, Any]) -> None:
    """Write `spec.toml`."""
    write_atomically(out / SPECIFICATION, _specification(specification))


def write_history(out: Path, history: "pd.DataFrame", durable: bool = True) -> None:
    """Write `history.parquet`."""
    write_atomically(out / HISTORY, history_bytes(history), durable)


def write_result(out: Path, result: Result) -> None:
    """Write `history.parquet`, `parameters.npz` and then `result.json`; remove `progress.json`."""
    write_history(out, result.history)
    arrays, start = {}, 0
    for parameter in result.space.parameters:
        stop = start + parameter.size
        rows = result.parameters[:, start:stop].reshape(-1, *parameter.shape)
        arrays[parameter.name.replace("/", ".")] = rows
        start = stop
    write_atomically(out / PARAMETERS, npz(arrays))
    (out / PROGRESS).unlink(missing_ok=True)
    told = {**result.summary(), "made": made()}
    write_atomically(out / RESULT, sealed_json(told, indent=2))


def read_parameters(folder: Path) -> tuple[Float[np.ndarray, "R P"], Space]:
    """The parameters in `parameters.npz`, one row per replica, and the space that names them."""
    file = folder / PARAMETERS
    arrays = {name.replace(".", "/"): array for name, array in read_npz(file).items()}
    if any(array.ndim == 0 for array in arrays.values()) or len({*map(len, arrays.values())}) > 1:
        raise DamagedFileError(f"{file} holds arrays with different numbers of replicas.")
    space = Space(tuple(Parameter(name, array.shape[1:]) for name, array in arrays.items()))
    rows = [array.reshape(len(array), -1) for array in arrays.values()]
    return np.hstack(rows or [np.zeros((1, 0))]), space


def write_traceback(out: Path, traceback: str) -> None:
    """Write `traceback.txt`, or remove it if there is no traceback."""
    if traceback:
        write_atomically(out / TRACEBACK, traceback.encode())
    else:
        (out / TRACEBACK).unlink(missing_ok=True)


@cache
def made() -> dict[str, str]:
    """The versions and the machine that produced a run."""
    return {
        "dither": version("dither"),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "machine": f"{socket.gethostname()}, {os.cpu_count()} cores",
    }
