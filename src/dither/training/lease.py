"""Leases: who is at work on a run or a job, on one machine or many that share a folder."""

import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

EXPIRES_AFTER = 90.0
"""Seconds without a sign of life after which another may take a job over."""

SIGN_OF_LIFE_EVERY = 5.0


class Lease:
    """The right to do one job: a file that is there as long as its holder lives.

    The file is made in one step that only one process can win, and touched every few seconds. A
    lease is over when it has not been touched for some seconds, told by the clock of the file
    system itself, or when its holder was a process of this machine that is no more.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.about: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "born": _born(os.getpid()),
            "since": time.time(),
        }
        self._over = threading.Event()
        self._touching = threading.Thread(target=self._touch, daemon=True)

    @staticmethod
    def take(file: Path, expires_after: float = EXPIRES_AFTER) -> "Lease | None":
        """The lease, or None where somebody else has it.

        Arguments: the file; `expires_after`, s, without a sign of life of the one who has it.
        """
        lease = Lease(file)
        if lease._make() or (_remove_abandoned(file, expires_after) and lease._make()):
            lease._touching.start()
            return lease
        return None

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.give_up()

    def give_up(self) -> None:
        """Let others have the job."""
        self._over.set()
        if self._touching.is_alive():
            self._touching.join()
        self.file.unlink(missing_ok=True)

    def _make(self) -> bool:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        with os.fdopen(handle, "w") as file:
            json.dump(self.about, file)
        return True

    def _touch(self) -> None:
        while not self._over.wait(SIGN_OF_LIFE_EVERY):
            try:
                self.file.touch()
            except OSError:  # a shared folder may be away for a while
                continue


def holder(file: Path) -> dict[str, Any]:
    """Who holds a lease; empty where nobody does, or it is just being written."""
    try:
        about = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def died_here(about: Mapping[str, Any]) -> bool | None:
    """Whether the holder of a lease was a process of this machine that is no more.

    None where it is of another machine, from which nothing can be told of it at once.
    """
    if about.get("host") != socket.gethostname():
        return None
    return bool(_born(int(about["pid"])) != about["born"])


def abandoned(file: Path, expires_after: float = EXPIRES_AFTER) -> bool:
    """Whether a lease's holder has died."""
    if (died := died_here(holder(file))) is not None:
        return died
    try:
        last = file.stat().st_mtime
        probe = file.with_name(f".clock-{socket.gethostname()}-{os.getpid()}")
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
    except OSError:
        return False
    return now - last > expires_after


def _born(pid: int) -> float | None:
    """When a process was started, which tells it from a later one of the same number."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def _remove_abandoned(file: Path, expires_after: float) -> bool:
    """Remove the lease of one who has died; of several that try, one succeeds."""
    before = holder(file)
    if not abandoned(file, expires_after):
        return False
    grave = file.with_name(f".{file.name}-{socket.gethostname()}-{os.getpid()}")
    try:
        file.rename(grave)
    except OSError:
        return False
    quick = holder(grave) != before  # another was quicker, and this is the new holder's
    if quick and not file.exists():
        grave.rename(file)
    grave.unlink(missing_ok=True)
    return not quick
