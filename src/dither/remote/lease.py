"""The lease of a served device: its holder, or the lost trainer that may return."""

import threading
import time
from dataclasses import dataclass

from dither.remote.link import Link


@dataclass
class Holder:
    """The holder: name, start, connection, and whether it is leaving."""

    name: str
    since: float
    link: Link
    leaving: bool = False


class Lease:
    """The right to train, held by one trainer at a time, and reserved for a while if it is lost.

    Arguments: `seconds` of the reservation.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.holder: Holder | None = None
        self._lock = threading.Lock()
        self._lost: Holder | None = None
        self._lost_at = 0.0

    def take(self, mine: Holder) -> Holder | None:
        """Take the lease; returns None, or the trainer that holds it or may return to it."""
        with self._lock:
            holder = self.holder
            if holder is None and self._lost is not None and self._lost.name != mine.name:
                holder = self._lost if time.monotonic() < self._lost_at + self.seconds else None
            if holder is None:
                self.holder, self._lost = mine, None
            return holder

    def free(self, mine: Holder) -> None:
        """Release the lease; it stays reserved for a trainer that has not signed off."""
        with self._lock:
            self.holder, self._lost_at = None, time.monotonic()
            self._lost = None if mine.leaving else mine
