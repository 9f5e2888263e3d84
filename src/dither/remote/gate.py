"""The gate: a trainer's requests are checked against the bounds and run in one thread."""

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from dither._raised import told, whole
from dither.instruments.python import PythonDevice
from dither.remote.messages import MOST_BYTES, pack
from dither.remote.record import Record

MOST_ROWS = 2**16
"""The rows of a batch, at most; outputs may need far more memory than inputs."""

ARRAY_BYTES = 200
"""The approximate overhead of an array, bytes."""

LOOK_EVERY = 0.05
"""The time between checks of the trainer's connection within a block, s."""

Reply: TypeAlias = dict[str, Any]
"""The result of a request, or the reason why it was `refused` or `failed`."""

LONGEST_TRACEBACK = 8000
"""The characters of a traceback that are sent, at most."""


class Refusal(Exception):
    """A request was refused."""


class Gate:
    """Passes a trainer's requests to a device, whose calls are all made in one `thread`.

    Every write must have the right shape and type, be finite and lie within the bounds; otherwise
    nothing is written. A write with its measurement that takes longer than `timeout` seconds is
    overdue. A block stops after half the lease, and the rest must be requested again, so that a
    lost trainer is noticed soon; a block that is one call to the device is not stopped.

    Arguments: the device; the record of actions; `timeout`, s; `lease`, s.
    """

    def __init__(self, device: PythonDevice, record: Record, timeout: float, lease: float) -> None:
        self.device, self.record, self.timeout, self.lease = device, record, timeout, lease
        self.size = device.extent.size
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="device")
        self.written = self.stopped = False
        self.since: float | None = None
        self.told_refusal = 0.0
        self.gone: Callable[[], bool] = lambda: False

    def description(self) -> Reply:
        """The description of the device for a trainer."""
        device, extent = self.device, self.device.extent
        return {
            "name": device.name,
            "shapes": {name: list(shape) for name, shape in extent.shapes.items()},
            "bounds": {name: list(pair) for name, pair in extent.limits.items()},
            "levels": extent.levels,
            "by_cost": device.by_cost,
            "fed": device.fed,
            "initial": device.own_initial is not None,
            "timeout": self.timeout,
            "lease": self.lease,
        }

    def reply(self, request: Mapping[str, Any], gone: Callable[[], bool]) -> bytes:
        """The packed answer to a request; `gone`: whether the trainer has left."""
        self.gone = gone
        packed = pack(self.answer(request))
        if len(packed) <= MOST_BYTES:
            return packed
        return pack({"failed": f"the reading has {len(packed)} bytes, of at most {MOST_BYTES}"})

    def answer(self, request: Mapping[str, Any]) -> Reply:
        """Check a request and carry it out, in the device's thread."""
        try:
            act = self._checked(request)
        except Refusal as refusal:
            self._refused(str(refusal))
            return {"refused": str(refusal)}
        self.since = time.monotonic()
        try:
            return (
                {"failed": "the device is being brought into its safe state"}
                if self.stopped
                else act()
            )
        except Exception as error:
            self.record.failed += 1
            return {"failed": _sentence(error), "traceback": _traceback(error)}
        finally:
            self.since = None

    def overdue(self) -> bool:
        """Whether the device has not answered within its time limit."""
        since = self.since
        return since is not None and time.monotonic() > since + self.timeout

    def make_safe(self, reason: str) -> Future[None]:
        """Bring the device into its safe state after the present step, if it was written."""
        self.stopped = True
        return self.thread.submit(self.end, reason)

    def end(self, reason: str) -> None:
        """The same immediately, in the device's thread."""
        try:
            if self.written:
                self._safe(reason)
        finally:
            self.stopped = False

    def _refused(self, reason: str) -> None:
        self.record.refused += 1
        if time.monotonic() > self.told_refusal + 1.0:  # refusals must not fill the disk
            self.told_refusal = time.monotonic()
            self.record.note("refused", reason=reason, refused=self.record.refused)

    def _checked(self, request: Mapping[str, Any]) -> Callable[[], Reply]:
        match request:
            case {"do": "measure", "settings": settings, "inputs": inputs, "targets": targets}:
                self._check_write(settings, 2)
                self._check_batch(inputs, targets, len(settings))
                return lambda: self._measure(settings, inputs, targets)
            case {"do": "write", "theta": theta}:
                self._check_write(theta, 1)
                return lambda: self._write(theta)
            case {"do": "write_at", "places": places, "values": values}:
                self._check_write_at(places, values)
                self._must_be_written()
                return lambda: self._write(values, places.astype(np.int64))
            case {"do": "read", "inputs": inputs, "targets": targets}:
                self._check_batch(inputs, targets)
                self._must_be_written()
                return lambda: self._read(inputs, targets)
            case {"do": "initial", "seed": int(seed)}:
                return lambda: {"values": self.device.initial(seed)}
            case {"do": "renew"}:
                return lambda: {}
            case {"do": "safe"}:
                return lambda: self._safe("asked by the trainer")
        raise Refusal("the request is unknown")

    def _check_write(self, theta: Any, axes: int) -> None:
        if not isinstance(theta, np.ndarray) or theta.dtype != np.float64:
            raise Refusal("the write is not an array of doubles")
        if theta.ndim != axes or theta.shape[-1] != self.size or not len(theta):
            raise Refusal(f"the write has the shape {theta.shape} instead of ({self.size},)")
        _check_inside(theta, self.device.extent.low, self.device.extent.high)

    def _check_write_at(self, places: Any, values: Any) -> None:
        if not isinstance(values, np.ndarray) or values.dtype != np.float64 or values.ndim != 1:
            raise Refusal("the write is not a row of doubles")
        if not isinstance(places, np.ndarray) or places.dtype.kind not in "iu":
            raise Refusal("the places of the write are not integers")
        if places.shape != values.shape or not places.size:
            raise Refusal(f"the write has {values.size} values for {places.size} places")
        if places.min() < 0 or places.max() >= self.size:
            raise Refusal(f"a place of the write is outside the {self.size} parameters")
        _check_inside(values, *self.device.extent.bounds_at(places))

    def _check_batch(self, inputs: Any, targets: Any, blocks: int | None = None) -> None:
        needed = [inputs] if targets is None and not self.device.by_cost else [inputs, targets]
        for array in needed:
            if not isinstance(array, np.ndarray) or array.ndim < 1 or not array.size:
                raise Refusal("the batch is not an array")
            if blocks is not None and len(array) != blocks:
                raise Refusal(f"there are {len(array)} batches for {blocks} settings")
        if blocks is not None and inputs.ndim < 2:
            raise Refusal("the inputs of a block are not one batch for each setting")
        rows = inputs.shape[0 if blocks is None else 1]
        if rows > MOST_ROWS:
            raise Refusal(f"the batch has {rows} rows, of at most {MOST_ROWS}")

    def _must_be_written(self) -> None:
        if not self.written:
            raise Refusal("the device is in its safe state; write all its parameters first")

    def _measure(
        self, settings: np.ndarray, inputs: np.ndarray, targets: np.ndarray | None
    ) -> Reply:
        """The readings up to the first failure or to the time limit of a block."""
        readings: list[np.ndarray] = []
        failed: str | None = None
        traceback = ""
        self.written = True
        looked = began = time.monotonic()
        try:
            for reading in self.device.measure_block(settings, inputs, targets):
                if readings and reading.shape != readings[0].shape:
                    failed = f"the outputs' shape changed to {reading.shape}"
                    break
                readings.append(reading)
                now = self.since = time.monotonic()
                if now > looked + LOOK_EVERY:
                    looked, self.stopped = now, self.stopped or self.gone()
                full = len(readings) * (reading.nbytes + ARRAY_BYTES) > MOST_BYTES / 2
                late = not self.device.in_blocks and now > began + self.lease / 2
                if self.stopped or full or late:
                    break
        except Exception as error:
            failed, traceback = _sentence(error), _traceback(error)
        tried = min(len(readings) + (failed is not None), len(settings))
        self.record.wrote(settings if self.device.in_blocks else settings[:tried])
        self.record.measurements += tried
        self.record.failed += failed is not None
        return {
            "readings": np.array(readings) if readings else None,
            "failed": failed,
            "traceback": traceback,
        }

    def _write(
        self, values: Float[np.ndarray, " K"], places: Int[np.ndarray, " K"] | None = None
    ) -> Reply:
        self.written = True
        if places is None:
            self.record.wrote(values[None])
        else:
            self.record.wrote_at(places, values)
        self.device.program(values, places)
        return {}

    def _read(self, inputs: np.ndarray, targets: np.ndarray | None) -> Reply:
        self.record.measurements += 1
        return {"reading": self.device.measure(inputs, targets)}

    def _safe(self, reason: str) -> Reply:
        try:
            self.device.safe()
        except Exception as error:
            self.record.note("unsafe", reason=reason, error=_sentence(error))
            raise
        self.written = False
        self.record.safe_states += 1
        self.record.note("safe", reason=reason)
        return {}


def _check_inside(values: Float[np.ndarray, "..."], low: Any, high: Any) -> None:
    least, most = float(values.min()), float(values.max())
    if not (math.isfinite(least) and math.isfinite(most)):
        raise Refusal("the write holds NaN or infinity")
    if (values < low).any() or (values > high).any():
        raise Refusal(
            f"the write, from {least:g} to {most:g}, exceeds the bounds {np.min(low):g} and "
            f"{np.max(high):g}"
        )


def _sentence(error: Exception) -> str:
    return told(error)[:500]


def _traceback(error: Exception) -> str:
    """The traceback; if it is too long, its end."""
    return whole(error)[-LONGEST_TRACEBACK:]
