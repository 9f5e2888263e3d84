"""Hostile frames against a served device: `python benchmarks/fuzz_remote.py [FRAMES]`.

Garbage, oversized, truncated and slow connections, calls without and with a wrong token, and
messages that are none with the right one. Every hundredth is followed by an honest client that
looks and writes. Prints one JSON object: how long honest clients waited, the server's memory.
"""

import json
import os
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

from dither.remote.client import RemoteObject, look
from dither.remote.messages import pack
from remote_speed import LAB, PARAMETERS, serve

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"


def connect(port: int, data: bytes) -> socket.socket | None:
    """A connection on which some bytes were sent."""
    link = None
    with suppress(OSError):
        link = socket.create_connection(("127.0.0.1", port), timeout=5)
        link.sendall(data)
    return link


def frame(rng: np.random.Generator) -> bytes:
    """Bytes that are no HTTP/2, or begin as if they were."""
    whole = {
        0: rng.bytes(int(rng.integers(1, 4000))),
        1: PREFACE + rng.bytes(int(rng.integers(1, 4000))),
        2: PREFACE + SETTINGS + b"\xff\xff\xff" + rng.bytes(6) + bytes(100_000),
        3: PREFACE + SETTINGS + b"\0\1\0\1\4\0\0\0\1" + rng.bytes(256),
        4: PREFACE + SETTINGS + b"\0\0\x08\6\0\0\0\0\0\0\0\0\0\0\0\0\0" * 200,
        5: PREFACE + SETTINGS + b"\0\0\4\x08\0\0\0\0\0\xff\xff\xff\xff",
        6: PREFACE + (SETTINGS[:3] + b"\4\0\0\0\0\0") * 500,
        7: b"GET / HTTP/1.1\r\nHost: " + b"x" * 3000,
    }[int(rng.integers(8))]
    return whole[: int(rng.integers(1, len(whole) + 1))] if rng.random() < 0.5 else whole


def call(channel: grpc.Channel, token: str, data: bytes) -> str:
    """The code with which a call of the service ends."""
    metadata = [("authorization", f"Bearer {token}"), ("trainer", "fuzz")]
    with suppress(StopIteration):
        try:
            for _ in channel.stream_stream("/dither.Device/Train")(
                iter([data]), metadata=metadata, timeout=10
            ):
                pass
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def main(frames: int) -> None:
    """Attack, and print what came of it."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process, address = serve(folder, LAB, "--record", "record")
        token_file, port = folder / "dither-token", int(address.rpartition(":")[2])
        token, server = token_file.read_text().strip(), psutil.Process(process.pid)
        good = pack({"do": "write", "theta": np.zeros(PARAMETERS)})
        outside = pack({"do": "write", "theta": np.full(PARAMETERS, 2.0)})
        waits: list[float] = []
        memory: list[int] = []
        ends: dict[str, int] = {}
        open_links: list[socket.socket] = []
        honest = 0

        def ask_honestly() -> None:
            nonlocal honest
            begin = time.perf_counter()
            look(address, token_file=token_file)
            remote = RemoteObject(address, token_file=token_file, patience=10.0, name="fuzz")
            remote.write(np.zeros(PARAMETERS))
            waits.append(time.perf_counter() - begin)
            remote.safe()
            remote.close()
            honest += 1

        channel = grpc.insecure_channel(address)
        for number in range(frames):
            kind = rng.random()
            if kind < 0.6:
                link = connect(port, frame(rng))
                if link is not None and rng.random() < 0.3:
                    open_links.append(link)  # slow: a part was sent, and no more comes
                elif link is not None:
                    link.close()
                if len(open_links) > 100:
                    open_links.pop(0).close()
            else:
                secret = token if kind > 0.8 else str(rng.bytes(20).hex())
                data: Any = [
                    rng.bytes(int(rng.integers(1, 3000))),
                    good[: int(rng.integers(len(good)))],
                    outside,
                    b"",
                ][int(rng.integers(4))]
                if rng.random() < 0.01:
                    data = bytes(2**26)  # twice the longest message
                end = call(channel, secret, data)
                what = ("token " if secret == token else "no token ") + end
                ends[what] = ends.get(what, 0) + 1
            if number % 100 == 99:
                ask_honestly()
                memory.append(server.memory_info().rss)
        for link in open_links:
            link.close()
        channel.close()
        seen = look(address, token_file=token_file)
        process.terminate()
        process.wait(20)
    quarter = max(1, len(memory) // 4)
    found = {
        "frames": frames,
        "ends": dict(sorted(ends.items())),
        "honest_clients": honest,
        "honest_wait_median_s": round(float(np.median(waits)), 4),
        "honest_wait_longest_s": round(max(waits), 4),
        "memory_MiB": [
            round(float(np.mean(part)) / 2**20, 1)
            for part in (memory[:quarter], memory[quarter : 2 * quarter], memory[-quarter:])
        ],
        "writes": seen["writes"],
        "writes_by_honest_clients": honest,
        "refused": seen["refused"],
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
