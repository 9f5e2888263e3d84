"""What every tracker does: an observer that sends each evaluation once."""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dither.training.history import COLUMNS, held
from dither.training.run import Progress
from dither.training.settings import settings
from dither.training.stop import StopReason


class AbstractTracker(ABC):
    """Sends a run's history, evaluation by evaluation, at its count of measurements as the step.

    Where there are several replicas, what is sent is their median; a replica that has ended keeps
    its last values in it. A tracker that fails on the way warns, and is left out from then on.

    Arguments: the run's folder; its name; its specification.
    """

    def __init__(self, out: Path, name: str, specification: Mapping[str, Any]) -> None:
        self.sent, self.failed = 0, False
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
            medians = np.median(held(np.array(rows)), axis=2) if len(rows) > self.sent else []
            for row, median in zip(rows[self.sent :], medians[self.sent :]):
                self.sent += 1
                values = zip(COLUMNS, map(float, median))
                known = {name: value for name, value in values if math.isfinite(value)}
                self.log(known, int(np.nanmax(row[0])))
            if reason is not None:
                self.close(reason)
        except Exception as error:  # whatever a client raises: the run is worth more
            self.failed = True
            warnings.warn(
                f"Tracking with {type(self).__name__} stopped ({error}); the run goes on.",
                stacklevel=2,
            )
