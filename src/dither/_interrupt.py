"""Signals as requests to finish cleanly."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

LEAVING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals other than Ctrl-C that ask a program to end; not all systems have both."""

_HEARD: list[int] = []
"""The signals that have asked this program to end."""


def heard(number: int) -> None:
    """Note that a signal has asked this program to end."""
    _HEARD.append(number)


def status_of_signal() -> int:
    """The exit status of a program that was asked to end: 128 and the first signal; 0 if none."""
    return 128 + _HEARD[0] if _HEARD else 0


@contextmanager
def ctrl_c(*others: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C request a clean finish; a second Ctrl-C stops the program immediately.

    Arguments: other signals that request the same, such as SIGTERM. A signal that the program
    ignores from its start, as under nohup, stays ignored. Yields: a function that says whether a
    finish was requested; always False in a thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        heard(number)
        if asked:
            signal.default_int_handler(number, frame)
        asked = True

    listened = [number for number in others if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, *listened)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
