"""The lease of a served device: who trains it, and who was lost and may return."""

import threading
import time
from dataclasses import dataclass

from dither.remote.link import Link


@dataclass
class Holder:
    """Who trains the device, since when, by what connection, whether it is about to leave."""

    name: str
    since: float
    link: Link
    leaving: bool = False


class Lease:
    """The right to train, held by one at a time, and kept for a while for one that was lost.

    Arguments: `seconds`, for which it is kept.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.holder: Holder | None = None
        self._lock = threading.Lock()
        self._lost: Holder | None = None
        self._lost_at = 0.0

    def take(self, mine: Holder) -> Holder | None:
        """Take the lease; returns None, or who has it or may still return to it."""
        with self._lock:
            holder = self.holder
            if holder is None and self._lost is not None and self._lost.name != mine.name:
                holder = self._lost if time.monotonic() < self._lost_at + self.seconds else None
            if holder is None:
                self.holder, self._lost = mine, None
            return holder

    def free(self, mine: Holder) -> None:
        """Give the lease back; it is kept for a trainer that has not left by word."""
        with self._lock:
            self.holder, self._lost_at = None, time.monotonic()
            self._lost = None if mine.leaving else mine
