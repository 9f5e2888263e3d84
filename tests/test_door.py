"""Hostile clients of a served device: nobody let in, nothing written, nobody kept waiting."""

import socket
import time
from contextlib import suppress

import numpy as np

from dither.remote.client import look
from dither.remote.link import LENGTH
from dither.remote.messages import MOST_BYTES, pack
from dither.remote.pace import Bucket, Buckets
from test_remote import Bounded, X, raw, serve, token, until  # noqa: F401  # fixtures among them


def garbage(rng, port):
    """One hostile thing done to the port; most leave a connection open, which is returned."""
    hello = LENGTH.pack(30) + rng.bytes(30)
    tail = {
        0: rng.bytes(rng.integers(1, 2000)),
        1: LENGTH.pack(2**32 - 1) + rng.bytes(rng.integers(1, 2000)),
        2: hello[: rng.integers(len(hello))],
        3: hello * 50,
        4: LENGTH.pack(0),
        5: b"\x16\x03\x01" + rng.bytes(200),
        6: b"GET / HTTP/1.1\r\nHost: " + b"x" * 3000,
    }[int(rng.integers(7))]
    link = socket.create_connection(("127.0.0.1", port), timeout=5)
    with suppress(OSError):
        link.sendall(tail)
    if rng.random() < 0.7:
        link.close()
        return None
    return link


def test_garbage_does_not_keep_the_server_from_an_honest_client(serve, token):
    device = Bounded()
    server = serve(device)
    rng = np.random.default_rng(0)
    links = [garbage(rng, server.port) for _ in range(300)]
    began = time.monotonic()
    assert look(server.address, token_file=token)["writes"] == 0
    assert time.monotonic() - began < 1
    for link in links:
        if link is not None:
            link.close()
    assert device.writes == device.calls == 0


def test_wrong_messages_with_the_token_end_the_call_and_write_nothing(serve, token):
    device = Bounded()
    server = serve(device)
    secret = token.read_text().strip()
    rng = np.random.default_rng(1)
    good = pack({"do": "write", "theta": np.full(9, 2.0)})
    for number in range(60):
        bad = [
            rng.bytes(50), good[: rng.integers(len(good))], b"", pack({"do": 3}), pack({}),
            pack({"do": "measure", "settings": np.zeros((2, 9)), "inputs": X[None], "targets": 1}),
            pack({"do": "initial", "seed": "x"}), good, pack({"do": {"do": {}}}), pack({"do": [1]}),
        ][number % 10]  # fmt: skip
        about, reply = raw(server, secret, requests=[bad])[:2]
        assert about["name"] == "Bounded"
        assert "refused" in reply or "no message" in reply["ended"]
        until(lambda: server.status()["holder"] is None)
    replies = raw(server, secret, requests=[bytes(MOST_BYTES + 1)])
    assert [reply for reply in replies if "name" not in reply] in (
        [], [{"ended": f"a message of {MOST_BYTES + 1} bytes, where {MOST_BYTES} is the most"}]
    )  # fmt: skip
    assert device.writes == device.calls == 0
    assert look(server.address, token_file=token)["holder"] is None


def test_looking_has_its_limit_and_no_debt(serve, token):
    """Twenty at once, twenty a second; who was refused often waits no longer for it."""
    server = serve(Bounded())
    secret = token.read_text().strip()
    began = time.monotonic()
    seen = [raw(server, secret, "look")[0] for _ in range(150)]
    most = 20 + 20 * (time.monotonic() - began)
    answered = sum("name" in reply for reply in seen)
    assert 20 <= answered <= most + 1
    assert {reply["ended"] for reply in seen if "name" not in reply} <= {"too many looks a second"}
    for _ in range(3):
        time.sleep(0.06)
        assert "name" in raw(server, secret, "look")[0]


def test_a_bucket_takes_nothing_for_what_it_refuses(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    bucket = Bucket(2.0)
    assert [bucket.take() for _ in range(100)] == [0.0] * 2 + [0.5] * 98
    now[0] = 0.25
    assert bucket.take() == 0.25
    now[0] = 0.5
    assert bucket.take() == 0.0
    now[0] = 100.0
    assert [bucket.take() for _ in range(3)] == [0.0, 0.0, 0.5]
    buckets = Buckets(1.0)
    assert [buckets.take(client) for client in "aabab"] == [0.0, 1.0, 0.0, 1.0, 1.0]
