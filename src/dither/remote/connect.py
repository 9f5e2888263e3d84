"""The trainer's connection to a served device, and the reasons for failures."""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dither._errors import RequestError
from dither.remote.link import Link
from dither.remote.messages import MessageError, pack, unpack
from dither.remote.security import (
    VERSION,
    client_tls,
    joined,
    loopback,
    parse_address,
    read_token,
)

FIRST_TRY = 0.25
"""The time limit of the first try, s: an overloaded server drops requests for a connection."""

KEPT_ALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2}
"""Options with which the trainer notices within 15 s that the server's machine is down."""


class Unreachable(Exception):
    """There is no connection now, but there may be one later."""


@dataclass(frozen=True)
class Server:
    """The address of a server, and the client's credentials."""

    host: str
    port: int
    token: str | None = field(repr=False)
    tls: ssl.SSLContext | None

    @property
    def address(self) -> str:
        """Its address."""
        return joined(self.host, self.port)

    def ask(self, seconds: float, **hello: Any) -> tuple[Link, dict[str, Any]]:
        """A connection after the first message, and the first answer.

        Errors: `Unreachable`; `RequestError` if waiting does not help.
        """
        until = time.monotonic() + seconds
        hello |= {"version": VERSION} | ({} if self.token is None else {"token": self.token})
        sock: socket.socket | None = None
        try:
            sock = self._connected(until)
            link = Link(sock)
            with suppress(BrokenPipeError, ConnectionResetError):
                link.send(pack(hello), _left(until))  # if refused, it may still receive the reason
            answer = unpack(link.receive(_left(until)))
        except (OSError, MessageError) as error:
            if sock is not None:
                sock.close()
            raise self._why(error) from None
        if "ended" in answer:
            link.close()
            raise self._refusal(answer)
        return link, answer

    def _connected(self, until: float) -> socket.socket:
        sock = self._opened(until)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEPT_ALIVE.items():
                if hasattr(socket, name):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            if self.tls is None:
                return sock
            sock.settimeout(_left(until))
            return self.tls.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise

    def _opened(self, until: float) -> socket.socket:
        wait = FIRST_TRY
        while True:
            try:
                return socket.create_connection((self.host, self.port), min(wait, _left(until)))
            except TimeoutError:
                if time.monotonic() >= until:
                    raise
                wait *= 2

    def _refusal(self, answer: dict[str, Any]) -> Exception:
        if answer.get("why") == "token":
            return RequestError(
                f"The device at {self.address} refuses the token; give token_file or DITHER_TOKEN."
            )
        if answer.get("why") == "tls":
            return RequestError(f"The device at {self.address} requires TLS; give ca.")
        return Unreachable(str(answer["ended"]))

    def _why(self, error: OSError | MessageError) -> Exception:
        if isinstance(error, ssl.SSLCertVerificationError):
            return RequestError(
                f"The device at {self.address} has a certificate that is not accepted "
                f"({error.verify_message}); give the ca that signed it, and the server's name as "
                "in the certificate."
            )
        reason = str(getattr(error, "reason", None) or "")
        if "CERTIFICATE_REQUIRED" in reason:
            return RequestError(
                f"The device at {self.address} requires a client certificate; give "
                "certificate and key."
            )
        if "ALERT" in reason and isinstance(error, ssl.SSLError):
            alert = reason.rpartition("ALERT_")[2].replace("_", " ").lower()
            return RequestError(
                f"The device at {self.address} refuses this trainer's certificate ({alert}); give "
                "a valid one signed by its authority (client-ca)."
            )
        if isinstance(error, ssl.SSLError) and "EOF" not in reason:
            return RequestError(
                f"The device at {self.address} does not use TLS ({reason.lower()}); leave out "
                "ca, certificate and key."
            )
        if isinstance(error, ConnectionRefusedError):
            return Unreachable("no server listens there")
        if isinstance(error, TimeoutError):
            return Unreachable("it did not answer in time")
        return Unreachable(getattr(error, "strerror", None) or str(error))


def server_at(
    address: str,
    token_file: Path | None = None,
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
) -> Server:
    """The server at an address; a connection inside this machine needs no TLS."""
    host, port = parse_address(address)
    near, token = loopback(host), read_token(token_file)
    if near is not None and ca is None and certificate is None and key is None:
        return Server(near, port, token, None)
    return Server(host, port, token, client_tls(ca, certificate, key))


def patiently(
    patience: float, ask: Callable[[], tuple[Link, dict[str, Any]]]
) -> tuple[Link, dict[str, Any]]:
    """Retry for `patience` seconds. Errors: the last `Unreachable`."""
    until, pause = time.monotonic() + patience, 0.05
    while True:
        try:
            return ask()
        except Unreachable:
            if time.monotonic() + pause > until:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 1.0)


def _left(until: float) -> float:
    return max(until - time.monotonic(), 0.001)
