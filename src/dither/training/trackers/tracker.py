"""What every tracker does: an observer that sends each evaluation once."""

import json
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dither.training.history import COLUMNS
from dither.training.run import Progress
from dither.training.stop import StopReason


class AbstractTracker(ABC):
    """Sends a run's history, evaluation by evaluation, at its count of measurements as the step.

    Where there are several replicas, what is sent is their median; a replica that has ended keeps
    its last values in it. A tracker that fails on the way warns, and is left out from then on.

    Arguments: the run's folder; its name; its specification.
    """

    def __init__(self, out: Path, name: str, specification: Mapping[str, Any]) -> None:
        self.sent, self.failed = 0, False
        self.last: Float[np.ndarray, "C R"] | None = None
        self.begin(out, name, settings(specification))

    @staticmethod
    @abstractmethod
    def check_installed() -> None:
        """Import the client. Errors: `ImportError`."""

    @abstractmethod
    def begin(self, out: Path, name: str, settings: Mapping[str, str]) -> None:
        """Begin a record, or go on with the one that this folder has. Errors: `RequestError`."""

    @abstractmethod
    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send one evaluation."""

    @abstractmethod
    def close(self, reason: StopReason) -> None:
        """The run has ended for this reason."""

    def __call__(self, now: Progress) -> None:
        self._try(now.history.rows)

    def end(self, rows: list[Float[np.ndarray, "C R"]], reason: StopReason) -> None:
        """Send what is left, and why the run ended."""
        self._try(rows, reason)

    def _try(self, rows: list[Float[np.ndarray, "C R"]], reason: StopReason | None = None) -> None:
        if self.failed:
            return
        try:
            for row in rows[self.sent :]:
                self.sent += 1
                self.log(*self._values(row))
            if reason is not None:
                self.close(reason)
        except Exception as error:  # whatever a client raises: the run is worth more
            self.failed = True
            warnings.warn(
                f"Tracking with {type(self).__name__} stopped ({error}); the run goes on.",
                stacklevel=2,
            )

    def _values(self, row: Float[np.ndarray, "C R"]) -> tuple[dict[str, float], int]:
        if self.last is None:
            self.last = row
        self.last = np.where(np.isnan(row[:1]), self.last, row)
        step = int(np.nanmax(row[0]))
        values = zip(COLUMNS, np.median(self.last, axis=1).tolist())
        return {name: value for name, value in values if math.isfinite(value)}, step


def settings(table: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """A specification as text by key path, such as `algorithm.delta`."""
    found: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= settings(value, f"{above}{key}.")
        elif value is not None:
            found[above + key] = value if isinstance(value, str) else json.dumps(value)
    return found
