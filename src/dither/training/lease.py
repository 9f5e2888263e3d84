"""Leases: locks on runs and jobs, for machines that share a folder."""

import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from dither._errors import RequestError
from dither._files import refusal
from dither._seal import read_json, sealed_json

EXPIRES_AFTER = 90.0
"""The time without a sign of life, s, after which another process may take a job over."""

SIGN_OF_LIFE_EVERY = 5.0

_SEEN: dict[Path, tuple[int, float]] = {}
"""The last time stamp of leases that look abandoned, and when this process first saw it."""


class Lease:
    """The right to do one job: a file that exists as long as its holder works.

    The file is made atomically, so that only one process gets it, and touched every few seconds. A
    lease ends when it has not been touched for some seconds, by the file system's clock, or when
    its holder was a process of this machine that has ended.
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
        """The lease, or None if another process holds it.

        Arguments: the file; `expires_after`, the time without a sign of life of its holder, s.
        Errors: `RequestError` if it cannot be written, `RunError` if the disk is full.
        """
        lease = Lease(file)
        try:
            taken = lease._make() or (_remove_abandoned(file, expires_after) and lease._make())
        except OSError as error:
            raise refusal(file, error, "written") from None
        if taken:
            lease._touching.start()
            return lease
        return None

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.give_up()

    def give_up(self) -> None:
        """Release the job."""
        self._over.set()
        if self._touching.is_alive():
            self._touching.join()
        if holder(self.file) in ({}, self.about):  # else another process has taken it over
            self.file.unlink(missing_ok=True)

    def _make(self) -> bool:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(sealed_json(self.about))
        except OSError:  # a full disk
            self.file.unlink(missing_ok=True)
            raise
        return True

    def _touch(self) -> None:
        while not self._over.wait(SIGN_OF_LIFE_EVERY):
            try:
                os.utime(self.file)
            except OSError:  # a shared folder may be unavailable or deleted
                continue


def holder(file: Path) -> dict[str, Any]:
    """The holder of a lease; empty if there is none or the file is incomplete or damaged."""
    try:
        about = read_json(file)
    except RequestError:
        return {}
    return about if {"host", "pid", "born", "since"} <= about.keys() else {}


def died_here(about: Mapping[str, Any]) -> bool | None:
    """Whether the holder of a lease was a process of this machine that has ended.

    None if the holder is on another machine, where this cannot be checked.
    """
    if about.get("host") != socket.gethostname():
        return None
    return bool(_born(int(about["pid"])) != about["born"])


def abandoned(file: Path, expires_after: float = EXPIRES_AFTER) -> bool:
    """Whether a lease's holder has died."""
    about = holder(file)
    if (died := died_here(about)) is not None:
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


def watched_for() -> float:
    """The time a lease must stay untouched before it is taken over, s."""
    return 2.2 * SIGN_OF_LIFE_EVERY


def silent(file: Path) -> bool:
    """Whether a lease stayed untouched while this process watched it.

    This relies on how long this process has watched it, not on clocks, which may be changed.
    """
    try:
        touched = file.stat().st_mtime_ns
    except OSError:
        return False
    before, since = _SEEN.setdefault(file, (touched, time.monotonic()))
    if before != touched:
        _SEEN[file] = touched, time.monotonic()
    return before == touched and time.monotonic() - since >= watched_for()


def _born(pid: int) -> float | None:
    """The start time of a process, which distinguishes it from a later one with the same ID.

    On Linux, in seconds since boot, which do not change when the clock is set.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        since = psutil.boot_time() if sys.platform == "linux" else 0.0
        return round(float(process.create_time()) - since, 2)
    except psutil.NoSuchProcess:
        return None


def _remove_abandoned(file: Path, expires_after: float) -> bool:
    """Remove the lease of a dead holder; of several processes that try, one succeeds."""
    before = holder(file)
    if not abandoned(file, expires_after):
        return False
    if before.get("host") != socket.gethostname() and not silent(file):
        return False
    grave = file.with_name(f".{file.name}-{socket.gethostname()}-{os.getpid()}")
    try:
        file.rename(grave)
    except OSError:
        return False
    quick = holder(grave) != before  # another process was faster, and this is the new holder's
    if quick and not file.exists():
        grave.rename(file)
    grave.unlink(missing_ok=True)
    return not quick
