"""The door: limits on the number and the time of unauthenticated connections."""

import ipaddress
import selectors
import socket
import ssl
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from dither.remote.link import LENGTH, Link
from dither.remote.messages import MessageError, pack, unpack

PLACES = 512
"""Unauthenticated connections in total, at most."""

PLACES_OF_ONE = 256
"""Unauthenticated connections from one address, at most."""

SECONDS_TO_SHOW = 5.0
SECONDS_TO_LEAVE = 1.0
LONGEST_HELLO = 4096
BACKLOG = 1024
TLS_HANDSHAKE = b"\x16"
LOOK_AROUND_EVERY = 0.1
ACCEPTED_AT_ONCE = 256
LONGEST_ROUND = 0.01

REST = 3.0
"""The ratio of the door's idle time to its working time."""

LONGEST_REST = 0.01


@dataclass(eq=False)
class Caller:
    """An unauthenticated connection: its message so far, and its time limit."""

    sock: socket.socket
    place: str
    until: float
    tls: bool
    said: bytearray = field(default_factory=bytearray)
    spoke: bool = False
    leaving: bool = False


Admit = Callable[[Link, dict[str, Any], str], dict[str, Any] | None]
"""A function that accepts a connection with its first message and address, or says why not."""


class Door:
    """Accepts connections in its own thread, and passes on those with a valid first message.

    A new connection always gets a place. If an address has too many connections, its oldest silent
    one is closed; if there are too many in total, the oldest silent one of all. The holder of the
    lease has passed the door and is not counted.

    Arguments: a listening socket; TLS, or None; `admit`; `tick`, called several times per second.
    """

    def __init__(
        self,
        listener: socket.socket,
        tls: ssl.SSLContext | None,
        admit: Admit,
        tick: Callable[[], None],
    ) -> None:
        self.listener, self.tls, self.admit, self.tick = listener, tls, admit, tick
        self.callers: dict[Caller, None] = {}  # in order of arrival
        self.over = threading.Event()
        self.selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self._stand, name="door", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self.thread.start()

    def stop(self) -> None:
        """Stop accepting, and close the waiting connections."""
        self.over.set()
        if self.thread.is_alive():
            self.thread.join()
        for caller in list(self.callers):
            self._drop(caller)
        self.selector.close()
        self.listener.close()

    def _stand(self) -> None:
        looked = time.monotonic()
        while not self.over.is_set():
            begin = time.thread_time()
            ready = [key.data for key, _ in self.selector.select(LOOK_AROUND_EVERY)]
            if None in ready:
                self._accept()
            for caller in self._in_turn([one for one in ready if one in self.callers]):
                self._hear(caller)
                if time.thread_time() > begin + LONGEST_ROUND:
                    break
            # requests of strangers cost time that the trainer has to wait
            time.sleep(min(REST * (time.thread_time() - begin), LONGEST_REST))
            now = time.monotonic()
            if now > looked + LOOK_AROUND_EVERY:
                looked = now
                for caller in [c for c in self.callers if c.until < now]:
                    self._drop(caller)
                self.tick()

    def _in_turn(self, ready: list[Caller]) -> list[Caller]:
        """The order of service: the address with fewest connections, begun messages, the newest."""
        many = Counter(caller.place for caller in self.callers)
        return sorted(ready, key=lambda c: (many[c.place], not c.spoke, -c.until))

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, address = self.listener.accept()
            except OSError:  # there is none, or it has already closed
                return
            sock.setblocking(False)
            place = place_of(str(address[0]))
            self._make_room(place)
            caller = Caller(sock, place, time.monotonic() + SECONDS_TO_SHOW, self.tls is None)
            self.callers[caller] = None
            self.selector.register(sock, selectors.EVENT_READ, caller)

    def _make_room(self, place: str) -> None:
        of_one = [caller for caller in self.callers if caller.place == place]
        if len(of_one) >= PLACES_OF_ONE:
            self._drop(_least(of_one))
        elif len(self.callers) >= PLACES:
            self._drop(_least(list(self.callers)))

    def _hear(self, caller: Caller) -> None:
        try:
            if caller.leaving:
                # until it has received the reason: an earlier close would be seen as a reset
                if not socket.socket.recv(caller.sock, LONGEST_HELLO):
                    self._drop(caller)
                return
            if caller.tls or self._begin_tls(caller):
                self._listen(caller)
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except MessageError as error:
            self._send_away(caller, ended=str(error))
        except ssl.SSLError:
            # the alert with the reason is being sent
            self._send_away(caller)
        except OSError:
            self._drop(caller)
        except Exception:  # no message of a stranger may stop the door
            traceback.print_exc()
            self._drop(caller)

    def _begin_tls(self, caller: Caller) -> bool:
        """Continue the handshake; returns whether it is complete."""
        assert self.tls is not None
        if not isinstance(caller.sock, ssl.SSLSocket):
            first = caller.sock.recv(1, socket.MSG_PEEK)
            caller.spoke = True
            if first != TLS_HANDSHAKE:
                if not first:
                    raise ConnectionError("it was closed")
                self._send_away(caller, ended="the server requires TLS", why="tls")
                return False
            self.selector.unregister(caller.sock)
            caller.sock = self.tls.wrap_socket(
                caller.sock, server_side=True, do_handshake_on_connect=False
            )
            self.selector.register(caller.sock, selectors.EVENT_READ, caller)
        caller.sock.do_handshake()
        caller.tls = True
        return True

    def _listen(self, caller: Caller) -> None:
        """Read exactly the first message, and pass the connection on."""
        while True:
            size = LENGTH.size
            if len(caller.said) >= size:
                size += LENGTH.unpack_from(caller.said)[0]
                if size > LONGEST_HELLO:
                    raise MessageError("the first message is too long")
            if len(caller.said) == size:
                break
            data = caller.sock.recv(size - len(caller.said))
            if not data:
                raise ConnectionError("it was closed")
            caller.said += data
            caller.spoke = True
        hello = unpack(caller.said[LENGTH.size :], flat=True)
        self.selector.unregister(caller.sock)
        del self.callers[caller]
        refused = self.admit(Link(caller.sock), hello, caller.place)
        if refused is not None:
            caller.sock.setblocking(False)
            self.callers[caller] = None
            self.selector.register(caller.sock, selectors.EVENT_READ, caller)
            self._send_away(caller, **refused)

    def _send_away(self, caller: Caller, **words: Any) -> None:
        """Send the reason, and wait briefly until it is received."""
        with suppress(OSError):
            if words:
                message = pack(words)
                caller.sock.send(LENGTH.pack(len(message)) + message)
            socket.socket.shutdown(caller.sock, socket.SHUT_WR)
            caller.leaving = True
            caller.until = time.monotonic() + SECONDS_TO_LEAVE
            return
        self._drop(caller)

    def _drop(self, caller: Caller) -> None:
        self.callers.pop(caller, None)
        with suppress(KeyError, ValueError):
            self.selector.unregister(caller.sock)
        caller.sock.close()


def _least(callers: list[Caller]) -> Caller:
    """The order of removal: leaving connections, then silent ones, then the oldest."""
    return min(callers, key=lambda caller: (not caller.leaving, caller.spoke))


def place_of(address: str) -> str:
    """The unit of addresses; for IPv6, the /64 network."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
