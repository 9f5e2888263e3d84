"""A finished run, read again from its folder."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from dither._errors import RequestError
from dither._files import is_file
from dither._seal import DamagedFileError, read_json
from dither.contract import Parameter, Space
from dither.training.checkpoint import read_npz
from dither.training.folder import HISTORY, PARAMETERS, RESULT, SPECIFICATION
from dither.training.history import read_history
from dither.training.ledger import Ledger
from dither.training.result import Replica, Result
from dither.training.specification import read_bench, read_toml
from dither.training.stop import StopReason


def load_run(folder: str | Path, device: Any = None) -> Result:
    """The result of a finished run.

    Arguments: the run's folder; `device`, which was trained, where it was a Python object: for
    `Result.predict` alone.
    Errors: `RequestError` where there is no run, or one that is not finished or cannot be read.
    """
    folder = Path(folder)
    if not is_file(folder / RESULT):
        what = "unfinished run" if is_file(folder / SPECIFICATION) else "run"
        raise RequestError(f"There is {'an' if what != 'run' else 'no'} {what} in {folder}.")
    told = read_result(folder / RESULT)
    history = read_history(folder / HISTORY)
    parameters, space = _parameters(folder / PARAMETERS, len(told.replicas))
    replicas = told.replicas
    accounts = {n: np.array([one.ledger[n] for one in replicas]) for n in replicas[0].ledger}
    return Result(
        score=told.score,
        score_name=told.score_name,
        stop_reason=told.stop_reason,
        replicas=replicas,
        accounts=Ledger(**accounts),
        history=history,
        parameters=parameters,
        space=space,
        seed=told.seed,
        out=folder,
        warnings=told.warnings,
        failure=told.failure,
        device=_device(folder) if device is None else device,
    )


class Told(BaseModel):
    """What stands in `result.json`."""

    model_config = ConfigDict(extra="ignore")

    score: float | None
    score_name: str
    stop_reason: StopReason
    seed: int
    replicas: tuple[Replica, ...]
    warnings: tuple[str, ...]
    failure: str
    made: dict[str, str]


def read_result(file: Path) -> Told:
    """What stands in `result.json`. Errors: `RequestError` where it cannot be read."""
    try:
        told = Told.model_validate(read_json(file))
    except ValidationError as error:
        where = ".".join(str(key) for key in error.errors()[0]["loc"])
        raise DamagedFileError(f"{file} is no result of a run: see {where} in it.") from None
    ledger = set(Ledger.empty(0).total())
    if not told.replicas or any(set(one.ledger) != ledger for one in told.replicas):
        raise DamagedFileError(f"{file} is no result of a run: its replicas lack their ledger.")
    return told


def _parameters(file: Path, replicas: int) -> tuple[np.ndarray, Space]:
    arrays = {name.replace(".", "/"): array for name, array in read_npz(file).items()}
    if any(array.ndim == 0 or len(array) != replicas for array in arrays.values()):
        raise DamagedFileError(f"{file} holds the parameters of another number of replicas.")
    space = Space(tuple(Parameter(name, array.shape[1:]) for name, array in arrays.items()))
    rows = [array.reshape(replicas, -1) for array in arrays.values()]
    return np.hstack([np.zeros((replicas, 0)), *rows]), space


def _device(folder: Path) -> Any:
    """The device as the specification has it; None where it was a Python object."""
    kind = read_toml(folder / SPECIFICATION)[0].get("device", {}).get("kind")
    return None if kind == "python-object" else read_bench(str(folder)).device
