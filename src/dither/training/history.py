"""What a run has recorded, evaluation by evaluation."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from dither.training.ledger import Ledger

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "measurements",
    "writes",
    "samples",
    "failed",
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
        counts = [getattr(ledger, name).astype(float) for name in COLUMNS[:6]]
        wall = np.full(len(self.seeds), wall_seconds)
        return np.stack([*counts, wall, drift, cost, test_cost, score])

    def frame(self, rows: list[Float[np.ndarray, "C R"]]) -> "pd.DataFrame":
        """Tidy: a line per evaluation and replica, without those past a replica's end (NaN)."""
        import pandas as pd

        values = np.array(rows).reshape(len(rows), len(COLUMNS), len(self.seeds))
        by_replica = values.transpose(2, 0, 1)
        there = ~np.isnan(by_replica[:, :, 0])
        replica = np.nonzero(there)[0]
        frame = pd.DataFrame(by_replica[there], columns=list(COLUMNS))
        frame = frame.astype(dict.fromkeys(COLUMNS[:4], "int64"))
        frame.insert(0, "seed", np.array(self.seeds)[replica])
        frame.insert(0, "replica", replica)
        return frame
