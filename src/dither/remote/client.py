"""The trainer's side: a lab's object that is somewhere else."""

import getpass
import queue
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from jaxtyping import Float, Int

from dither._errors import RequestError, RunError
from dither.remote.messages import MOST_BYTES, pack, unpack
from dither.remote.security import channel_credentials, joined, loopback, parse_address, read_token

OPTIONS = [
    ("grpc.max_receive_message_length", MOST_BYTES),
    ("grpc.max_send_message_length", MOST_BYTES),
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.http2.ping_timeout_ms", 5000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
    # what is lost is asked for again by the training loop, which counts it
    ("grpc.enable_retries", 0),
]


class RemoteObject:
    """A device behind `dither device serve`, as an object that `PythonDevice` wraps.

    It holds the server's lease from its first call to `safe()`. After a lost connection it connects
    anew at the next call, and programs the device again before it measures.

    Arguments: `address`, HOST:PORT; `token_file`, else the environment's DITHER_TOKEN; `ca`, the
    authority of the server's certificate; `certificate` and `key`, of this trainer; `patience`, s,
    to wait for a server that does not answer or a lease that is held; `name`, of this trainer, who
    and where if not given.
    Errors: `RequestError` where the server refuses token or certificate; `RunError` where it does
    not answer or another trainer holds the lease.
    """

    def __init__(
        self,
        address: str,
        *,
        patience: float = 30.0,
        name: str | None = None,
        **papers: Path | None,
    ) -> None:
        self.channel, self.address, self.metadata = _open(address, **papers)
        trainer = name or f"{getpass.getuser()}@{socket.gethostname()}"
        self.metadata.append(("trainer", trainer.encode("ascii", "replace").decode()))
        self.patience = patience
        self._held: Float[np.ndarray, " P"] | None = None
        self._requests: queue.SimpleQueue[bytes | None] | None = None
        about = self._connect()
        self.__name__ = str(about["name"])
        self.parameters = {name: tuple(shape) for name, shape in about["shapes"].items()}
        self.bounds = {str(name): tuple(pair) for name, pair in about["bounds"].items()}
        self.levels, self.fed, self.by_cost = about["levels"], about["fed"], about["by_cost"]
        if self.by_cost:
            self.cost = self._read
        else:
            self.measure = self._measure
        self.initial = self._initial if about["initial"] else None

    def write(self, theta: Float[np.ndarray, " P"]) -> None:
        """Program all parameters."""
        self._ask({"do": "write", "theta": np.asarray(theta, float)})
        self._held = np.array(theta, float)

    def write_at(self, places: Int[np.ndarray, " K"], values: Float[np.ndarray, " K"]) -> None:
        """Program some parameters."""
        self._ask({"do": "write_at", "places": places, "values": np.asarray(values, float)})
        if self._held is not None:
            self._held[places] = values

    def measure_block(
        self,
        settings: Float[np.ndarray, "K P"],
        inputs: Float[np.ndarray, "K B ..."],
        targets: np.ndarray,
    ) -> Iterator[Float[np.ndarray, "..."]]:
        """Program and measure K settings in as few messages as they fit in."""
        each = (settings.nbytes + inputs.nbytes + targets.nbytes) // len(settings)
        most = max(1, MOST_BYTES // (2 * each))
        for start in range(0, len(settings), most):
            part = slice(start, start + most)
            reply = self._ask(
                {
                    "do": "measure",
                    "settings": np.asarray(settings[part], float),
                    "inputs": inputs[part],
                    "targets": targets[part] if self.by_cost else None,
                }
            )
            yield from () if reply["readings"] is None else reply["readings"]
            self._held = np.array(settings[part][-1])
            if reply["failed"]:
                raise _failure(reply)

    def safe(self) -> None:
        """Bring the device into its safe state, and let others have it."""
        if self._requests is None:
            return  # the server has done it when the connection ended
        try:
            self._ask({"do": "safe"})
            self._requests.put(None)
            for _ in self._replies:
                pass
        except (ConnectionError, grpc.RpcError):
            pass
        self._requests = None

    def close(self) -> None:
        """Disconnect for good."""
        self._requests = None
        self.channel.close()

    def _measure(self, inputs: Float[np.ndarray, "B ..."]) -> np.ndarray:
        return self._read(inputs, None)

    def _read(self, inputs: Float[np.ndarray, "B ..."], targets: np.ndarray | None) -> np.ndarray:
        reply = self._ask({"do": "read", "inputs": np.asarray(inputs), "targets": targets})
        return np.asarray(reply["reading"])

    def _initial(self, seed: int) -> np.ndarray:
        return np.asarray(self._ask({"do": "initial", "seed": int(seed)})["values"])

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._requests is None:
            self._connect()
            if request["do"] in ("read", "write_at") and self._held is not None:
                self._exchange({"do": "write", "theta": self._held})
        return self._exchange(request)

    def _exchange(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._requests is not None
        self._requests.put(pack(request))
        try:
            reply = unpack(next(self._replies))
        except (grpc.RpcError, StopIteration) as error:
            self._requests = None
            raise ConnectionError(
                f"The connection to the device at {self.address} was lost ({_details(error)})"
            ) from None
        if "refused" in reply:
            raise RunError(f"The device at {self.address} refuses: {reply['refused']}")
        if reply.get("failed") and "readings" not in reply:
            raise _failure(reply)
        return reply

    def _connect(self) -> dict[str, Any]:
        """Take the lease; waits for it, and for a server that does not answer yet."""
        until, pause = time.monotonic() + self.patience, 0.05
        while True:
            requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
            replies = self.channel.stream_stream("/dither.Device/Train")(
                iter(requests.get, None), metadata=self.metadata
            )
            try:
                about = unpack(next(replies))
            except (grpc.RpcError, StopIteration) as error:
                requests.put(None)
                hopeless = _hopeless(error, self.address)
                if hopeless is not None:
                    raise hopeless from None
                if time.monotonic() + pause > until:
                    raise RunError(_not_there(self.address, error)) from None
                time.sleep(pause)
                pause = min(2 * pause, 1.0)
            else:
                self._requests, self._replies = requests, replies
                return about


def look(address: str, *, timeout: float = 10.0, **papers: Path | None) -> dict[str, Any]:
    """What a device's server says of itself and of who trains on it, without taking the lease.

    Arguments and errors: as of `RemoteObject`; `timeout`, s.
    """
    channel, place, metadata = _open(address, **papers)
    with channel:
        call = channel.stream_stream("/dither.Device/Look")
        replies = call(iter(()), metadata=metadata, timeout=timeout)
        try:
            return unpack(next(replies))
        except (grpc.RpcError, StopIteration) as error:
            raise _hopeless(error, place) or RunError(_not_there(place, error)) from None


def _open(
    address: str,
    token_file: Path | None = None,
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
) -> tuple[grpc.Channel, str, list[tuple[str, str]]]:
    """A channel, its address, and the metadata of every call."""
    host, port = parse_address(address)
    near, token, place = loopback(host), read_token(token_file), joined(host, port)
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    if near is not None and ca is None and certificate is None and key is None:
        # what does not leave this machine needs no TLS
        return grpc.insecure_channel(joined(near, port), OPTIONS), place, metadata
    credentials = channel_credentials(ca, certificate, key)
    return grpc.secure_channel(place, credentials, OPTIONS), place, metadata


def _hopeless(error: BaseException, address: str) -> RequestError | None:
    """What to tell of an error that no waiting mends."""
    why, code = _details(error), getattr(error, "code", lambda: None)()
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return RequestError(
            f"The device at {address} refuses the token; give token_file or DITHER_TOKEN."
        )
    if code is grpc.StatusCode.UNAVAILABLE and ("SSL" in why or "CERTIFICATE" in why.upper()):
        return RequestError(
            f"The device at {address} and this trainer do not accept each other's certificates; "
            "give ca, certificate and key."
        )
    return None


def _not_there(address: str, error: BaseException) -> str:
    """That a device cannot be had, and where to look for the reason."""
    return (
        f"The device at {address} cannot be had ({_details(error)}): check that `dither device "
        "serve` runs there, host and port, the firewall, and whether it wants a certificate (ca)."
    )


def _failure(reply: Mapping[str, Any]) -> RuntimeError:
    """A failure on the device's side, with the traceback there as a note."""
    error = RuntimeError(reply["failed"])
    if reply.get("traceback"):
        error.add_note(f"Where the device is served:\n{reply['traceback']}")
    return error


def _details(error: BaseException) -> str:
    return str(getattr(error, "details", lambda: "it ended")() or "no reason given")
