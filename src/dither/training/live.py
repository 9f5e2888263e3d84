"""A run's folder while the run goes on: its history so far, and where it is."""

import contextlib
import json
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from dither.training.checkpoint import write_atomically
from dither.training.folder import PROGRESS, write_history
from dither.training.history import known
from dither.training.run import Progress
from dither.training.until import Until

EVERY = 1.0
"""Seconds between writes, at least."""

SHARE = 0.02
"""The most of a run's time that goes into writing its history."""

WINDOW = 10.0
"""Seconds over which a rate is told."""


class Live:
    """An observer that keeps `history.parquet` and `progress.json` fresh while a run goes on.

    Nothing of a run depends on the two: they are not waited for until the disk has them, and a disk
    that does not take them does not stop the run.
    """

    def __init__(self, out: Path, until: Until) -> None:
        self.out, self.until = out, until
        self.next = self.next_history = time.monotonic() + EVERY
        self.rows = 0
        self.seen: deque[tuple[float, int]] = deque()

    def __call__(self, now: Progress) -> None:
        if time.monotonic() < self.next:
            return
        self.seen.append((now.wall_seconds, now.measurements))
        while len(self.seen) > 2 and self.seen[1][0] < now.wall_seconds - WINDOW:
            self.seen.popleft()
        with contextlib.suppress(Exception):  # whatever a disk raises: the run is worth more
            facts = json.dumps(progress_facts(now, self.until, self._rate()))
            write_atomically(self.out / PROGRESS, facts.encode(), durable=False)
            self._history(now)
        self.next = time.monotonic() + EVERY

    def _history(self, now: Progress) -> None:
        rows = now.history.rows
        if len(rows) == self.rows or time.monotonic() < self.next_history:
            return
        began = time.thread_time()
        write_history(self.out, now.history.frame(rows), durable=False)
        self.rows = len(rows)
        self.next_history = time.monotonic() + (time.thread_time() - began) / SHARE

    def _rate(self) -> float | None:
        (before, few), (now, many) = self.seen[0], self.seen[-1]
        return (many - few) / (now - before) if now > before else None


def progress_facts(now: Progress, until: Until, rate: float | None) -> dict[str, Any]:
    """Where a run is, as plain numbers; null for what is not known.

    Arguments: `rate`, measurements of one device per second.
    Returns: `ledger` is of the replica that measured most; `left_seconds`, on the clock, is until
    the stop rule that is met first, other than a score or a plateau.
    """
    ledger = now.ledger.replica(int(np.argmax(now.ledger.measurements)))
    waits = []
    if rate and now.most is not None:
        waits.append((now.most - now.measurements) / rate)
    spent = ledger["device_seconds"]
    if rate and until.device_seconds is not None and spent > 0:
        waits.append((until.device_seconds - spent) / spent * now.measurements / rate)
    if until.wall_seconds is not None:
        waits.append(until.wall_seconds - now.wall_seconds)
    return {
        "measurements": now.measurements,
        "most": now.most,
        "cost": known(now.cost),
        "score": known(now.score),
        "score_name": now.score_name,
        "learning_rate": known(now.learning_rate),
        "rate": rate,
        "left_seconds": max(0.0, min(waits)) if waits else None,
        "wall_seconds": now.wall_seconds,
        "finished": now.finished,
        "replicas": now.replicas,
        "ledger": ledger,
    }
