"""The folder of a running run: its history so far and its progress."""

import contextlib
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from dither._errors import RequestError
from dither._files import write_atomically
from dither._seal import read_json, sealed_json
from dither.training.folder import PROGRESS, write_history
from dither.training.history import known
from dither.training.run import Progress
from dither.training.until import Until

EVERY = 1.0
"""The shortest time between writes, s."""

SHARE = 0.02
"""The largest share of a run's time that is spent on writing its history."""

FACTS = {"measurements", "most", "cost", "score", "score_name", "ledger", "replicas", "finished"}
"""The required keys of `progress.json`."""

WINDOW = 10.0
"""The averaging time of a rate, s."""


class Live:
    """An observer that updates `history.parquet` and `progress.json` during a run.

    A run does not depend on these files: it does not wait for the disk, and a failed write does not
    stop it.
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
        with contextlib.suppress(Exception):  # any error of the disk: the run must not be lost
            facts = sealed_json(progress_facts(now, self.until, self._rate()))
            write_atomically(self.out / PROGRESS, facts, durable=False)
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


def read_progress(file: Path) -> dict[str, Any] | None:
    """The content of `progress.json`; None if it is missing or damaged."""
    try:
        facts = read_json(file)
    except RequestError:
        return None
    return facts if facts.keys() >= FACTS else None


def progress_facts(now: Progress, until: Until, rate: float | None) -> dict[str, Any]:
    """The progress of a run as plain numbers; null for unknown ones.

    Arguments: `rate`, measurements of one device per second.
    Returns: a table in which `ledger` is that of the replica with the most measurements, and
    `left_seconds` is the time until the first stop rule other than a score or a plateau.
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
