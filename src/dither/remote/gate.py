"""The device behind one thread and its bounds: what a trainer asks is checked, then done."""

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from dither.instruments.chip import LabObject
from dither.remote.record import Record

Reply: TypeAlias = dict[str, Any]
"""What was asked for, or why it was `refused` beforehand, or how it has `failed`."""


class Refusal(Exception):
    """A request that is not carried out."""


class Guard:
    """Calls a lab's object, whose calls are all made in its one `thread`.

    Every write must have the right shape and type, be finite and lie within the bounds; else
    nothing is written. A write with its measurement that takes longer than `timeout` seconds is
    overdue.

    Arguments: the object; the record of what is done; `timeout`, s.
    """

    def __init__(self, chip: LabObject, record: Record, timeout: float) -> None:
        self.chip, self.record, self.timeout = chip, record, timeout
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="device")
        self.written = self.stopped = False
        self.since: float | None = None
        self.told_refusal = 0.0

    def description(self) -> Reply:
        """What a trainer must know of the device."""
        chip = self.chip
        return {
            "name": chip.name,
            "shapes": {name: list(shape) for name, shape in chip.shapes.items()},
            "bounds": {name: list(pair) for name, pair in chip.limits.items()},
            "levels": chip.levels,
            "by_cost": chip.by_cost,
            "fed": chip.fed,
            "initial": getattr(chip.target, "initial", None) is not None,
        }

    def answer(self, request: Mapping[str, Any]) -> Reply:
        """Check a request and do it, in the device's thread."""
        try:
            act = self._checked(request)
        except Refusal as refusal:
            self._refused(str(refusal))
            return {"refused": str(refusal)}
        self.since = time.monotonic()
        try:
            return {"failed": "the device is being made safe"} if self.stopped else act()
        except Exception as error:
            self.record.failed += 1
            return {"failed": _sentence(error)}
        finally:
            self.since = None

    def overdue(self) -> bool:
        """Whether the device has not answered for longer than it may."""
        since = self.since
        return since is not None and time.monotonic() > since + self.timeout

    def make_safe(self, reason: str) -> Future[None]:
        """Bring the device into its safe state, after the step under way, if it was written to."""
        self.stopped = True
        return self.thread.submit(self._end, reason)

    def _end(self, reason: str) -> None:
        try:
            if self.written:
                self._safe(reason)
        finally:
            self.stopped = False

    def _refused(self, reason: str) -> None:
        self.record.refused += 1
        if time.monotonic() > self.told_refusal + 1.0:  # so that refusals cannot fill the disk
            self.told_refusal = time.monotonic()
            self.record.note("refused", reason=reason, refused=self.record.refused)

    def _checked(self, request: Mapping[str, Any]) -> Callable[[], Reply]:
        match request:
            case {"do": "measure", "settings": settings, "inputs": inputs, "targets": targets}:
                theta = self._settings(settings, 2)
                x, y = self._batch(inputs, targets, len(theta))
                if x.ndim < 2:
                    raise Refusal("the inputs of a block are not one batch for each setting")
                return lambda: self._measure(theta, x, y)
            case {"do": "write", "theta": theta}:
                checked = self._settings(theta, 1)
                return lambda: self._write(checked)
            case {"do": "write_at", "places": places, "values": values}:
                where, what = self._some(places, values)
                self._must_be_written()
                return lambda: self._write_at(where, what)
            case {"do": "read", "inputs": inputs, "targets": targets}:
                x, y = self._batch(inputs, targets, None)
                self._must_be_written()
                return lambda: self._read(x, y)
            case {"do": "initial", "seed": int(seed)}:
                return lambda: {"values": self.chip.initial(seed)}
            case {"do": "safe"}:
                return lambda: self._safe("asked by the trainer")
        raise Refusal("the request is none that a device takes")

    def _settings(self, theta: Any, axes: int) -> Float[np.ndarray, "*K P"]:
        size = self.chip.size
        if not isinstance(theta, np.ndarray) or theta.dtype != np.float64:
            raise Refusal("the write is no array of doubles")
        if theta.ndim != axes or theta.shape[-1] != size or not len(theta):
            raise Refusal(f"the write has the shape {theta.shape} where {size} numbers are due")
        self._inside(theta, self.chip.low, self.chip.high)
        return theta

    def _some(self, places: Any, values: Any) -> tuple[np.ndarray, np.ndarray]:
        if not isinstance(values, np.ndarray) or values.dtype != np.float64 or values.ndim != 1:
            raise Refusal("the write is no row of doubles")
        if not isinstance(places, np.ndarray) or places.dtype.kind not in "iu":
            raise Refusal("the places of the write are no integers")
        if places.shape != values.shape or not places.size:
            raise Refusal(f"the write has {values.size} values for {places.size} places")
        if places.min() < 0 or places.max() >= self.chip.size:
            raise Refusal(f"a place of the write is none of the {self.chip.size} parameters")
        every = self.chip.size
        low, high = (np.broadcast_to(b, every)[places] for b in (self.chip.low, self.chip.high))
        self._inside(values, low, high)
        return places.astype(np.int64), values

    def _inside(self, values: Float[np.ndarray, "..."], low: Any, high: Any) -> None:
        least, most = float(values.min()), float(values.max())
        if not math.isfinite(least + most):
            raise Refusal("the write holds NaN or infinity")
        if (values < low).any() or (values > high).any():
            raise Refusal(
                f"the write, from {least:g} to {most:g}, leaves the bounds "
                f"{np.min(low):g} and {np.max(high):g}"
            )

    def _batch(
        self, inputs: Any, targets: Any, blocks: int | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        for array in (inputs, targets):
            if array is targets and targets is None and not self.chip.by_cost:
                continue
            if not isinstance(array, np.ndarray) or array.ndim < 1 or not array.size:
                raise Refusal("the batch is no array")
            if blocks is not None and len(array) != blocks:
                raise Refusal(f"there are {len(array)} batches for {blocks} settings")
        return inputs, targets

    def _must_be_written(self) -> None:
        if not self.written:
            raise Refusal("the device is in its safe state; write all its parameters first")

    def _measure(
        self, settings: np.ndarray, inputs: np.ndarray, targets: np.ndarray | None
    ) -> Reply:
        """The readings up to the first that fails."""
        readings: list[np.ndarray] = []
        failed: str | None = None
        self.written = True
        try:
            for reading in self.chip.measure_block(settings, inputs, targets):
                if readings and reading.shape != readings[0].shape:
                    failed = f"the outputs' shape changed to {reading.shape}"
                    break
                readings.append(reading)
                self.since = time.monotonic()
                if self.stopped:
                    break
        except Exception as error:
            failed = _sentence(error)
        tried = min(len(readings) + (failed is not None), len(settings))
        self.record.wrote(settings if self.chip.in_blocks else settings[:tried])
        self.record.measurements += tried
        self.record.failed += failed is not None
        return {"readings": np.array(readings) if readings else None, "failed": failed}

    def _write(self, theta: Float[np.ndarray, " P"]) -> Reply:
        self.written = True
        self.record.wrote(theta[None])
        self.chip.program(theta)
        return {}

    def _write_at(self, places: Int[np.ndarray, " K"], values: Float[np.ndarray, " K"]) -> Reply:
        self.record.wrote_at(places, values)
        self.chip.program(values, places)
        return {}

    def _read(self, inputs: np.ndarray, targets: np.ndarray | None) -> Reply:
        self.record.measurements += 1
        return {"reading": self.chip.measure(inputs, targets)}

    def _safe(self, reason: str) -> Reply:
        try:
            self.chip.safe()
        except Exception as error:
            self.record.note("unsafe", reason=reason, error=_sentence(error))
            raise
        self.written = False
        self.record.safe_states += 1
        self.record.note("safe", reason=reason)
        return {}


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
