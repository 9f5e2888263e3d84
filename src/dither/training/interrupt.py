"""Ctrl-C as a request to finish cleanly."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ctrl_c(*others: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Ctrl-C asks what runs to finish cleanly; a second one stops it at once.

    Arguments: other signals that ask for the same, such as SIGTERM; one that the program was
    started to ignore, as by nohup, is left alone.
    Yields: a function that tells whether it was asked. In a thread it never is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            signal.default_int_handler(number, frame)
        asked = True

    heard = [number for number in others if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, *heard)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
