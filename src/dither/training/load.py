"""A finished run, read again from its folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from dither._errors import RequestError
from dither.tasks import AnyTask
from dither.training.folder import HISTORY, RESULT, SPECIFICATION, read_parameters
from dither.training.kinds import AnyDevice
from dither.training.ledger import Ledger
from dither.training.result import Replica, Result
from dither.training.specification import read_table
from dither.training.stop import StopReason


def load_run(folder: str | Path, device: Any = None) -> Result:
    """The result of a finished run.

    Arguments: the run's folder; `device`, which was trained, where it was a Python object: for
    `Result.predict` and `Result.confusion` alone.
    Errors: `RequestError` where there is no run, or one that is not finished or cannot be read.
    """
    folder = Path(folder)
    if not (folder / RESULT).is_file():
        what = "unfinished run" if (folder / SPECIFICATION).is_file() else "run"
        raise RequestError(f"There is {'an' if what != 'run' else 'no'} {what} in {folder}.")
    try:
        told = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        history = pd.read_parquet(folder / HISTORY)
        parameters, space = read_parameters(folder)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise RequestError(
            f"The run in {folder} cannot be read ({type(error).__name__}); run it again."
        ) from None
    replicas = tuple(
        Replica(**{**one, "stop_reason": StopReason(one["stop_reason"])})
        for one in told["replicas"]
    )
    asked = read_table(str(folder))[0]
    accounts = {n: np.array([one.ledger[n] for one in replicas]) for n in replicas[0].ledger}
    return Result(
        score=told["score"],
        score_name=told["score_name"],
        stop_reason=StopReason(told["stop_reason"]),
        replicas=replicas,
        accounts=Ledger(**accounts),
        history=history,
        parameters=parameters,
        space=space,
        seed=told["seed"],
        out=folder,
        warnings=tuple(told["warnings"]),
        failure=told["failure"],
        device=_part(asked, "device", AnyDevice) if device is None else device,
        task=_part(asked, "task", AnyTask),
        name=str(asked.get("name", folder.name)),
        aim=asked.get("until", {}).get("score"),
        start_from=told.get("start_from"),
    )


def _part(asked: dict[str, Any], name: str, kind: Any) -> Any:
    """A part of a run as its specification has it; None where it was a Python object."""
    table = asked.get(name, {"kind": "python-object"})
    if table.get("kind") == "python-object":
        return None
    try:
        return TypeAdapter(kind).validate_python(table)
    except ValidationError as error:
        raise RequestError(
            f"The run's {name} is not what this version of dither knows: "
            f"{error.errors()[0]['msg']}."
        ) from None
