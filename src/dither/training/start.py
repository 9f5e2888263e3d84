"""Starting a run from another run's parameters."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dither._errors import RequestError
from dither._files import is_file
from dither.contract import Space
from dither.training.fingerprint import fingerprint
from dither.training.folder import PARAMETERS, SPECIFICATION, read_parameters
from dither.training.result import Result


def start_name(start: Any) -> str:
    """A start as written in `spec.toml`: the other run's folder, or a digest of its parameters.

    Errors: `RequestError` for anything but a folder or a result.
    """
    if isinstance(start, str) and "\0" in start:
        raise RequestError(f"{start!r:.60} is not a valid folder name.")
    if not isinstance(start, str | Path | Result):
        raise RequestError(
            f"start_from must be a run's folder or result, not a {type(start).__name__}."
        )
    if isinstance(start, Result):
        if start.out is None:
            return f"python-object {fingerprint(start.parameters)}"
        start = start.out
    return str(Path(start).resolve())


def start_of(
    start: Any, space: Space, replicas: int
) -> tuple[Float[np.ndarray, "R P"], tuple[str, ...]]:
    """The initial parameters of each replica: replica r starts from the other run's r mod R.

    Arguments: the other run's folder or result; the device's space; the number of replicas.
    Returns: one row for each; warnings.
    Errors: `RequestError` if there is no such run or its parameters do not fit.
    """
    if isinstance(start, Result):
        found, theirs, run = start.parameters, start.space, "that result"
    else:
        found, theirs = _read(Path(start))
        run = f"the run in {start}"
    if _shapes(theirs) != _shapes(space):
        raise RequestError(
            f"The parameters of {run} are {_told(theirs)}, but the device's are {_told(space)}; "
            "start from a run of the same shapes."
        )
    rows = found[np.arange(replicas) % len(found)]
    if not np.isfinite(rows).all():
        lost = int(np.argmin(np.isfinite(rows).all(axis=1)))
        raise RequestError(
            f"Replica {lost % len(found)} of {run} has parameters that are not finite; start from "
            "another run."
        )
    outside = int(((rows < space.low) | (rows > space.high)).any(axis=0).sum())
    if not outside:
        return rows, ()
    return rows, (
        f"{outside} of the {space.size} parameters of {run} are outside this device's bounds and "
        "start at the nearest value inside.",
    )


def _read(folder: Path) -> tuple[Float[np.ndarray, "R P"], Space]:
    if not is_file(folder / PARAMETERS):
        if is_file(folder / SPECIFICATION):
            raise RequestError(
                f"The run in {folder} is not finished; finish it with --resume first."
            )
        raise RequestError(f"The folder {folder} holds no run to start from; give another folder.")
    return read_parameters(folder)


def _shapes(space: Space) -> list[tuple[int, ...]]:
    return [parameter.shape for parameter in space.parameters]


def _told(space: Space) -> str:
    def told(one: Any) -> str:
        return f"{one.name} {' × '.join(map(str, one.shape)) or '1'}"

    return ", ".join(map(told, space.parameters)) or "none"
