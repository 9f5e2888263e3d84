"""Measuring a Python device: calls are counted, and failures are separated from readings."""

import time
from abc import ABC
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int

from dither._errors import RunError
from dither._raised import told, whole
from dither.contract import Status
from dither.instruments.python import PythonDevice
from dither.training.blocks import Reading
from dither.training.ledger import Ledger
from dither.training.loop import AbstractLoop

Write: TypeAlias = tuple[Float[np.ndarray, " K"], Int[np.ndarray, " K"] | None]
"""Values and the places to write them; None for all places."""


class AbstractMeasuringLoop(AbstractLoop, ABC):
    """A loop that measures a Python device and keeps its ledger.

    Attributes: `device`; `failures`, the number in a row that ends the run; `ledger`;
    `failed_in_a_row`; `programmed`, whether all parameters have been written.
    """

    real = True

    def __init__(self, device: PythonDevice, failures: int) -> None:
        self.device, self.failures = device, failures
        self.ledger = Ledger.empty(1)
        self.failed_in_a_row = 0
        self.last_failure = self.traceback = ""
        self.programmed = False

    def _measure_one(
        self,
        write: Write,
        inputs: Float[np.ndarray, "B ..."],
        targets: np.ndarray,
        added: dict[str, Float[np.ndarray, "..."]] | None,
    ) -> Reading | None:
        started = time.perf_counter()
        status = Status.DONE
        reading: Reading | None = None
        try:
            self._recover()
            self.device.program(*write)
            self.programmed = True
            if added is None:
                reading = self.device.measure(inputs, targets)
            else:
                reading = self.device.measure_sites(inputs, added)
        except Exception as error:
            status = self._failed(error)
        perturbed = added is not None and any(np.any(value) for value in added.values())
        self._count(len(inputs), status, time.perf_counter() - started, perturbed)
        return reading

    def _measure_block(
        self,
        settings: Float[np.ndarray, "K P"],
        inputs: Float[np.ndarray, "K B ..."],
        targets: np.ndarray,
    ) -> list[Float[np.ndarray, "..."]]:
        """The readings of a block up to the first failure."""
        started = time.perf_counter()
        readings: list[Float[np.ndarray, ...]] = []
        ends = [Status.DONE] * len(settings)
        try:
            self._recover()
            for reading in self.device.measure_block(settings, inputs, targets):
                readings.append(reading)
            self.programmed = True
        except Exception as error:
            ends = [*ends[: len(readings)], self._failed(error)]
        self._count_all(ends, inputs.shape[1], time.perf_counter() - started)
        return readings

    def _recover(self) -> None:
        if self.failed_in_a_row:
            self.device.recover(self.failed_in_a_row)

    def _failed(self, error: Exception) -> Status:
        self.last_failure, self.traceback = told(error), whole(error)
        return Status.TIMED_OUT if isinstance(error, TimeoutError) else Status.FAILED

    def _count(self, samples: int, status: Status, seconds: float, perturbed: bool = False) -> None:
        self._count_all([status], samples, seconds)
        self.ledger.perturbations[0] += perturbed

    def _count_all(self, ends: list[Status], samples: int, seconds: float) -> None:
        """Count measurements of `samples` samples each. Only the last one can have failed."""
        failed = int(ends[-1] is not Status.DONE)
        in_a_row = self.failed_in_a_row if len(ends) == 1 else 0
        self.failed_in_a_row = (in_a_row + 1) * failed
        ledger = self.ledger
        ledger.measurements[0] += len(ends)
        ledger.writes[0] += self.device.writes()
        ledger.samples[0] += samples * len(ends)
        ledger.failed[0] += failed
        ledger.device_seconds[0] += seconds

    def _until_done(
        self, theta: Float[np.ndarray, " P"], inputs: np.ndarray, targets: np.ndarray
    ) -> Float[np.ndarray, "..."]:
        while self.failed_in_a_row < self.failures:
            started = time.perf_counter()
            try:
                self._recover()
                self.device.write(theta)
                reading = self.device.measure(inputs, targets)
            except Exception as error:
                self._count(len(inputs), self._failed(error), time.perf_counter() - started)
            else:
                self._count(len(inputs), Status.DONE, time.perf_counter() - started)
                return reading
        raise RunError(self.given_up())

    def given_up(self) -> str:
        return (
            f"The device {self.device.name} failed {self.failures} times in a row "
            f"({self.last_failure}); repair it and continue with --resume."
        )
