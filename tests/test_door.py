# ruff: noqa: F811
"""Hostile clients of a served device: nobody let in, nothing written, nobody kept waiting."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress

import numpy as np
import psutil
import pytest

import dither
from dither import RunError, Until
from dither.instruments.network import RemoteDevice
from dither.instruments.python import PythonDevice
from dither.remote.client import LeaseWarning, RemoteObject, look
from dither.remote.door import PLACES, PLACES_OF_ONE, place_of
from dither.remote.link import LENGTH, Link
from dither.remote.messages import MOST_BYTES, pack, unpack
from dither.remote.pace import Bucket, Buckets
from dither.remote.security import VERSION
from dither.tasks import XOR
from test_remote import ALGORITHM, Bounded, X, raw, serve, token, until  # noqa: F401

# -------------------------------------------------------------------------------------- the silence

TRAINER = """
import sys, threading, time
import numpy as np
from pathlib import Path
from dither.remote.client import RemoteObject
address, token, kind = sys.argv[1:]
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
remote = RemoteObject(address, token_file=Path(token), name="ann")
for k in range(1 if kind == "silent" else 10**9):
    remote.write(np.full(9, 0.01 * (k % 100)))
    if kind != "silent":
        remote.measure(np.zeros((2, 2)))
    if k == 200 and kind in ("hung", "debugged"):
        break
print("silent", flush=True)
if kind == "debugged":
    breakpoint()
while kind == "hung":
    pass
time.sleep(60)
"""


class Swallower:
    """A way to a server that forwards everything, until it swallows everything."""

    def __init__(self, port):
        self.port, self.swallows = port, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.go, daemon=True).start()

    def go(self):
        here, there = self.listener.accept()[0], socket.create_connection(("127.0.0.1", self.port))
        for one, other in ((here, there), (there, here)):
            threading.Thread(target=self.forward, args=(one, other), daemon=True).start()
        self.ends = here, there

    def forward(self, one, other):
        with suppress(OSError):
            while data := one.recv(2**16):
                if not self.swallows:
                    other.sendall(data)

    def close(self):
        for end in (*self.ends, self.listener):
            end.close()


@pytest.mark.parametrize("kind", ["hung", "stopped", "debugged", "silent", "swallowed"])
def test_a_silent_trainer_that_lives_leaves_a_safe_device_within_the_lease(serve, token, kind):
    device = Bounded()
    server = serve(device, lease=1.0)
    way = Swallower(server.port) if kind == "swallowed" else None
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER, way.address if way else server.address, str(token), kind],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        if kind in ("stopped", "swallowed"):
            until(lambda: device.writes > 200)
            assert device.made_safe == 0
            trainer.send_signal(signal.SIGSTOP) if way is None else setattr(way, "swallows", True)
        else:
            assert trainer.stdout.readline() == b"silent\n"
        waited = until(lambda: device.made_safe == 1, seconds=10)
        assert waited < 1.1
        assert waited > 0.5
        assert trainer.poll() is None
        assert psutil.Process(trainer.pid).status() != psutil.STATUS_ZOMBIE
    finally:
        trainer.kill()
        trainer.communicate()
        if way is not None:
            way.close()
    writes = device.writes
    assert writes >= 1
    until(lambda: server.status()["holder"] is None)
    assert server.status()["safe"]
    assert device.writes == writes


def test_bytes_that_trickle_are_no_work(serve, token):
    """A request that never becomes whole does not hold the lease."""
    device = Bounded()
    server = serve(device, lease=1.0)
    link = Link(socket.create_connection(("127.0.0.1", server.port)))
    secret = token.read_text().strip()
    link.send(pack({"do": "train", "version": VERSION, "token": secret}), 5.0)
    assert unpack(link.receive(5.0))["lease"] == 1.0
    link.send(pack({"do": "write", "theta": np.zeros(9)}), 5.0)
    assert unpack(link.receive(5.0)) == {}
    began = time.monotonic()
    link.sock.sendall(LENGTH.pack(1000))
    while device.made_safe == 0:
        with suppress(OSError):
            link.sock.sendall(b"x")
        time.sleep(0.02)
    assert 0.8 < time.monotonic() - began < 1.1
    link.close()


def test_who_was_silent_is_told_and_programs_the_device_again(serve, token):
    device = Bounded()
    server = serve(device, lease=0.4)
    remote = RemoteObject(server.address, token_file=token, patience=5.0)
    until(lambda: server.status()["holder"] is None)
    theta = np.linspace(-1, 1, 9)
    remote.write(theta)  # nothing was written before, so that nothing was lost
    before = remote.measure(X)
    for _ in range(8):
        time.sleep(0.15)
        assert remote.renew_lease()
    assert device.made_safe == 0
    until(lambda: device.made_safe == 1)
    device.theta = np.zeros(9)
    with pytest.raises(ConnectionError, match=r"the trainer sent nothing for 0\.36 s"):
        remote.measure(X)
    assert np.array_equal(remote.measure(X), before)
    until(lambda: device.made_safe == 2)
    with pytest.warns(LeaseWarning, match=r"for 0\.36 s\); it is programmed again"):
        assert not remote.renew_lease()
    other = RemoteObject(server.address, token_file=token, name="bob", patience=5.0)
    remote.patience = 0.1
    with pytest.raises(RunError, match="held by bob"):
        remote.measure(X)
    other.safe()
    remote.close()


@pytest.mark.quick("0.7")
@pytest.mark.parametrize("pause", [0.7, 2.6])
def test_a_loop_with_slow_steps_keeps_its_lease_or_is_told(serve, token, tmp_path, pause):
    """Steps within the lease of 2 s cost nothing; a longer one costs writes, no measurement."""
    far, near, slow = Bounded(), Bounded(), iter([pause] * 2)

    def train(device, *observers):
        return dither.train(
            device, XOR(batch=2), ALGORITHM, key=1, until=Until(measurements=2000),
            score_every=400, observers=observers,
        )  # fmt: skip

    alone = train(near)
    server = serve(far, lease=2.0)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        remote = train(
            RemoteDevice(address=server.address, token_file=token),
            lambda _: time.sleep(next(slow, 0.0)),
        )
    events = [json.loads(line)["event"] for line in (tmp_path / "record").read_text().splitlines()]
    lapsed = pause > 2.0
    assert ("lost" in events) == lapsed
    assert any(issubclass(one.category, LeaseWarning) for one in told) == lapsed
    assert np.array_equal(remote.parameters, alone.parameters)
    assert remote.ledger["failed"] == alone.ledger["failed"] == 0
    assert remote.ledger["measurements"] == alone.ledger["measurements"]
    assert alone.ledger["writes"] <= remote.ledger["writes"] <= alone.ledger["writes"] + 4


class Slow(Bounded):
    """Takes 20 ms to measure."""

    def measure(self, inputs):
        time.sleep(0.02)
        return super().measure(inputs)


def test_a_block_longer_than_half_the_lease_goes_in_parts(serve, token):
    device = Slow()
    server = serve(device, lease=0.4)
    remote = RemoteObject(server.address, token_file=token)
    settings = np.random.default_rng(0).uniform(-1, 1, (40, 9))
    batches = np.stack([X] * 40)
    assert len(list(remote.measure_block(settings, batches, batches))) == 40
    assert np.array_equal(device.received, settings)
    assert server.record.measurements == 40
    assert device.made_safe == 0
    remote.safe()


class InOneCall(Slow):
    """Measures a block in one call."""

    blocks = 0

    def measure_block(self, settings, inputs, _targets):
        self.blocks += 1
        readings = []
        for theta, x in zip(settings, inputs):
            self.write(theta)
            readings.append(self.measure(x))
        return readings


def test_a_block_that_is_one_call_is_not_made_twice(serve, token, monkeypatch):
    """It may take longer than half the lease; where its readings are too long it goes in parts."""
    device = InOneCall()
    remote = RemoteObject(serve(device, lease=0.4).address, token_file=token)
    settings = np.random.default_rng(0).uniform(-1, 1, (20, 9))
    batches = np.stack([X] * 20)
    readings = list(remote.measure_block(settings, batches, batches))
    assert (device.blocks, len(readings)) == (1, 20)
    monkeypatch.setattr("dither.remote.gate.MOST_BYTES", 4000)  # of 9 readings, 2 x 200 bytes each
    parts = list(remote.measure_block(settings, batches, batches))
    assert device.blocks > 2
    assert np.array_equal(parts, readings)
    remote.safe()


def test_after_a_block_that_was_not_read_to_its_end_it_is_not_sure_what_is_held():
    device = InOneCall()
    chip = PythonDevice(device)
    first, batches = np.zeros(9), np.stack([X, X])
    chip.write(first)
    readings = chip.measure_block(np.stack([first, first + 0.5]), batches, batches)
    next(readings)
    readings.close()
    chip.write(first)
    assert np.array_equal(device.theta, first)


# -------------------------------------------------------------------------------------- the memory

BIG = """
import numpy as np
class Big:
    parameters = 9
    def write(self, theta):
        pass
    def measure(self, inputs):
        return np.zeros((len(inputs), 16))
"""


@pytest.mark.long
def test_replies_that_are_never_read_take_no_memory(token, tmp_path):
    (tmp_path / "lab.py").write_text(BIG)
    server = subprocess.Popen(
        [
            sys.executable, "-m", "dither.remote", "lab.py:Big", "--listen", "127.0.0.1:0",
            "--token-file", str(token), "--lease", "1",
        ],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        address = server.stdout.readline().rpartition("remote://")[2].strip()
        port, process = int(address.rpartition(":")[2]), psutil.Process(server.pid)
        look(address, token_file=token)
        rest, most, sent = process.memory_info().rss, 0, 0
        requests = [
            {"do": "read", "inputs": np.zeros((MOST_BYTES // 800 - 9, 100)), "targets": None},
            {"do": "read", "inputs": np.zeros((2**16, 100), "u1"), "targets": None},
            {"do": "measure", "settings": np.zeros((80_000, 9)), "inputs": np.zeros((80_000, 1, 1)),
             "targets": None},
            {"a": bytes(28 * 2**20)},
        ]  # fmt: skip
        for request in requests:
            link = Link(socket.create_connection(("127.0.0.1", port)))
            hello = {"do": "train", "version": VERSION, "token": token.read_text().strip()}
            link.send(pack(hello), 5.0)
            message = pack(request)
            with suppress(OSError):
                link.send(pack({"do": "write", "theta": np.zeros(9)}), 5.0)
                for _ in range(120):
                    link.send(message, 0.5)
                    sent += 1
                    most = max(most, process.memory_info().rss)
            for _ in range(10):
                most = max(most, process.memory_info().rss)
                time.sleep(0.03)
            link.close()
            until(lambda: look(address, token_file=token)["holder"] is None or time.sleep(0.1))
        assert sent > 3
        assert most - rest < 64 * 2**20
    finally:
        server.terminate()
        server.communicate(timeout=20)


# ---------------------------------------------------------------------------------------- the door


def test_connections_that_only_open_keep_nobody_waiting(serve, token):
    device = Bounded()
    server = serve(device)
    trainer = RemoteObject(server.address, token_file=token, name="ann")
    held, waits = [], []
    for number in range(1500):  # more than there are places
        held.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        if number % 150 == 149:
            began = time.monotonic()
            assert look(server.address, token_file=token)["holder"] == "ann"
            waits.append(time.monotonic() - began)
            trainer.write(np.full(9, number / 1500))
    assert max(waits) < 1.0
    assert device.writes == 10
    assert len(server.door.callers) <= PLACES_OF_ONE
    for link in held:
        link.close()
    until(lambda: not server.door.callers)
    assert server.status()["holder"] == "ann"
    trainer.safe()


def test_one_address_takes_no_place_of_another(serve):
    """Of 127.0.0.k, the first fills its own places only, and all together the door's."""
    server = serve(Bounded())
    held = []

    def standing():
        places = [caller.place for caller in list(server.door.callers)]
        return {place: places.count(place) for place in places}

    others = [f"127.0.{k}.3" for k in range(255)]
    for address in ["127.0.0.2"] * 300 + others + ["127.0.0.4"] * 20:
        link = socket.socket()
        link.bind((address, 0))
        link.connect(("127.0.0.1", server.port))
        held.append(link)
        if len(held) == 300:
            until(lambda: standing() == {"127.0.0.2": PLACES_OF_ONE})
    until(lambda: standing().get("127.0.0.4") == 20)
    assert sum(standing().values()) == PLACES
    assert standing()["127.0.0.2"] < PLACES_OF_ONE
    for link in held:
        link.close()


def test_who_does_not_show_a_key_in_time_is_sent_away(serve, monkeypatch):
    monkeypatch.setattr("dither.remote.door.SECONDS_TO_SHOW", 0.3)
    server = serve(Bounded())
    link = socket.create_connection(("127.0.0.1", server.port), timeout=5)
    link.sendall(LENGTH.pack(100))
    began = time.monotonic()
    assert link.recv(100) == b""
    assert 0.2 < time.monotonic() - began < 1.0
    link.close()


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:9::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_what_counts_as_one_address(address, place):
    assert place_of(address) == place


# ---------------------------------------------------------------------------------------- the fuzz


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
        assert "refused" in reply or "not a message" in reply["ended"]
        until(lambda: server.status()["holder"] is None)
    replies = raw(server, secret, requests=[bytes(MOST_BYTES + 1)])
    assert [reply for reply in replies if "name" not in reply] in (
        [],
        [{"ended": f"a message of {MOST_BYTES + 1} bytes, but at most {MOST_BYTES} are allowed"}],
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
    assert {reply["ended"] for reply in seen if "name" not in reply} <= {
        "too many status requests per second"
    }
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
