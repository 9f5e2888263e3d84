"""Rate limits: token buckets without debt."""

import time
from collections import OrderedDict
from collections.abc import Hashable

CLIENTS = 1024
"""The number of remembered clients; beyond it, the least recent one is forgotten."""


class Bucket:
    """A token bucket: `per_second` events per second, with bursts of one second's worth.

    An event that comes too early takes no token, so that a refusal does not lengthen the wait.
    """

    def __init__(self, per_second: float) -> None:
        self.per_second = self.room = per_second
        self.at = time.monotonic()

    def take(self) -> float:
        """Count an event if there is room; returns the seconds until there is, 0 if it counted."""
        now = time.monotonic()
        most = max(self.per_second, 1.0)
        self.room = min(most, self.room + (now - self.at) * self.per_second)
        self.at = now
        if self.room < 1.0:
            return (1.0 - self.room) / self.per_second
        self.room -= 1.0
        return 0.0

    def wait(self) -> None:
        """Sleep until there is room, and count an event."""
        while seconds := self.take():
            time.sleep(seconds)


class Buckets:
    """A bucket for each client."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self.of: OrderedDict[Hashable, Bucket] = OrderedDict()

    def take(self, client: Hashable) -> float:
        """`Bucket.take` of this client's bucket."""
        bucket = self.of.pop(client, None) or Bucket(self.per_second)
        self.of[client] = bucket
        if len(self.of) > CLIENTS:
            self.of.popitem(last=False)
        return bucket.take()
