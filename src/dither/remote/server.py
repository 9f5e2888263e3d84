"""The server: a device behind gate and door, for one trainer at a time."""

import hashlib
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from dither._errors import RequestError
from dither.instruments.python import PythonDevice
from dither.remote.door import BACKLOG, Door
from dither.remote.gate import Gate
from dither.remote.lease import Holder, Lease
from dither.remote.link import Link
from dither.remote.messages import MOST_PARAMETERS, MessageError, pack, unpack
from dither.remote.pace import Bucket, Buckets
from dither.remote.record import Record
from dither.remote.security import (
    VERSION,
    joined,
    loopback,
    parse_address,
    read_token,
    same_token,
    server_tls,
)

LOOKS_PER_SECOND = 20.0
LOOKS_AT_ONCE = 4
SECONDS_TO_LOOK = 2.0

SILENCE = 0.9
"""The allowed silence as a share of the lease; the rest is for reaching the safe state."""


class DeviceServer:
    """Serves a device to one trainer at a time, which holds the lease while it trains.

    When the connection ends or is lost, the device is brought into its safe state; a lost trainer
    has `lease` seconds to return before another may take its place. A connection is lost when it
    breaks, when there was no request for nearly `lease` seconds, when an answer was not received
    for as long, or when the device is overdue; in the last case the device is made safe as soon as
    it answers. Keep-alive traffic does not count as a request.

    Arguments: the device; `listen`, HOST:PORT, port 0 for a free one; `token_file`, the secret of
    all clients; `certificate` and `key`, the server's; `client_ca`, the authority of client
    certificates; `record`, the file of the server's record; `timeout` of one write and measurement,
    s; `lease`, s; `rate`, the maximum requests per second of a trainer; `say`, a function called
    with status lines.
    Errors: `RequestError` without token and client authority, beyond the loopback address without a
    certificate, for unreadable files, an address in use, or too many parameters for a message.
    """

    def __init__(
        self,
        device: PythonDevice,
        listen: str = "127.0.0.1:0",
        *,
        token_file: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        client_ca: Path | None = None,
        record: Path | None = None,
        timeout: float = 60.0,
        lease: float = 10.0,
        rate: float = 20_000.0,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        host, port = parse_address(listen)
        near = loopback(host)
        tls = server_tls(certificate, key, client_ca)
        if near is None and tls is None:
            raise RequestError(
                f"The address {host} is not a loopback address, so it needs TLS; "
                "give --certificate and --key (dither device certificates makes them)."
            )
        self.token = read_token(token_file)
        if self.token is None and client_ca is None:
            raise RequestError("Serving needs authentication; give --token-file or --client-ca.")
        if device.extent.size > MOST_PARAMETERS:
            raise RequestError(
                f"The device {device.name} has {device.extent.size} parameters, but at most "
                f"{MOST_PARAMETERS} can be written over a network."
            )
        self.rate, self.say = rate, say
        self.record = Record(device.extent.size, record)
        self.gate = Gate(device, self.record, timeout, lease)
        self.lease = Lease(lease)
        self.looks = ThreadPoolExecutor(LOOKS_AT_ONCE, thread_name_prefix="looks")
        self.looking = threading.BoundedSemaphore(4 * LOOKS_AT_ONCE)
        self.paces = Buckets(LOOKS_PER_SECOND)
        listener = _listening(near or host, port)
        self.port = listener.getsockname()[1]
        self.address = joined(host, self.port)
        self.door = Door(listener, tls, self._admit, self._tick)

    def start(self) -> None:
        """Start serving."""
        self.record.note("start", device=self.gate.device.name, address=self.address)
        self.door.start()

    def stop(self, patience: float = 10.0) -> bool:
        """Stop serving; returns whether the device reached its safe state within `patience` s."""
        self.door.stop()
        holder = self.lease.holder
        if holder is not None:
            holder.link.end()
        try:
            self.gate.make_safe("the server stops").result(patience)
        except Exception:
            return False
        finally:
            self.gate.thread.shutdown(wait=False)
            self.looks.shutdown(wait=False)
            self.record.close()
        return True

    def status(self) -> dict[str, Any]:
        """The status, available to anybody with the token."""
        holder = self.lease.holder
        return {
            **self.gate.description(),
            **self.record.counts(),
            "safe": not self.gate.written,
            "holder": None if holder is None else holder.name,
            "since": None if holder is None else holder.since,
        }

    def _tick(self) -> None:
        holder = self.lease.holder
        if holder is not None and self.gate.overdue():
            holder.link.end(ended=f"the device has not answered for {self.gate.timeout:g} s")

    def _admit(self, link: Link, hello: dict[str, Any], place: str) -> dict[str, Any] | None:
        """Accept an authenticated connection, or return the reason for refusal."""
        given = hello.get("token")
        if self.token is not None and not (
            isinstance(given, str) and same_token(given, self.token)
        ):
            return {"ended": "no valid token", "why": "token"}
        if hello.get("version") != VERSION:
            return {"ended": f"the server has protocol version {VERSION}; install the same dither"}
        match hello.get("do"):
            case "look":
                return self._admit_look(link, (place, _shown(link.sock)))
            case "train":
                said = str(hello.get("trainer", "unnamed"))[:80]
                name = "".join(letter if letter.isprintable() else "?" for letter in said)
                return self._admit_trainer(link, name, place)
        return {"ended": "the first message is not a known request"}

    def _admit_look(self, link: Link, client: tuple[str, bytes]) -> dict[str, Any] | None:
        if self.paces.take(client) > 0 or not self.looking.acquire(blocking=False):
            return {"ended": "too many status requests per second"}
        self.looks.submit(self._look, link)
        return None

    def _look(self, link: Link) -> None:
        try:
            link.send(pack(self.status()), SECONDS_TO_LOOK)
        except OSError:
            pass
        finally:
            link.close()
            self.looking.release()

    def _admit_trainer(self, link: Link, name: str, place: str) -> dict[str, Any] | None:
        mine = Holder(name, time.time(), link)
        other = self.lease.take(mine)
        if other is not None:
            clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(other.since))
            return {"ended": f"it is held by {other.name} since {clock}"}
        self.record.note("lease", name=name, peer=place)
        self.say(f"{name} trains the device")
        self.gate.thread.submit(self._serve, mine)
        return None

    def _serve(self, holder: Holder) -> None:
        """Answer a trainer's requests in the device's thread until they end."""
        words: dict[str, Any] = {}
        try:
            self._answer(holder)
        except TimeoutError:
            words["ended"] = f"the trainer sent nothing for {self._silence():g} s"
        except MessageError as error:
            words["ended"] = str(error)
        except OSError:
            pass  # the connection is over
        except Exception:
            traceback.print_exc()
            words["ended"] = "the server failed; see its log"
        finally:
            self._end(holder)
            holder.link.end(**words)
            holder.link.close()

    def _answer(self, holder: Holder) -> None:
        link, seconds, pace = holder.link, self._silence(), Bucket(self.rate)
        link.send(pack(self.gate.description()), seconds)
        while not holder.leaving:
            request = unpack(link.receive(seconds), flat=True)
            pace.wait()
            link.send(self.gate.reply(request, link.ended), seconds)
            holder.leaving = request.get("do") == "safe"

    def _silence(self) -> float:
        """The time limit for a trainer's next request, s."""
        return SILENCE * self.lease.seconds

    def _end(self, holder: Holder) -> None:
        """End the connection: first the safe state, then release the lease."""
        why = "has left" if holder.leaving else "was lost"
        self.record.note("left" if holder.leaving else "lost", name=holder.name)
        with suppress(Exception):  # the record reports it
            self.gate.end(f"{holder.name} {why}")
        self.lease.free(holder)
        self.say(f"{holder.name} {why}; {'safe state' if not self.gate.written else 'UNSAFE'}")


def _listening(host: str, port: int) -> socket.socket:
    """A listening socket. Errors: `RequestError` if the address is not available."""
    address = joined(host, port)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(
            (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both
        )
    except OSError:
        raise RequestError(f"The address {address} is not available; give another one.") from None


def _shown(sock: socket.socket) -> bytes:
    """The digest of a client's certificate, empty without one."""
    certificate = sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None
    return hashlib.sha256(certificate or b"").digest()
