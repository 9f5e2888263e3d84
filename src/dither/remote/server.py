"""The serving side: gRPC around a gated device, for one trainer at a time."""

import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from dither._errors import RequestError
from dither.instruments.python import PythonDevice
from dither.remote.gate import Gate
from dither.remote.messages import MOST_BYTES, MessageError, pack, unpack
from dither.remote.record import Record
from dither.remote.security import (
    joined,
    loopback,
    parse_address,
    read_token,
    same_token,
    server_credentials,
)

SERVICE = "dither.Device"
LOOKS_PER_SECOND = 20.0
PEERS = 1024


@dataclass
class Holder:
    """Who trains the device, since when, whether it is about to leave, when it was lost."""

    name: str
    since: float
    leaving: bool = False
    lost_at: float = 0.0


class Pace:
    """A limit on events a second, with one second's worth at once."""

    def __init__(self, per_second: float) -> None:
        self.per_second = self.room = per_second
        self.at = time.monotonic()

    def late(self) -> float:
        """Count an event; returns the seconds by which it is too early."""
        now = time.monotonic()
        self.room = min(self.per_second, self.room + (now - self.at) * self.per_second) - 1.0
        self.at = now
        return max(0.0, -self.room / self.per_second)


class DeviceServer:
    """Serves a device to one trainer at a time, who holds the lease while connected.

    When the connection ends, by word or by loss, the device is brought into its safe state; a
    trainer that was lost has `lease` seconds to return before another may take its place. A
    connection is lost when it breaks, nothing has come through it for `lease` seconds, or the
    device has been overdue; then the device is made safe as soon as it comes back.

    Arguments: the device; `listen`, HOST:PORT, port 0 for a free one; `token_file`, the secret that
    every call must carry; `certificate` and `key`, of this server; `client_ca`, the authority of
    trainers' certificates; `record`, the file of the server's own record; `timeout`, s, of one
    write and measurement; `lease`, s; `rate`, the most requests per second that a trainer is
    answered; `say`, called with a line for people.
    Errors: `RequestError` without token and client's authority, beyond the loopback address without
    certificate, for files that cannot be read, an address that is not free.
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
        credentials = server_credentials(certificate, key, client_ca)
        if near is None and credentials is None:
            raise RequestError(
                f"The device is not served at {host}, beyond the loopback address, without TLS; "
                "give --certificate and --key (dither device certificates makes them)."
            )
        self.token = read_token(token_file)
        if self.token is None and client_ca is None:
            raise RequestError(
                "The device is not served to everybody; give --token-file or --client-ca."
            )
        self.seconds, self.rate, self.say = lease, rate, say
        self.record = Record(device.extent.size, record)
        self.gate = Gate(device, self.record, timeout)
        self.lock = threading.Lock()
        self.holder: Holder | None = None
        self.lost: Holder | None = None
        self.paces: OrderedDict[str, Pace] = OrderedDict()
        self.rpc = grpc.server(
            ThreadPoolExecutor(16, thread_name_prefix="calls"),
            handlers=(
                grpc.method_handlers_generic_handler(
                    SERVICE,
                    # of the streaming kind, whose handlers do not wait for a message: a caller
                    # without the token is turned away before it has sent any
                    {
                        "Look": grpc.stream_stream_rpc_method_handler(self._look),
                        "Train": grpc.stream_stream_rpc_method_handler(self._train),
                    },
                ),
            ),
            options=_options(lease),
            maximum_concurrent_rpcs=64,
        )
        address = joined(near or host, port)
        try:
            if credentials is None:
                self.port = self.rpc.add_insecure_port(address)
            else:
                self.port = self.rpc.add_secure_port(address, credentials)
        except RuntimeError:
            raise RequestError(f"The address {address} cannot be listened at.") from None
        self.address = joined(host, self.port)

    def start(self) -> None:
        """Begin to answer."""
        self.record.note("start", device=self.gate.device.name, address=self.address)
        self.rpc.start()

    def stop(self, patience: float = 10.0) -> bool:
        """Stop answering; returns whether the device came to its safe state within `patience` s."""
        self.rpc.stop(0.2).wait()
        try:
            self.gate.make_safe("the server stops").result(patience)
        except Exception:
            return False
        finally:
            self.gate.thread.shutdown(wait=False)
            self.record.close()
        return True

    def status(self) -> dict[str, Any]:
        """What anybody with the token may look at."""
        with self.lock:
            holder = self.holder
        return {
            **self.gate.description(),
            **self.record.counts(),
            "safe": not self.gate.written,
            "holder": None if holder is None else holder.name,
            "since": None if holder is None else holder.since,
        }

    def _look(self, requests: Any, context: Any) -> Iterator[bytes]:
        del requests
        self._admit(context)
        if self._pace(context).late() > 0:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many looks a second")
        yield pack(self.status())

    def _train(self, requests: Any, context: Any) -> Iterator[bytes]:
        self._admit(context)
        holder = self._take(context)
        if not context.add_callback(lambda: self._end(holder)):
            self._end(holder)
            return
        replies: queue.SimpleQueue[bytes | str | None] = queue.SimpleQueue()
        replies.put(pack(self.gate.description()))
        self.gate.thread.submit(self._work, requests, replies, holder)
        while True:
            try:
                reply = replies.get(timeout=min(1.0, self.gate.timeout / 4))
            except queue.Empty:
                if self.gate.overdue():
                    context.abort(
                        grpc.StatusCode.DEADLINE_EXCEEDED,
                        f"the device has not answered for {self.gate.timeout:g} s",
                    )
                continue
            if reply is None:
                return
            if isinstance(reply, bytes):
                yield reply
            else:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, reply)

    def _work(
        self, requests: Any, replies: "queue.SimpleQueue[bytes | str | None]", holder: Holder
    ) -> None:
        """Answer a trainer's requests, in the device's thread, until there are no more."""
        pace = Pace(self.rate)
        try:
            for data in requests:
                late = pace.late()
                if late > 0:
                    time.sleep(late)
                request = unpack(data)
                replies.put(pack(self.gate.answer(request)))
                holder.leaving = request.get("do") == "safe"
        except MessageError as error:
            replies.put(str(error))
        except grpc.RpcError:
            pass  # the connection is over
        finally:
            replies.put(None)

    def _admit(self, context: Any) -> None:
        """Turn away who has no token, before anything it sends is read."""
        if self.token is None:
            return
        given = dict(context.invocation_metadata()).get("authorization", "")
        if not isinstance(given, str) or not same_token(given, f"Bearer {self.token}"):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no valid token")

    def _pace(self, context: Any) -> Pace:
        peer = context.peer().rpartition(":")[0]
        with self.lock:
            pace = self.paces.pop(peer, None) or Pace(LOOKS_PER_SECOND)
            self.paces[peer] = pace
            if len(self.paces) > PEERS:
                self.paces.popitem(last=False)
        return pace

    def _take(self, context: Any) -> Holder:
        name = str(dict(context.invocation_metadata()).get("trainer", "unnamed"))[:80]
        mine = Holder(name, time.time())
        with self.lock:
            holder = self.holder
            if holder is None and self.lost is not None and self.lost.name != name:
                waits = time.monotonic() < self.lost.lost_at + self.seconds
                holder = self.lost if waits else None
            if holder is None:
                self.holder, self.lost = mine, None
        if holder is not None:
            clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
            context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"it is held by {holder.name} since {clock}",
            )
        self.record.note("lease", name=name, peer=context.peer())
        self.say(f"{name} trains the device")
        return mine

    def _end(self, holder: Holder) -> None:
        """The connection is over: the safe state first, then the lease is free."""
        why = "has left" if holder.leaving else "was lost"

        def free(_: Any) -> None:
            with self.lock:
                self.holder = None
                holder.lost_at = time.monotonic()
                self.lost = None if holder.leaving else holder
            self.say(f"{holder.name} {why}; {'safe state' if not self.gate.written else 'UNSAFE'}")

        self.record.note("left" if holder.leaving else "lost", name=holder.name)
        self.gate.make_safe(f"{holder.name} {why}").add_done_callback(free)


def _options(lease: float) -> list[tuple[str, int]]:
    half = int(500 * lease)
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", MOST_BYTES),
        ("grpc.max_send_message_length", MOST_BYTES),
        ("grpc.max_metadata_size", 8192),
        ("grpc.absolute_max_metadata_size", 16384),
        ("grpc.max_concurrent_streams", 8),
        ("grpc.max_allowed_incoming_connections", 512),
        # who does not finish the handshake, or connects and asks nothing, is closed
        ("grpc.server_handshake_timeout_ms", 5000),
        ("grpc.max_connection_idle_ms", 30_000),
        # a trainer that is gone without a word answers no ping
        ("grpc.keepalive_time_ms", half),
        ("grpc.keepalive_timeout_ms", half),
        ("grpc.http2.ping_timeout_ms", half),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 2000),
        ("grpc.http2.max_ping_strikes", 2),
    ]
