"""Attack a served device with hostile clients and silent trainers, over loopback only.

`python benchmarks/hostile/network.py FILE.json` runs the rows that are missing from the file and
adds their results to it. `ROWS` maps the title of each row to its function. The function takes a
folder to work in, starts a server there and returns its results. A `look` is a request for the
server's status, which takes no lease. The results are:

- `attempts`: the number of attempts
- `breaches`: the number of failures of protection, such as forbidden writes, answers to clients
  without permission, or missed safe states
- `tracebacks`: the number of tracebacks printed by the server
- `extra memory (MiB)`: the server's peak memory above its memory at rest
- `longest wait (s)`: the longest wait of an honest client
- `relative training rate`: the rate of a running trainer with the flood, relative to that without
- `safe after (s)`: the time until the device was in its safe state
"""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import psutil

from dither._errors import DitherError, RequestError
from dither.remote.certificates import make_certificates
from dither.remote.client import RemoteObject, look
from dither.remote.link import LENGTH, Link
from dither.remote.messages import ARRAY, MOST_BYTES, pack, unpack
from dither.remote.security import VERSION

PARAMETERS, LEASE, FLOOD_SECONDS = 220, 2.0, 4.0

LOOK_EVERY = 0.06
"""Seconds between two looks, to stay below the limit of twenty looks per second."""

LAB = f"""
import time
import numpy as np
class Chip:
    parameters, bounds = {PARAMETERS}, (-1.0, 1.0)
    def write(self, theta):
        assert np.abs(theta).max() <= 1.0
        self.theta = theta
    def measure(self, inputs):
        time.sleep(0.001)  # about as fast as real instruments
        return np.zeros((len(inputs), 4))
    def safe(self):
        pass
"""

Figures = dict[str, int | float | str]


class Scene:
    """A server in a separate process, with observations of its state."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.folder = folder
        (folder / "lab.py").write_text(LAB)
        self.errors = (folder / "errors").open("w")
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "dither.remote", "lab.py:Chip", "--listen", "127.0.0.1:0",
                "--lease", str(LEASE), "--record", "record", *more,
            ],
            cwd=folder, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=_environment(),
        )  # fmt: skip
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().rpartition("remote://")[2].strip()
        self.port = int(self.address.rpartition(":")[2])
        self.token = folder / "dither-token"
        self.papers: dict[str, Path | None] = {"token_file": self.token}
        if (folder / "ca.pem").exists():
            self.papers["ca"] = folder / "ca.pem"
        self.memory = psutil.Process(self.process.pid).memory_info
        self.rest = self.most = 0
        self.others: list[subprocess.Popen[bytes]] = []
        self.over = threading.Event()
        self.looked = 0.0

    def warm(self) -> None:
        """Use the server once and record its memory at rest.

        One look, one write and one measurement are made.
        """
        remote = RemoteObject(self.address, name="warm", **self.papers)
        remote.write(np.zeros(PARAMETERS))
        remote.measure(np.zeros((1, 49)))
        remote.safe()
        self.look()
        self.rest = self.most = self.memory().rss
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self.over.wait(0.005):
            with suppress(psutil.Error):
                self.most = max(self.most, self.memory().rss)

    def look(self) -> tuple[dict[str, Any], float]:
        """Return the server's status and the time until it answered, in seconds."""
        time.sleep(max(0.0, self.looked + LOOK_EVERY - time.monotonic()))
        begin = self.looked = time.monotonic()
        return look(self.address, **self.papers), time.monotonic() - begin

    def role(self, *words: object) -> subprocess.Popen[bytes]:
        """Start a process in one of this file's roles, with its standard input left open."""
        process = subprocess.Popen(
            [sys.executable, __file__, *map(str, words)],
            cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=_environment(),
        )  # fmt: skip
        self.others.append(process)
        return process

    def events(self, name: str) -> list[float]:
        """Return the times at which events of this name were recorded."""
        lines = (self.folder / "record").read_text().splitlines()
        return [e["time"] for e in map(json.loads, lines) if e["event"] == name]

    def figures(self) -> Figures:
        """Return the results that concern the server itself: tracebacks and memory."""
        self.errors.flush()
        return {
            "tracebacks": (self.folder / "errors").read_text().count("Traceback"),
            "extra memory (MiB)": round((self.most - self.rest) / 2**20, 1),
        }

    def close(self) -> None:
        self.over.set()
        for other in [*self.others, self.process]:
            with suppress(ProcessLookupError):
                other.send_signal(signal.SIGCONT)
            other.kill() if other is not self.process else other.terminate()
            other.communicate(timeout=20)
        self.errors.close()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}


@contextmanager
def scene(folder: Path, *more: str) -> Iterator[Scene]:
    """Provide a server that has been used once."""
    here = Scene(folder, *more)
    try:
        here.warm()
        yield here
    finally:
        here.close()


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until the condition is true."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError("what was waited for has not come")
        time.sleep(0.1)


def connected(port: int) -> Link:
    """Open a connection without sending anything."""
    return Link(socket.create_connection(("127.0.0.1", port), timeout=5))


def hello(port: int, token: str | None, do: str = "train", name: str = "hostile") -> Link:
    """Open a connection and send the first message."""
    link = connected(port)
    said = {"do": do, "trainer": name, "version": VERSION}
    link.send(pack(said if token is None else {**said, "token": token}), 5.0)
    return link


# ------------------------------------------------------------------------------ requests and frames


def bad_requests() -> list[bytes]:
    """Return requests that the server must refuse although the client has the key."""
    zeros, x = np.zeros(PARAMETERS), np.zeros((1, 49))
    bad: list[Any] = [
        {"do": "write", "theta": theta}
        for theta in (
            zeros + 1.0001, zeros - 1e308, zeros + 1e308, zeros * np.nan, zeros + np.inf,
            np.r_[zeros[1:], -np.inf], zeros[1:], np.r_[zeros, 0.0], zeros[None], zeros[:0],
            zeros.astype("f4"), zeros.astype("i8"), zeros.astype("?"), np.float64(0.0), 0.0, 0,
            "zeros", b"zeros", None, True, [0.0] * PARAMETERS, {"theta": 0.0},
        )
    ]  # fmt: skip
    for places, values in [
        ([0], [2.0]), ([0], [np.nan]), ([PARAMETERS], [0.0]), ([-1], [0.0]), ([0, 1], [0.0]),
        ([], []), ([0.5], [0.0]), ([2**62], [0.0]),
    ]:  # fmt: skip
        bad.append({"do": "write_at", "places": np.array(places), "values": np.array(values)})
    good = {"do": "measure", "settings": zeros[None], "inputs": x[None], "targets": None}
    for change in (
        {"settings": zeros[None] + 2.0}, {"settings": zeros}, {"settings": zeros[None][:0]},
        {"inputs": x[0]}, {"inputs": np.stack([x, x])}, {"inputs": None}, {"inputs": x[:0][None]},
        {"inputs": np.zeros((1, 2**17, 1), "u1")}, {"settings": None}, {"do": "Measure"},
    ):  # fmt: skip
        bad.append({**good, **change})
    bad += [
        {}, {"do": None}, {"do": 3}, {"do": "eval", "code": "1"}, {"do": "initial"},
        {"do": "initial", "seed": "0"}, {"do": "initial", "seed": 0.5}, {"do": "read"},
        {"do": "read", "inputs": x, "targets": None}, {"write": zeros}, {"do": "x" * 4000},
    ]  # fmt: skip
    plain = pack({"do": "write", "theta": zeros})
    nested = b"\x81\xa2do" + b"\x91" * 900 + b"\x90"
    empties = b"\x81\xa2do\xdd\x00\x7f\xff\xf0" + b"\x80" * (2**23 - 99)
    of_objects = msgpack.packb(
        {"do": "write", "theta": msgpack.ExtType(ARRAY, b"|O8\1" + b"\1" * 8)}
    )
    return [
        *map(pack, bad), b"", b"\xc1", b"\x93\1\2\3", plain[:-9], plain[:40], plain + b"\0", nested,
        b"\x81\xa2do\xdd\xff\xff\xff\xff", empties,
        b"\x81\xa2do\xc9\xff\xff\xff\xff\1", of_objects,
    ]  # fmt: skip


def row_bad_requests(folder: Path) -> Figures:
    """Send each bad request on a separate connection, one after another."""
    with scene(folder) as here:
        token, waits = here.token.read_text().strip(), [0.0]
        before, let_in = here.look()[0]["writes"], 0
        bad = bad_requests()
        for request in bad:
            link = hello(here.port, token)
            with suppress(OSError):
                unpack(link.receive(5.0))
                link.send(request, 5.0)
                link.sock.shutdown(socket.SHUT_WR)
                while True:
                    reply = unpack(link.receive(5.0))
                    let_in += not {"refused", "failed", "ended"} & set(reply)
            link.close()
            until(lambda: here.look()[0]["holder"] is None)
            waits.append(here.look()[1])
        let_in += here.look()[0]["writes"] - before
        found: Figures = {"attempts": len(bad), "breaches": let_in, "longest wait (s)": _s(waits)}
        return found | here.figures()


def frame(rng: np.random.Generator, token: str) -> bytes:
    """Return random bytes that are not a valid message, though some begin like one."""
    said = pack({"do": "look", "version": VERSION, "token": "x" * len(token)})
    spoiled = bytearray(pack({"do": "look", "version": VERSION, "trainer": "x" * 40}))
    for place in rng.integers(len(spoiled), size=3):
        spoiled[place] = rng.integers(256)
    whole = [
        rng.bytes(int(rng.integers(1, 4000))),
        LENGTH.pack(int(rng.integers(2**32))) + rng.bytes(int(rng.integers(1, 4000))),
        LENGTH.pack(len(said)) + said,
        LENGTH.pack(len(spoiled)) + bytes(spoiled),
        LENGTH.pack(4000) + b"\x91" * 4000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.bytes(500),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rng.bytes(60),
        b"GET / HTTP/1.1\r\nHost: " + b"x" * 3000,
        bytes(100_000),
    ][int(rng.integers(9))]
    return whole[: int(rng.integers(1, len(whole) + 1))] if rng.random() < 0.5 else whole


def row_frames(folder: Path, frames: int = 2400) -> Figures:
    """Send invalid frames.

    A third of the connections stay open. An honest client requests the status after every twenty
    frames.
    """
    rng, waits, let_in = np.random.default_rng(0), [0.0], 0
    with scene(folder) as here:
        token, links = here.token.read_text().strip(), deque[Link]()
        before = here.look()[0]["writes"]
        for number in range(frames):
            with suppress(OSError):
                link = connected(here.port)
                link.sock.sendall(frame(rng, token))
                links.append(link)
                if rng.random() < 0.7:
                    links.pop().close()
            while len(links) > 200:
                links.popleft().close()
            if number % 20 == 19:
                waits.append(here.look()[1])
        for link in links:
            with suppress(OSError):
                let_in += b"name" in link.receive(0.01)
            link.close()
        let_in += here.look()[0]["writes"] - before
        found: Figures = {"attempts": frames, "breaches": let_in, "longest wait (s)": _s(waits)}
        return found | here.figures()


# ------------------------------------------------------------------------------------------- floods


def only_open(port: int, token: str) -> Iterator[Any]:
    """Open connections that send nothing, and keep up to two thousand of them open."""
    del token
    held: deque[Link] = deque(maxlen=2000)
    while True:
        yield held.append(connected(port))


def trickle(port: int, token: str) -> Iterator[Any]:
    """Open connections that begin a first message and send a byte of it occasionally."""
    del token
    held: deque[Link] = deque(maxlen=1000)
    while True:
        held.append(connected(port))
        held[-1].sock.sendall(LENGTH.pack(200))
        for link in list(held)[-100::10]:
            with suppress(OSError):
                link.sock.sendall(b"\x81")
        yield


def without_key(port: int, token: str) -> Iterator[Any]:
    """Send first messages with a wrong token, one after another."""
    while True:
        link = hello(port, token[::-1])
        with suppress(OSError):
            yield b"name" in link.receive(5.0)
        link.close()


def with_key(port: int, token: str) -> Iterator[Any]:
    """Alternate looks with requests for a lease that another client holds."""
    while True:
        for do in ("look", "train"):
            link = hello(port, token, do, "other")
            with suppress(OSError):
                yield do == "train" and b"name" in link.receive(5.0)
            link.close()


def tls(port: int, token: str) -> Iterator[Any]:
    """Send the first half of a TLS handshake, which the server answers with its certificate."""
    del token
    context = ssl.create_default_context()
    held: deque[Link] = deque(maxlen=1000)
    while True:
        said = ssl.MemoryBIO()
        with suppress(ssl.SSLWantReadError):
            context.wrap_bio(ssl.MemoryBIO(), said, server_hostname="127.0.0.1").do_handshake()
        held.append(connected(port))
        yield held[-1].sock.sendall(said.read())


FLOODS = {
    "tls": tls, "open": only_open,
    "trickle": trickle, "without-key": without_key, "with-key": with_key,
}  # fmt: skip


def row_flood(kind: str, folder: Path) -> Figures:
    """Flood the server while a trainer runs and an honest client requests the status.

    Periods with and without the flood alternate, beginning and ending without it.
    """
    more: list[str] = []
    if kind == "tls":
        make_certificates(["127.0.0.1"], folder / "papers")
        (folder / "ca.pem").write_bytes((folder / "papers" / "ca.pem").read_bytes())
        more = ["--certificate", "papers/server.pem", "--key", "papers/server.key"]
        more += ["--token-file", "dither-token"]
    with scene(folder, *more) as here:
        counts = np.memmap(folder / "counts", np.int64, "w+", shape=4)
        here.role("trainer", here.address, "measure")
        until(lambda: counts[0] > 200)
        rates, waits, refused = {True: 0.0, False: 0.0}, [0.0], 0
        for flooded in (False, True, False, True, False, True, False):
            flood = here.role("flood", kind, here.port) if flooded else None
            if flood is not None:
                before = int(counts[1])
                until(lambda before=before: counts[1] > before + 1)
            done, begin = int(counts[0]), time.monotonic()
            while time.monotonic() < begin + FLOOD_SECONDS / (1 if flooded else 2):
                try:
                    waits.append(here.look()[1])
                except DitherError:
                    # the limit on looks is per address, which the flood and the client share
                    refused += kind == "with-key"
                time.sleep(0.2)
            rates[flooded] += (int(counts[0]) - done) / (time.monotonic() - begin)
            if flood is not None:
                flood.kill()
                flood.wait()
        found: Figures = {
            "attempts": int(counts[1]),
            "breaches": int(counts[2]),
            "longest wait (s)": _s(waits),
            "relative training rate": round(rates[True] / 3 / (rates[False] / 4), 3),
            **here.figures(),
        }
        return found | ({"status requests refused": refused} if refused else {})


def row_never_read(folder: Path) -> Figures:
    """Let a trainer with the key request replies of the greatest length and read none of them."""
    inputs = np.zeros((MOST_BYTES // 49 // 8 - 10, 49))
    asked = [
        pack({"do": "write", "theta": np.zeros(PARAMETERS)}),
        *[pack({"do": "read", "inputs": inputs, "targets": None})] * 119,
        *[pack({"do": "read", "inputs": np.zeros((2**16, 100), "u1"), "targets": None})] * 119,
    ]
    with scene(folder) as here:
        token, tried, unsafe, waits = here.token.read_text().strip(), 0, 0, [0.0]
        for request in (asked[1], asked[-1], bytes(28 * 2**20)):
            link = hello(here.port, token)
            with suppress(OSError):
                link.send(asked[0], 5.0)
                for _ in range(119):
                    link.send(request, 2 * LEASE)
                    tried += 1
                    waits.append(here.look()[1])
            until(lambda: here.look()[0]["holder"] is None)
            unsafe += not here.look()[0]["safe"]
            link.close()
        found: Figures = {"attempts": tried, "breaches": unsafe, "longest wait (s)": _s(waits)}
        return found | here.figures()


def row_reconnects(folder: Path, times: int = 1000) -> Figures:
    """Let a trainer take the lease, write and disconnect, repeatedly."""
    with scene(folder) as here:
        waits = []
        for _ in range(times):
            begin = time.monotonic()
            remote = RemoteObject(here.address, name="again", **here.papers)
            remote.write(np.zeros(PARAMETERS))
            waits.append(time.monotonic() - begin)
            remote.close()
        until(lambda: here.look()[0]["safe"])
        made = here.look()[0]
        lost = times + 1 - made["safe_states"]
        found: Figures = {"attempts": times, "breaches": lost, "longest wait (s)": _s(waits)}
        return found | here.figures()


# ------------------------------------------------------------------------------------------ silence


class Swallower:
    """Proxy to the server that forwards all data until it is told to drop all data."""

    def __init__(self, port: int) -> None:
        self.port, self.swallows = port, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._go, daemon=True).start()

    def _go(self) -> None:
        while True:
            here, _ = self.listener.accept()
            there = socket.create_connection(("127.0.0.1", self.port))
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(2**16):
                if not self.swallows:
                    other.sendall(data)
        if not self.swallows:
            other.close()


def row_silence(kind: str, folder: Path) -> Figures:
    """Measure the time until the device is safe, as the maximum of three trials."""
    after = []
    with scene(folder) as here:
        for number in range(3):
            counts = np.memmap(folder / "counts", np.int64, "w+", shape=4)
            way = Swallower(here.port)
            where = way.address if kind == "swallowed" else here.address
            trainer = here.role("trainer", where, kind)
            until(lambda counts=counts: counts[0] > (0 if kind == "silent" else 100))
            time.sleep(0.1 * number)
            if kind == "stopped":
                trainer.send_signal(signal.SIGSTOP)
            way.swallows = True
            since = time.time()
            until(lambda number=number: len(here.events("lost")) > number, 10 * LEASE)
            until(lambda: here.look()[0]["safe"])
            since = counts[3] / 1e6 if counts[3] else since
            after.append(here.events("safe")[-1] - since)
            trainer.send_signal(signal.SIGCONT)
            trainer.kill()
            trainer.wait()
        found = here.look()[0]
        return {
            "attempts": 3,
            "breaches": len(here.events("safe")) - found["safe_states"],
            "safe after (s)": _s(after),
            "lease (s)": LEASE,
            **here.figures(),
        }


def trainer(address: str, kind: str) -> None:
    """Train and, for some kinds, stop communicating while the process stays alive."""
    counts = np.memmap("counts", np.int64, "r+", shape=4)
    ca = Path("ca.pem") if Path("ca.pem").exists() else None
    remote = RemoteObject(address, name=kind, token_file=Path("dither-token"), ca=ca)
    x, rng = np.zeros((1, 49)), np.random.default_rng(0)
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    while True:
        remote.write(rng.uniform(-1, 1, PARAMETERS))
        if kind != "silent":
            remote.measure(x)
        counts[0] += 1
        if kind in ("hung", "debugged", "silent") and counts[0] > (150 if kind != "silent" else 0):
            counts[3] = int(time.time() * 1e6)
            if kind == "debugged":
                breakpoint()  # the prompt waits for ever
            while kind == "hung":
                pass
            time.sleep(1000)


def flood(kind: str, port: int) -> None:
    """Run a flood until killed, and count the attempts.

    The process runs at low priority, so that its processor time is not taken from the server.
    """
    if hasattr(os, "nice"):
        os.nice(15)
    counts = np.memmap("counts", np.int64, "r+", shape=4)
    begun = FLOODS[kind](port, Path("dither-token").read_text().strip())
    while True:
        try:
            counts[2] += bool(next(begun))
        except (OSError, StopIteration):
            begun = FLOODS[kind](port, Path("dither-token").read_text().strip())
        counts[1] += 1


# ---------------------------------------------------------------------------------------------- TLS


def row_tls(folder: Path) -> Figures:
    """Try invalid certificates and connections without TLS or with an old version of it.

    The certificates are missing, from another authority, expired or for another host.
    """
    for lab, days in (("ours", 9), ("theirs", 9), ("old", -1)):
        make_certificates(["127.0.0.1"], folder / lab, days)
    elsewhere = folder / "elsewhere"
    make_certificates(["192.0.2.1"], elsewhere)

    def shown(lab: str) -> dict[str, Path | None]:
        return {"certificate": folder / lab / "client.pem", "key": folder / lab / "client.key"}

    ours: dict[str, Path | None] = {"ca": folder / "ours" / "ca.pem", **shown("ours")}
    tried = let_in = told = 0
    for lab, authority, clients in [
        ("ours", "ours", [
            {"ca": ours["ca"]}, {**ours, **shown("theirs")}, {**ours, **shown("old")},
            {**ours, "ca": folder / "theirs" / "ca.pem"}, {},
        ]),
        ("ours", "old", [{**ours, **shown("old")}]),
        ("old", "ours", [{**ours, "ca": folder / "old" / "ca.pem"}]),
        ("elsewhere", "ours", [{**ours, "ca": elsewhere / "ca.pem"}]),
    ]:  # fmt: skip
        place = folder / f"{lab}-{authority}-{tried}"
        place.mkdir()
        here = Scene(
            place, "--certificate", str(folder / lab / "server.pem"), "--key",
            str(folder / lab / "server.key"), "--client-ca", str(folder / authority / "ca.pem"),
        )  # fmt: skip
        try:
            for papers in clients:
                for ask in (look, RemoteObject):
                    tried += 1
                    try:
                        ask(here.address, **papers)
                        let_in += 1
                    except RequestError as error:
                        told += "certificate" in str(error) or "TLS" in str(error)
            tried += 1
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
            old.maximum_version = ssl.TLSVersion.TLSv1_2
            try:
                old.wrap_socket(socket.create_connection(("127.0.0.1", here.port)))
                let_in += 1
            except ssl.SSLError:
                told += 1
            tracebacks = here.figures()["tracebacks"]
        finally:
            here.close()
    return {"attempts": tried, "breaches": let_in, "cause named": told, "tracebacks": tracebacks}


def _s(seconds: list[float]) -> float:
    return round(float(max(seconds)), 3)


def _of(row: Callable[[str, Path], Figures], kind: str) -> Callable[[Path], Figures]:
    return lambda folder: row(kind, folder)


ROWS: dict[str, Callable[[Path], Figures]] = {
    "Invalid requests with the token": row_bad_requests,
    "Random bytes and frames": row_frames,
    "Flood of idle connections": _of(row_flood, "open"),
    "Flood of slow first messages": _of(row_flood, "trickle"),
    "Flood of unfinished TLS handshakes": _of(row_flood, "tls"),
    "Flood of requests without the token": _of(row_flood, "without-key"),
    "Flood of requests with the token": _of(row_flood, "with-key"),
    "Long requests whose replies are never read": row_never_read,
    "Reconnections": row_reconnects,
    "Trainer hangs in its loop": _of(row_silence, "hung"),
    "Trainer stopped by SIGSTOP": _of(row_silence, "stopped"),
    "Trainer at a debugger's prompt": _of(row_silence, "debugged"),
    "Trainer silent after one write": _of(row_silence, "silent"),
    "Network drops all packets": _of(row_silence, "swallowed"),
    "TLS: certificate missing, foreign, expired or of another host; no TLS; old TLS": row_tls,
}


def main(file: Path) -> None:
    """Run the rows that are missing from the file, and add the results of each."""
    found: dict[str, Figures] = json.loads(file.read_text()) if file.exists() else {}
    for title, row in ROWS.items():
        if title not in found:
            with tempfile.TemporaryDirectory() as folder:
                begin = time.monotonic()
                figures = row(Path(folder))
            print(f"{title}: {figures} ({time.monotonic() - begin:.0f} s)", flush=True)
            found[title] = figures
            half = file.with_suffix(".part")
            half.write_text(json.dumps(found, indent=1) + "\n")
            half.replace(file)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["trainer", address, kind]:
            trainer(address, kind)
        case ["flood", kind, port]:
            flood(kind, int(port))
        case [file]:
            main(Path(file))
