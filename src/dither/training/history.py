"""The history of a run, evaluation by evaluation."""

import math
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from dither._seal import KEY, OPEN, DamagedFileError, read_sealed, sealed
from dither.training.ledger import Ledger
from dither.training.loop import Evaluation

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "measurements",
    "writes",
    "samples",
    "failed",
    "perturbations",
    "device_seconds",
    "joules",
    "wall_seconds",
    "drift",
    "learning_rate",
    "cost",
    "test_cost",
    "score",
)
"""The columns of a history; all counts are those of one replica since its start.

`drift` is the change of the initial parameters' cost since it was first measured, or since the last
alarm, NaN if drift is not watched; `learning_rate` is the rate in use, including that of `auto`,
NaN for an algorithm without one; `cost` is the mean of the costs measured since the previous row;
`test_cost` and `score` are those of the unperturbed parameters on the test set.
"""


NEEDED = ("replica", "measurements", "wall_seconds", "cost", "test_cost", "score")
"""The columns that a history must have."""


def known(value: float | None) -> float | None:
    """A number; None if it is missing or not finite."""
    return float(value) if value is not None and math.isfinite(value) else None


def by_replica(history: "pd.DataFrame", column: str) -> "pd.DataFrame":
    """A quantity of a history, with one line per count of measurements and one column per replica.

    Lines and replicas without data are dropped.
    """
    return history.pivot_table(index="measurements", columns="replica", values=column)


def held(lines: Float[np.ndarray, "N ..."]) -> Float[np.ndarray, "N ..."]:
    """Lines in which a finished replica keeps its last value, so that a median covers all."""
    import pandas as pd

    filled = pd.DataFrame(lines.reshape(len(lines), math.prod(lines.shape[1:]))).ffill()
    return filled.to_numpy(float).reshape(lines.shape)


def quartiles(table: "pd.DataFrame") -> Float[np.ndarray, "3 N"]:
    """The quartiles over the columns, line by line; a finished replica keeps its last value."""
    if table.empty:
        return np.full((3, len(table)), np.nan)
    with np.errstate(invalid="ignore"):  # undefined between two infinite costs
        return np.asarray(np.nanpercentile(held(table.to_numpy(float)), [25, 50, 75], axis=1))


def history_bytes(history: "pd.DataFrame") -> bytes:
    """A history as a Parquet file, sealed in its footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(history, preserve_index=False)
    buffer = BytesIO()
    with pq.ParquetWriter(buffer, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({KEY: OPEN})
    return sealed(buffer.getvalue())


def read_history(path: Path) -> "pd.DataFrame":
    """The history in a file of `history_bytes`. Errors: those of `read_sealed`."""
    import pandas as pd

    content = read_sealed(path)
    try:
        history = pd.read_parquet(BytesIO(content))
    except Exception as error:  # any error of the reader for an invalid table
        raise DamagedFileError(
            f"{path} does not hold a table that dither wrote ({type(error).__name__})."
        ) from None
    lacking = [name for name in NEEDED if name not in history.select_dtypes("number")]
    if lacking:
        raise DamagedFileError(
            f"{path} is not the history of a run: it lacks the column {lacking[0]}."
        )
    return history


class History:
    """Rows with one number per replica and column; the rows of a replica end when it finishes."""

    def __init__(self, seeds: list[int]) -> None:
        self.seeds = seeds
        self.rows: list[Float[np.ndarray, "C R"]] = []

    def row(
        self,
        ledger: Ledger,
        wall_seconds: float,
        drift: Float[np.ndarray, " R"],
        cost: Float[np.ndarray, " R"],
        seen: Evaluation,
    ) -> Float[np.ndarray, "C R"]:
        """One evaluation as a row."""
        counts = [getattr(ledger, name).astype(float) for name in COLUMNS[:7]]
        wall = np.full(len(self.seeds), wall_seconds)
        return np.stack([*counts, wall, drift, seen.rate, cost, seen.cost, seen.score])

    def frame(self, rows: list[Float[np.ndarray, "C R"]]) -> "pd.DataFrame":
        """A tidy table: one line per evaluation and replica, up to the replica's end."""
        import pandas as pd

        values = np.array(rows).reshape(len(rows), len(COLUMNS), len(self.seeds))
        by_replica = values.transpose(2, 0, 1)
        there = ~np.isnan(by_replica[:, :, 0])
        replica = np.nonzero(there)[0]
        frame = pd.DataFrame(by_replica[there], columns=list(COLUMNS))
        frame = frame.astype(dict.fromkeys(COLUMNS[:5], "int64"))
        frame.insert(0, "seed", np.array(self.seeds)[replica])
        frame.insert(0, "replica", replica)
        return frame
