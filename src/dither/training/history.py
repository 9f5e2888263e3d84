"""What a run has recorded, evaluation by evaluation."""

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
"""`drift` is how far the cost of the parameters at the start has moved since it was first measured,
or since the last alarm, NaN where it is not watched; `learning_rate`, the rate in use, that of
`auto` too, NaN for an algorithm without one; `cost` is the mean of the costs measured since
the row before; `test_cost` and `score` are of the unperturbed parameters on the test set; the
counts are of one replica since its start."""


NEEDED = ("replica", "measurements", "wall_seconds", "cost", "test_cost", "score")
"""The columns without which a history shows nothing."""


def known(value: float | None) -> float | None:
    """A number, None where there is none or it is not finite."""
    return float(value) if value is not None and math.isfinite(value) else None


def by_replica(history: "pd.DataFrame", column: str) -> "pd.DataFrame":
    """A column of a history, a line for each count of measurements, a column for each replica.

    Without the lines and the replicas of which nothing is known.
    """
    return history.pivot_table(index="measurements", columns="replica", values=column)


def held(lines: Float[np.ndarray, "N ..."]) -> Float[np.ndarray, "N ..."]:
    """Lines in which what has ended keeps its last value, so that a median stays one over all."""
    import pandas as pd

    filled = pd.DataFrame(lines.reshape(len(lines), math.prod(lines.shape[1:]))).ffill()
    return filled.to_numpy(float).reshape(lines.shape)


def quartiles(table: "pd.DataFrame") -> Float[np.ndarray, "3 N"]:
    """The quartiles over the columns, line by line; a column that has ended keeps its last."""
    if table.empty:
        return np.full((3, len(table)), np.nan)
    with np.errstate(invalid="ignore"):  # between two infinite costs there is none
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
    """The history in a file of `history_bytes`. Errors: as of `read_sealed`."""
    import pandas as pd

    content = read_sealed(path)
    try:
        history = pd.read_parquet(BytesIO(content))
    except Exception as error:  # whatever a reader raises for what is no table
        raise DamagedFileError(
            f"{path} holds no table as dither writes it ({type(error).__name__})."
        ) from None
    lacking = [name for name in NEEDED if name not in history.select_dtypes("number")]
    if lacking:
        raise DamagedFileError(f"{path} is no run's history: it lacks numbers of {lacking[0]}.")
    return history


class History:
    """Rows of one number per replica and column; a replica's rows end when it is finished."""

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
        """Tidy: a line per evaluation and replica, without those past a replica's end (NaN)."""
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
