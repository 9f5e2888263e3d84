"""The trainer's side: a lab's object on another machine."""

import getpass
import socket
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dither._errors import RunError
from dither.remote.connect import Unreachable, patiently, server_at
from dither.remote.link import Link
from dither.remote.messages import MOST_BYTES, MessageError, pack, unpack

ANSWER_IN = 10.0
"""The time limit of a server's first answer, s."""


class LeaseWarning(UserWarning):
    """The trainer was silent for longer than its lease, and the device is in its safe state."""


class RemoteObject:
    """A device behind `dither device serve`, as an object that `PythonDevice` wraps.

    It holds the server's lease from its first call to `safe()`, if it makes a request or calls
    `renew_lease()` at least once per lease time. After a longer silence the server considers it
    lost and brings the device into its safe state. After a lost connection it reconnects at the
    next call, and programs the device again before it measures.

    Arguments: `address`, HOST:PORT; `token_file`, by default the environment variable DITHER_TOKEN;
    `ca`, the authority of the server's certificate; `certificate` and `key`, the client's;
    `patience`, the time to wait for a server that does not answer or a held lease, s; `name`, of
    this trainer, by default user and host.
    Errors: `RequestError` if the server refuses the token or certificate; `RunError` if it does not
    answer or another trainer holds the lease.
    """

    def __init__(
        self,
        address: str,
        *,
        patience: float = 30.0,
        name: str | None = None,
        **papers: Path | None,
    ) -> None:
        self.server = server_at(address, **papers)
        self.address, self.patience = self.server.address, patience
        self.name = name or f"{getpass.getuser()}@{socket.gethostname()}"
        self._held: Float[np.ndarray, " P"] | None = None
        self._link: Link | None = None
        self._driven = False
        about = self._connect()
        self.lease, self.longest = float(about["lease"]), float(about["timeout"] + about["lease"])
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
        """Program and measure K settings in as few messages as possible."""
        each = (settings.nbytes + inputs.nbytes + targets.nbytes) // len(settings)
        most = max(1, MOST_BYTES // (2 * each))
        start = 0
        while start < len(settings):
            part = slice(start, start + most)
            reply = self._ask(
                {
                    "do": "measure",
                    "settings": np.asarray(settings[part], float),
                    "inputs": inputs[part],
                    "targets": targets[part] if self.by_cost else None,
                }
            )
            readings = () if reply["readings"] is None else reply["readings"]
            yield from readings
            start += len(readings)
            most = min(most, max(len(readings), 1))  # the number that the server does at once
            self._held = np.array(settings[max(start - 1, 0)])
            if reply["failed"]:
                raise _failure(reply)
            if not len(readings):
                raise RuntimeError("the server returned no readings")

    def renew_lease(self) -> bool:
        """Renew the lease if a third of it has passed since the last renewal.

        Returns: whether the device still has its setting. If the lease has expired, the device is
        in its safe state, a warning is given, and the next call takes a new lease.
        """
        if self._link is None or time.monotonic() < self._last + self.lease / 3:
            return True
        try:
            self._exchange({"do": "renew"})
        except ConnectionError as error:
            warnings.warn(f"{error}; it is programmed again.", LeaseWarning, stacklevel=2)
            return False
        return True

    def safe(self) -> None:
        """Bring the device into its safe state, and release the lease."""
        if self._link is None:
            return  # the server did so when the connection ended
        try:
            self._ask({"do": "safe"})
        except ConnectionError:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Disconnect."""
        if self._link is not None:
            self._link.close()
        self._link = None

    def _measure(self, inputs: Float[np.ndarray, "B ..."]) -> np.ndarray:
        return self._read(inputs, None)

    def _read(self, inputs: Float[np.ndarray, "B ..."], targets: np.ndarray | None) -> np.ndarray:
        reply = self._ask({"do": "read", "inputs": np.asarray(inputs), "targets": targets})
        return np.asarray(reply["reading"])

    def _initial(self, seed: int) -> np.ndarray:
        return np.asarray(self._ask({"do": "initial", "seed": int(seed)})["values"])

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._link is not None and not self._driven and self._link.waits():
            self.close()  # the lease expired before anything was written, which is harmless
        if self._link is None:
            self._connect()
            if request["do"] in ("read", "write_at") and self._held is not None:
                self._exchange({"do": "write", "theta": self._held})
        self._driven |= request["do"] != "initial"
        return self._exchange(request)

    def _exchange(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._link is not None
        message = pack(request)
        if len(message) > MOST_BYTES:
            raise RunError(
                f"A message to the device at {self.address} has {len(message)} bytes, of at most "
                f"{MOST_BYTES}; use smaller batches."
            )
        try:
            reply = self._answer(self._link, message)
        except BaseException:
            self.close()  # a late answer must not be mistaken for the next one
            raise
        if "ended" in reply:
            self.close()
            raise self._lost(reply["ended"])
        if "refused" in reply:
            raise RunError(f"The device at {self.address} refused the request: {reply['refused']}")
        if reply.get("failed") and "readings" not in reply:
            raise _failure(reply)
        return reply

    def _answer(self, link: Link, message: bytes) -> dict[str, Any]:
        try:
            if not link.waits():  # before a request, a server only reports that it has ended
                link.send(message, self.longest)
            reply = unpack(link.receive(self.longest))
        except TimeoutError:
            raise self._lost(f"no answer for {self.longest:g} s") from None
        except (OSError, MessageError) as error:
            raise self._lost(str(error)) from None
        self._last = time.monotonic()
        return reply

    def _lost(self, why: str) -> ConnectionError:
        return ConnectionError(f"The connection to the device at {self.address} was lost ({why})")

    def _connect(self) -> dict[str, Any]:
        """Take the lease; wait for it, and for a server that does not yet answer."""
        try:
            self._link, about = patiently(
                self.patience,
                lambda: self.server.ask(ANSWER_IN, do="train", trainer=self.name),
            )
        except Unreachable as error:
            raise RunError(_not_there(self.address, error)) from None
        self._last, self._driven = time.monotonic(), False
        return about


def look(address: str, *, timeout: float = ANSWER_IN, **papers: Path | None) -> dict[str, Any]:
    """The status of a served device and its trainer, without taking the lease.

    Arguments and errors: see `RemoteObject`; `timeout`, s.
    """
    server = server_at(address, **papers)
    try:
        link, seen = server.ask(timeout, do="look")
    except Unreachable as error:
        raise RunError(_not_there(server.address, error)) from None
    link.close()
    return seen


def _not_there(address: str, error: Exception) -> str:
    """The error for an unreachable device, with possible reasons."""
    return (
        f"The device at {address} cannot be reached ({error}); check that "
        "`dither device serve` runs there, host and port, the firewall, and whether it needs a "
        "certificate (ca)."
    )


def _failure(reply: Mapping[str, Any]) -> RuntimeError:
    """A failure on the device's side, with the traceback there as a note."""
    error = RuntimeError(reply["failed"])
    if reply.get("traceback"):
        error.add_note(f"On the server:\n{reply['traceback']}")
    return error
