"""Serve a device until Ctrl-C or SIGTERM."""

import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dither._errors import RequestError
from dither._interrupt import LEAVING, heard
from dither._places import find_object
from dither.instruments.protocols import HasSafeState
from dither.instruments.python import PythonDevice
from dither.remote.security import token_of
from dither.remote.server import DeviceServer

SECONDS_PER_LINE = 60.0


def serve(
    place: str,
    listen: str,
    *,
    token_file: Path | None = None,
    client_ca: Path | None = None,
    say: Callable[[str], None] = print,
    **settings: Any,
) -> None:
    """Serve the object at `place` until Ctrl-C or SIGTERM, then bring it into its safe state.

    Arguments: `place`, FILE.py:NAME or a TOML file with the tables task and device; the others as
    for `DeviceServer`. A missing token file is created; without `token_file` and `client_ca`, it is
    `dither-token` in the current folder.
    Errors: `RequestError`, as for `DeviceServer`; `RunError` if the device does not reach its safe
    state.
    """
    say = _aside(say)
    if token_file is None and client_ca is None:
        token_file = Path("dither-token")
    device = served_device(place)
    with _nothing_left(token_file, settings.get("record")):
        if token_file is not None:
            token_of(token_file)
        server = DeviceServer(
            device, listen, token_file=token_file, client_ca=client_ca, say=say, **settings
        )
    stop = threading.Event()

    def leave(number: int, _: object) -> None:
        heard(number)
        stop.set()

    before = {
        number: signal.signal(number, leave)
        for number in (signal.SIGINT, *LEAVING)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        server.start()
        size = device.extent.size
        say(f"{device.name} with {size} parameters is served at remote://{server.address}")
        if token_file is not None:
            say(f"token: {token_file.resolve()}; trainers need a copy, or its text as DITHER_TOKEN")
        if HasSafeState not in device.abilities:
            say("the device has no safe(): when a trainer is lost, it keeps its last setting")
        _watch(server, stop, say)
    finally:
        safe = server.stop()
        end = (
            "the device is in its safe state" if safe else f"{device.name} is NOT in its safe state"
        )
        say(f"stopped; {end}")
        time.sleep(0.1)  # to show the last line
        for number, handler in before.items():
            signal.signal(number, handler)
    if not safe:
        # a hanging call would keep Python from exiting
        os._exit(1)


@contextmanager
def _nothing_left(*files: Path | None) -> Iterator[None]:
    """Remove newly made files if a request is refused."""
    new = [file for file in files if file is not None and not file.exists()]
    try:
        yield
    except RequestError:
        for file in new:
            file.unlink(missing_ok=True)
        raise


def served_device(place: str) -> PythonDevice:
    """The object at FILE.py:NAME, or the device of a TOML file, which needs JAX."""
    if not place.endswith(".toml"):
        return PythonDevice(find_object(place))
    from dither.training.specification import read_bench

    return read_bench(place).real_device().connect()


def _aside(say: Callable[[str], None]) -> Callable[[str], None]:
    """Print lines in a separate thread: a blocked console must not block the device."""
    lines: queue.Queue[str] = queue.Queue(100)

    def speak() -> None:
        while True:
            say(lines.get())

    def put(line: str) -> None:
        with suppress(queue.Full):
            lines.put_nowait(line)

    threading.Thread(target=speak, daemon=True).start()
    return put


def _watch(server: DeviceServer, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Print the counts from time to time."""
    told, since = 0, 0.0
    while not stop.wait(0.5):  # short waits, so that Windows notices Ctrl-C
        since += 0.5
        status = server.status()
        if since >= SECONDS_PER_LINE and status["writes"] != told:
            told, since = status["writes"], 0.0
            server.record.account()
            say(
                f"{status['writes']} writes, {status['refused']} refused, {status['failed']} "
                f"failed; trainer: {status['holder'] or 'none'}"
            )
