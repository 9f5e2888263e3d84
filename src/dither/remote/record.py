"""The server's record of the actions on the device."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jaxtyping import Float, Int

from dither._errors import RequestError
from dither.remote.writes import WritesFile


class Record:
    """Counts requests, and tracks the smallest and largest value written to each parameter.

    Events are appended to a file, one JSON object per line, flushed immediately: `lease`,
    `refused`, `lost`, `safe`, and occasionally `account`, which holds all counts. Every write is
    appended to files next to it, `FILE.writes.1` and so on, which `read_record` reads.

    Arguments: P; the file; without it nothing is written. Errors: `RequestError` if it cannot be
    written.
    """

    def __init__(self, size: int, file: Path | None = None) -> None:
        self.writes = self.measurements = self.failed = self.refused = self.safe_states = 0
        self.least = np.full(size, np.inf)
        self.greatest = np.full(size, -np.inf)
        self.trainer = ""
        self.file: TextIO | None = None
        self.kept: WritesFile | None = None
        if file is not None:
            try:
                self.file = file.open("a", encoding="utf-8")
            except OSError as error:
                raise RequestError(
                    f"The record {file} cannot be written: {error.strerror}."
                ) from None
            self.kept = WritesFile(file, size)

    def wrote(self, settings: Float[np.ndarray, "K P"]) -> None:
        """Record K writes of all parameters."""
        if len(settings):
            if self.kept is not None:
                self.kept.append(self.writes + 1, self.trainer, settings)
            self.writes += len(settings)
            np.minimum(self.least, settings.min(axis=0), out=self.least)
            np.maximum(self.greatest, settings.max(axis=0), out=self.greatest)

    def wrote_at(self, places: Int[np.ndarray, " K"], values: Float[np.ndarray, " K"]) -> None:
        """Record a write of some parameters."""
        self.writes += 1
        if self.kept is not None:
            self.kept.append(self.writes, self.trainer, values[None], places)
        np.minimum.at(self.least, places, values)
        np.maximum.at(self.greatest, places, values)

    def note(self, event: str, **facts: Any) -> None:
        """Append an event; a `lease` event names the new trainer."""
        if event == "lease":
            self.trainer = str(facts["name"])
        if self.file is not None:
            line = {"time": round(time.time(), 3), "event": event, **facts}
            with suppress(OSError):  # a full disk must not keep the device from its safe state
                self.file.write(json.dumps(line) + "\n")
                self.file.flush()

    def counts(self) -> dict[str, int]:
        """The counts so far."""
        names = ("writes", "measurements", "failed", "refused", "safe_states")
        return {name: getattr(self, name) for name in names}

    def account(self) -> None:
        """Append all counts, and the smallest and largest values written to all parameters."""
        written = self.least <= self.greatest
        self.note(
            "account",
            **self.counts(),
            **({} if self.kept is None else {"unrecorded": self.kept.lost}),
            least=[float(n) if w else None for n, w in zip(self.least, written)],
            greatest=[float(n) if w else None for n, w in zip(self.greatest, written)],
        )

    def close(self) -> None:
        """Append all counts, and close the files."""
        self.account()
        if self.kept is not None:
            self.kept.close()
        if self.file is not None:
            with suppress(OSError):
                self.file.close()
            self.file = None
