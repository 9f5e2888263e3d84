"""The base of all trackers: an observer that sends each evaluation once."""

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
    """Sends a run's history, evaluation by evaluation, with the measurements as the step.

    For several replicas it sends their median, in which a finished replica keeps its last values. A
    tracker that fails during the run warns once and is then disabled.

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
        """Begin a record, or continue the one of this folder. Errors: `RequestError`."""

    @abstractmethod
    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send one evaluation."""

    @abstractmethod
    def close(self, reason: StopReason) -> None:
        """Close the record with the reason for the end."""

    def __call__(self, now: Progress) -> None:
        self._try(now.history.rows)

    def end(self, rows: list[Float[np.ndarray, "C R"]], reason: StopReason) -> None:
        """Send the remaining evaluations and the reason for the end."""
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
        except Exception as error:  # any error of the client: the run must not be lost
            self.failed = True
            warnings.warn(
                f"Tracking with {type(self).__name__} stopped ({error}); the run continues.",
                stacklevel=2,
            )
