"""A finished run, read again from its folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dither._errors import RequestError
from dither.contract import Parameter, Space
from dither.training.folder import HISTORY, PARAMETERS, RESULT, SPECIFICATION
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
    if not (folder / RESULT).is_file():
        what = "unfinished run" if (folder / SPECIFICATION).is_file() else "run"
        raise RequestError(f"There is {'an' if what != 'run' else 'no'} {what} in {folder}.")
    try:
        told = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        history = pd.read_parquet(folder / HISTORY)
        parameters, space = _parameters(folder, len(told["replicas"]))
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise RequestError(
            f"The run in {folder} cannot be read ({type(error).__name__}); run it again."
        ) from None
    replicas = tuple(
        Replica(**{**one, "stop_reason": StopReason(one["stop_reason"])})
        for one in told["replicas"]
    )
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
        device=_device(folder) if device is None else device,
    )


def _parameters(folder: Path, replicas: int) -> tuple[np.ndarray, Space]:
    with np.load(folder / PARAMETERS, allow_pickle=False) as archive:
        arrays = {name.replace(".", "/"): archive[name] for name in archive.files}
    space = Space(tuple(Parameter(name, array.shape[1:]) for name, array in arrays.items()))
    rows = [array.reshape(replicas, -1) for array in arrays.values()]
    return np.hstack([np.zeros((replicas, 0)), *rows]), space


def _device(folder: Path) -> Any:
    """The device as the specification has it; None where it was a Python object."""
    kind = read_toml(folder / SPECIFICATION)[0].get("device", {}).get("kind")
    return None if kind == "python-object" else read_bench(str(folder)).device
