"""One end of a connection for length-prefixed messages with time limits."""

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dither.remote.messages import MOST_BYTES, MessageError, pack

LENGTH = struct.Struct(">I")


class Link:
    """Sends and receives whole messages within time limits, even if bytes arrive slowly.

    Unread messages fill the system's buffers, after which `send` waits; at most one message is held
    here. Only one thread receives.

    Arguments: a connected socket with TLS set up.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sending = threading.Lock()
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, message: bytes, seconds: float) -> None:
        """Send a message. Errors: `TimeoutError` if it is not accepted in time; `OSError`."""
        until = time.monotonic() + seconds
        left = memoryview(LENGTH.pack(len(message)) + message)
        if not self.sending.acquire(timeout=seconds):
            raise TimeoutError("timed out")
        try:
            while left:
                self._wait_until(until)
                left = left[self.sock.send(left) :]
        finally:
            self.sending.release()

    def receive(self, seconds: float, most: int = MOST_BYTES) -> bytearray:
        """The next message, if all of it arrives within `seconds`.

        Errors: `TimeoutError`; `MessageError` if it is longer than `most` bytes; `OSError` if the
        connection has ended.
        """
        until = time.monotonic() + seconds
        (size,) = LENGTH.unpack(self._exactly(LENGTH.size, until))
        if size > most:
            raise MessageError(f"a message of {size} bytes, but at most {most} are allowed")
        return self._exactly(size, until)

    def waits(self) -> bool:
        """Whether unread data, or the end of the connection, is waiting."""
        return self._peeked(lambda _: True)

    def ended(self) -> bool:
        """Whether the other side has closed the connection."""
        return self._peeked(lambda seen: not seen)

    def end(self, **words: Any) -> None:
        """Close the connection, with a last message if it can be sent immediately."""
        with suppress(OSError):
            if words:
                self.send(pack(words), 0.1)
        with suppress(OSError):
            # on the plain socket: TLS must not be used from another thread
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        with suppress(OSError):
            self.sock.close()

    def _exactly(self, size: int, until: float) -> bytearray:
        data = bytearray(size)
        left = memoryview(data)
        while left:
            self._wait_until(until)
            got = self.sock.recv_into(left)
            if not got:
                raise ConnectionError("it was closed")
            left = left[got:]
        return data

    def _wait_until(self, until: float) -> None:
        seconds = until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("timed out")
        self.sock.settimeout(seconds)

    def _peeked(self, said: Callable[[bytes], bool]) -> bool:
        try:
            self.sock.settimeout(0)
            # on the plain socket: TLS cannot peek
            return said(socket.socket.recv(self.sock, 1, socket.MSG_PEEK))
        except BlockingIOError:
            return False
        except OSError:
            return True
