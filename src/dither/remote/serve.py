"""Serve a device until Ctrl-C or SIGTERM."""

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dither._errors import RequestError
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
    """Serve the object named by `place` until Ctrl-C or SIGTERM, then bring it into its safe state.

    Arguments: `place`, FILE.py:NAME or a TOML file with the tables task and device; the others as
    of `DeviceServer`; the token is made where its file does not exist; where neither it nor
    `client_ca` is given, it is the file `dither-token` here.
    Errors: `RequestError`, as for `DeviceServer`; `RunError` where the device does not come to its
    safe state.
    """
    say = _aside(say)
    if token_file is None and client_ca is None:
        token_file = Path("dither-token")
    device = served_device(place)
    new_token = token_file is not None and not token_file.exists()
    if token_file is not None:
        token_of(token_file)
    try:
        server = DeviceServer(
            device, listen, token_file=token_file, client_ca=client_ca, say=say, **settings
        )
    except RequestError:
        if new_token and token_file is not None:
            token_file.unlink()
        raise
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        server.start()
        size = device.extent.size
        say(f"{device.name}, {size} parameters, is served at remote://{server.address}")
        if token_file is not None:
            say(f"token: {token_file.resolve()}; trainers need a copy, or its text as DITHER_TOKEN")
        if HasSafeState not in device.abilities:
            say("it has no safe(): when a trainer is lost, it keeps its last setting")
        _watch(server, stop, say)
    finally:
        safe = server.stop()
        end = "the device is in its safe state" if safe else f"{device.name} is NOT made safe"
        say(f"stopped; {end}")
        time.sleep(0.1)  # for the last line to be seen
        for number, handler in before.items():
            signal.signal(number, handler)
    if not safe:
        # a call that hangs would keep Python from ending
        os._exit(1)


def served_device(place: str) -> PythonDevice:
    """The object at FILE.py:NAME, or the device of a TOML file, as it says; that needs JAX."""
    if not place.endswith(".toml"):
        return PythonDevice(find_object(place))
    from dither.training.specification import read_bench

    return read_bench(place).real_device().connect()


def _aside(say: Callable[[str], None]) -> Callable[[str], None]:
    """Say lines from a thread of their own: a console that is held up must not hold the device."""
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
    """Say now and then what was done."""
    told, since = 0, 0.0
    while not stop.wait(0.5):  # in short waits, so that Windows notices Ctrl-C
        since += 0.5
        status = server.status()
        if since >= SECONDS_PER_LINE and status["writes"] != told:
            told, since = status["writes"], 0.0
            server.record.account()
            say(
                f"{status['writes']} writes, {status['refused']} refused, {status['failed']} "
                f"failed; trainer: {status['holder'] or 'none'}"
            )
