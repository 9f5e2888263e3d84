"""What a run has recorded, evaluation by evaluation."""

import math

import numpy as np
import pandas as pd
from jaxtyping import Float

from dither.training.ledger import Ledger

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
    "cost",
    "test_cost",
    "score",
)
"""`drift` is how far the cost of the parameters at the start has moved since it was first measured,
or since the last alarm, NaN where it is not watched; `cost` is the mean of the costs measured since
the row before; `test_cost` and `score` are of the unperturbed parameters on the test set; the
counts are of one replica since its start."""


def known(value: float | None) -> float | None:
    """A number, None where there is none or it is not finite."""
    return float(value) if value is not None and math.isfinite(value) else None


def by_replica(history: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column of a history, a line for each count of measurements, a column for each replica.

    Without the lines and the replicas of which nothing is known.
    """
    return history.pivot_table(index="measurements", columns="replica", values=column)


def held(lines: Float[np.ndarray, "N ..."]) -> Float[np.ndarray, "N ..."]:
    """Lines in which what has ended keeps its last value, so that a median stays one over all."""
    filled = pd.DataFrame(lines.reshape(len(lines), math.prod(lines.shape[1:]))).ffill()
    return filled.to_numpy(float).reshape(lines.shape)


def quartiles(table: pd.DataFrame) -> Float[np.ndarray, "3 N"]:
    """The quartiles over the columns, line by line; a column that has ended keeps its last."""
    if table.empty:
        return np.full((3, len(table)), np.nan)
    with np.errstate(invalid="ignore"):  # between two infinite costs there is none
        return np.asarray(np.nanpercentile(held(table.to_numpy(float)), [25, 50, 75], axis=1))


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
        test_cost: Float[np.ndarray, " R"],
        score: Float[np.ndarray, " R"],
    ) -> Float[np.ndarray, "C R"]:
        """One evaluation as a row."""
        counts = [getattr(ledger, name).astype(float) for name in COLUMNS[:7]]
        wall = np.full(len(self.seeds), wall_seconds)
        return np.stack([*counts, wall, drift, cost, test_cost, score])

    def frame(self, rows: list[Float[np.ndarray, "C R"]]) -> pd.DataFrame:
        """Tidy: a line per evaluation and replica, without those past a replica's end (NaN)."""
        values = np.array(rows).reshape(len(rows), len(COLUMNS), len(self.seeds))
        by_replica = values.transpose(2, 0, 1)
        there = ~np.isnan(by_replica[:, :, 0])
        replica = np.nonzero(there)[0]
        frame = pd.DataFrame(by_replica[there], columns=list(COLUMNS))
        frame = frame.astype(dict.fromkeys(COLUMNS[:5], "int64"))
        frame.insert(0, "seed", np.array(self.seeds)[replica])
        frame.insert(0, "replica", replica)
        return frame
