"""Reading a finished run from its folder."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from dither._errors import RequestError
from dither._explain import key_path
from dither._files import is_file
from dither._seal import DamagedFileError, read_json
from dither.tasks import AnyTask
from dither.training.fleet import table_of
from dither.training.folder import HISTORY, PARAMETERS, RESULT, SPECIFICATION, read_parameters
from dither.training.history import read_history
from dither.training.kinds import AnyDevice
from dither.training.ledger import Ledger
from dither.training.result import Replica, Result
from dither.training.specification import read_table
from dither.training.stop import StopReason


def load_run(folder: str | Path, device: Any = None) -> Result:
    """The result of a finished run.

    Arguments: the run's folder; `device`, the trained device if it was a Python object; only
    `Result.predict` and `Result.confusion` need it.
    Errors: `RequestError` if there is no run, or if it is unfinished or cannot be read.
    """
    if not isinstance(folder, str | Path):
        raise RequestError(
            f"A run is loaded from its folder; give a path, not a {type(folder).__name__}."
        )
    folder = Path(folder)
    if not is_file(folder / RESULT):
        what = "unfinished run" if is_file(folder / SPECIFICATION) else "run"
        raise RequestError(f"There is {'an' if what != 'run' else 'no'} {what} in {folder}.")
    told = read_result(folder / RESULT)
    history, replicas = read_history(folder / HISTORY), told.replicas
    parameters, space = read_parameters(folder)
    if len(parameters) != len(replicas):
        raise DamagedFileError(
            f"{folder / PARAMETERS} holds parameters for another number of replicas."
        )
    asked = read_table(str(folder))[0]
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
        device=_part(folder, asked, "device", AnyDevice) if device is None else device,
        task=_part(folder, asked, "task", AnyTask),
        name=str(asked.get("name", folder.name)),
        aim=asked.get("until", {}).get("score"),
        start_from=told.start_from,
        devices=None if told.devices is None else table_of(told.devices),
        memory=told.memory,
    )


def _part(folder: Path, asked: dict[str, Any], name: str, kind: Any) -> Any:
    """A part of a run from its specification; None if it was a Python object."""
    table = asked.get(name, {"kind": "python-object"})
    if table.get("kind") == "python-object":
        return None
    try:
        return TypeAdapter(kind).validate_python(table)
    except ValidationError as error:
        place = ".".join([name, *key_path(error)])
        said = error.errors()[0]["msg"].removeprefix("Value error, ").rstrip(".?")
        raise RequestError(
            f"This version of dither cannot read {place} in {folder / SPECIFICATION}: {said}."
        ) from None


class Told(BaseModel):
    """The values in `result.json`."""

    model_config = ConfigDict(extra="ignore")

    score: float | None
    score_name: str
    stop_reason: StopReason
    seed: int
    replicas: tuple[Replica, ...]
    warnings: tuple[str, ...]
    failure: str
    made: dict[str, str]
    start_from: str | None = None
    devices: list[dict[str, int | float | None]] | None = None
    memory: dict[str, int] = {}


def read_result(file: Path) -> Told:
    """The content of `result.json`. Errors: `RequestError` if it cannot be read."""
    try:
        told = Told.model_validate(read_json(file))
    except ValidationError as error:
        where = ".".join(str(key) for key in error.errors()[0]["loc"])
        raise DamagedFileError(f"{file} is not the result of a run; see its key {where}.") from None
    ledger = set(Ledger.empty(0).total())
    if not told.replicas or any(set(one.ledger) != ledger for one in told.replicas):
        raise DamagedFileError(
            f"{file} is not the result of a run: its replicas lack their ledger."
        )
    return told
