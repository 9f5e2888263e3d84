"""A device on the network: the same run, one trainer, nothing outside the bounds, nobody else."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dither
from dither import RequestError, RunError, Until
from dither.instruments.network import RemoteDevice
from dither.instruments.python import PythonDevice
from dither.remote import read_record
from dither.remote.certificates import make_certificates
from dither.remote.client import RemoteObject, look
from dither.remote.link import Link
from dither.remote.messages import MessageError, pack, unpack
from dither.remote.security import TOKEN_VARIABLE, VERSION, same_token, token_of
from dither.remote.serve import _aside, served_device
from dither.remote.server import DeviceServer
from dither.tasks import XOR
from dither.testing.devices import FlakyDevice, NumpyDevice

ROOT = Path(__file__).parents[1]
X = np.array([[0.0, 1.0], [1.0, 1.0]])
ALGORITHM = dither.WeightMGD(learning_rate=0.05, delta=0.01, code={"kind": "walsh"}, tau_theta=32)


class Bounded(NumpyDevice):
    """Nine parameters that must stay within (-1, 1)."""

    bounds = (-1.0, 1.0)

    def __init__(self, **settings):
        super().__init__((2, 2, 1), **settings)


@pytest.fixture
def token(tmp_path):
    file = tmp_path / "token"
    token_of(file)
    return file


@pytest.fixture
def serve(tmp_path, token):
    """Serves devices over loopback until the test is over."""
    servers = []

    def start(device, **settings):
        settings = {"token_file": token, "record": tmp_path / "record", **settings}
        server = DeviceServer(PythonDevice(device), **settings)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


def until(true, seconds=30.0):
    """Seconds until it is true."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds
        time.sleep(0.005)
    return time.monotonic() - began


def same_run(one, two):
    assert np.array_equal(one.parameters, two.parameters)
    # the mean cost is summed in single precision over blocks that the clock has cut
    assert np.allclose(one.history["cost"], two.history["cost"], rtol=1e-5)
    out = ["wall_seconds", "device_seconds", "cost"]
    assert one.history.drop(columns=out).equals(two.history.drop(columns=out))
    counts = ("measurements", "writes", "samples", "failed")
    assert [one.ledger[n] for n in counts] == [two.ledger[n] for n in counts]


def raw(server, token, method="train", trainer="raw", requests=()):
    """All that the server answers to a first message and some that follow it, made by hand."""
    link = Link(socket.create_connection(("127.0.0.1", server.port), timeout=10))
    hello = {"do": method, "trainer": trainer, "version": VERSION}
    replies = []
    with suppress(OSError):
        link.send(pack(hello if token is None else {**hello, "token": token}), 10.0)
        for request in requests:
            link.send(request, 10.0)
        link.sock.shutdown(socket.SHUT_WR)
    with suppress(OSError):
        while True:
            replies.append(unpack(link.receive(10.0)))
    link.close()
    return replies


# ----------------------------------------------------------------------------- the same as without


@pytest.mark.quick("0.1")
@pytest.mark.parametrize("share", [0.0, 0.1])
def test_a_run_through_the_network_is_the_run_without_it(serve, token, share):
    start = np.linspace(-0.5, 0.5, 9)

    def device():
        return FlakyDevice(share, 3, last=900, widths=(2, 2, 1), initial=start)

    def train(at):
        return dither.train(
            at, XOR(batch=2), ALGORITHM, key=1, until=Until(measurements=1000), score_every=200
        )

    near, far = device(), device()
    server = serve(far)
    alone = train(near)
    remote = train(RemoteDevice(address=server.address, token_file=token))
    same_run(alone, remote)
    assert (alone.ledger["failed"] > 50) == (share > 0)
    assert np.array_equal(near.received, far.received)
    assert near.calls == far.calls
    # a setting that was asked for and is held already is not written again
    assert far.writes <= server.record.writes <= far.writes + 20
    assert far.made_safe == 1


class Block(Bounded):
    """Measures many settings in one call, the third of all blocks of which fails at its second."""

    blocks = 0

    def measure_block(self, settings, inputs, targets):
        assert len(settings) == len(inputs) == len(targets)
        self.blocks += 1
        readings = []
        for theta, x in zip(settings, inputs):
            self.write(theta)
            readings.append(self.measure(x))
        if self.blocks == 3:
            readings[1] = readings[1] * np.nan
        return readings


def test_blocks_are_measured_in_one_call_and_give_the_same_run():
    until_ = Until(measurements=320)
    block = Block()
    one = dither.train(Bounded(), XOR(batch=2), ALGORITHM, until=until_, score_every=100)
    two = dither.train(block, XOR(batch=2), ALGORITHM, until=until_, score_every=100)
    assert two.ledger["failed"] == 1
    assert one.ledger["measurements"] == two.ledger["measurements"] == 320
    assert block.blocks < 40
    # the run with a failure has one measurement less to learn from
    assert np.allclose(one.parameters, two.parameters, atol=0.1)
    block = Block()
    block.blocks = 3
    three = dither.train(block, XOR(batch=2), ALGORITHM, until=until_, score_every=100)
    same_run(one, three)


class CostDevice:
    """Shows only how wrong it is."""

    parameters, bounds, bits = {"a": (2, 2), "b": (3,)}, (-2.0, 2.0), 4

    def write(self, theta):
        self.theta = theta

    def cost(self, inputs, targets):
        return float(np.sum(self.theta**2) + np.mean((inputs - targets) ** 2))

    def initial(self, seed):
        return np.full(7, 0.1 * seed)


def test_all_that_a_device_says_of_itself_reaches_the_trainer(serve, token):
    server = serve(CostDevice())
    near = PythonDevice(CostDevice())
    far = RemoteDevice(address=server.address, token_file=token).connect()
    assert far.space == near.space
    assert far.access_level == near.access_level
    assert far.name == near.name
    assert np.array_equal(far.initial(3), near.initial(3))
    x, y = X, X[::-1].copy()
    theta = np.linspace(-1, 1, 7)
    for device in (near, far):
        device.write(theta)
        device.program(np.array([0.5, -0.5]), np.array([6, 0]))
    assert far.measure(x, y) == near.measure(x, y)
    settings, blocks = np.stack([theta, -theta]), (np.stack([x, y]), np.stack([y, x]))
    assert list(far.measure_block(settings, *blocks)) == list(near.measure_block(settings, *blocks))
    far.safe()


def test_a_block_longer_than_a_message_goes_in_parts(serve, token, monkeypatch):
    device = Bounded()
    server = serve(device)
    remote = RemoteObject(server.address, token_file=token)
    monkeypatch.setattr("dither.remote.client.MOST_BYTES", 1000)
    settings = np.random.default_rng(0).uniform(-1, 1, (20, 9))
    batches = np.stack([X] * 20)
    readings = list(remote.measure_block(settings, batches, batches))
    assert np.array_equal(device.received, settings)
    for theta, reading in zip(settings, readings, strict=True):
        device.theta = theta
        assert np.array_equal(reading, device.forward(X))
    remote.close()


def test_messages_come_back_as_they_were():
    for dtype in ("f8", "f4", "i8", "u1", "?"):
        array = np.arange(12).reshape(3, 4).astype(dtype)
        back = unpack(pack({"a": array, "n": None, "s": [1, 2.5, "x"]}))
        assert back["a"].dtype == array.dtype
        assert np.array_equal(back["a"], array)
        back["a"][0, 0] = 1  # writable
        assert back["s"] == [1, 2.5, "x"]


def test_what_is_no_message_is_refused():
    good = pack({"a": np.zeros(3)})
    rng = np.random.default_rng(0)
    for _ in range(2000):
        bad = bytearray(good)
        for place in rng.integers(len(bad), size=3):
            bad[place] = rng.integers(256)
        for data in (bytes(bad), good[: rng.integers(len(good))], rng.bytes(30)):
            try:
                message = unpack(data)
            except MessageError:
                continue
            assert isinstance(message, dict)


# -------------------------------------------------------------------------------------- the bounds


@pytest.mark.parametrize(
    ("theta", "why"),
    [
        (np.full(9, 1.0000001), "exceeds the bounds"),
        (np.full(9, 1e308), "exceeds the bounds"),
        (np.full(9, np.nan), "NaN"),
        (np.r_[np.zeros(8), -np.inf], "NaN or infinity"),
        (np.zeros(8), r"shape \(8,\) instead of \(9,\)"),
        (np.zeros((1, 9)), "shape"),
        (np.zeros(9, np.float32), "doubles"),
        (np.zeros(0), "shape"),
        ("zeros", "doubles"),
        (None, "doubles"),
    ],
)
def test_a_write_that_the_device_must_not_see_is_refused(serve, token, theta, why, tmp_path):
    device = Bounded()
    server = serve(device)
    remote = RemoteObject(server.address, token_file=token)
    with pytest.raises(RunError, match=why):
        remote._ask({"do": "write", "theta": theta})
    block = theta if not isinstance(theta, np.ndarray) or theta.ndim > 1 else theta[None]
    if np.shape(theta) == (9,) and isinstance(theta, np.ndarray):
        block = np.stack([np.zeros_like(theta), theta])  # a good one first
    batches = X[None] if np.shape(theta) == (1, 9) else np.stack([X, X])
    batches = batches[:0] if np.shape(theta) == (1, 9) else batches
    with pytest.raises(RunError, match="refused the request"):
        remote._ask({"do": "measure", "settings": block, "inputs": batches, "targets": None})
    assert device.writes == 0
    assert server.record.refused == 2
    assert "refused" in (tmp_path / "record").read_text()
    remote.write(np.ones(9))  # the bounds themselves are inside
    assert device.writes == 1
    remote.close()


@pytest.mark.parametrize(
    ("places", "values"),
    [([9], [0.0]), ([-1], [0.0]), ([0, 1], [0.0]), ([0], [1.5]), ([0.5], [0.0]), ([], [])],
)
def test_a_write_of_some_parameters_is_checked_too(serve, token, places, values):
    device = Bounded()
    remote = RemoteObject(serve(device).address, token_file=token)
    with pytest.raises(RunError, match="safe state"):
        remote.write_at(np.array([0]), np.array([0.5]))
    remote.write(np.zeros(9))
    with pytest.raises(RunError, match="refused the request"):
        remote._ask({"do": "write_at", "places": np.array(places), "values": np.array(values)})
    assert device.writes == 1
    remote.write_at(np.array([8, 2]), np.array([0.5, -0.5]))
    assert np.array_equal(device.theta, [0, 0, -0.5, 0, 0, 0, 0, 0, 0.5])
    remote.close()


def test_the_record_counts_and_spans_what_was_written(serve, token, tmp_path):
    device = Bounded()
    server = serve(device)
    remote = RemoteObject(server.address, token_file=token)
    settings = np.random.default_rng(0).uniform(-1, 1, (70, 9))
    batches = np.stack([X] * 64)
    list(remote.measure_block(settings[:64], batches, batches))
    for theta in settings[64:]:
        remote.write(theta)
    remote.safe()
    server.stop()
    lines = [json.loads(line) for line in (tmp_path / "record").read_text().splitlines()]
    account = next(line for line in lines if line["event"] == "account")
    assert account["writes"] == device.writes == 70
    assert account["measurements"] == 64
    assert account["least"] == settings.min(axis=0).tolist()
    assert account["greatest"] == settings.max(axis=0).tolist()
    assert [line["event"] for line in lines] == ["start", "lease", "safe", "left", "account"]
    assert account["unrecorded"] == 0
    writes = read_record(tmp_path / "record")
    assert np.array_equal(writes.values, settings)
    assert set(writes.clients) == {lines[1]["name"]}


# --------------------------------------------------------------------------------------- the lease


def test_one_trains_and_others_look(serve, token):
    device = Bounded()
    server = serve(device)
    first = RemoteObject(server.address, token_file=token, name="ann")
    first.write(np.zeros(9))
    with pytest.raises(RunError, match="held by ann since 20"):
        RemoteObject(server.address, token_file=token, name="bob", patience=0.2)
    seen = look(server.address, token_file=token)
    assert (seen["holder"], seen["writes"], seen["safe"]) == ("ann", 1, False)
    first.safe()
    assert device.made_safe == 1
    second = RemoteObject(server.address, token_file=token, name="bob", patience=2.0)
    assert look(server.address, token_file=token)["holder"] == "bob"
    second.close()


TRAINER = """
import sys
import numpy as np
from pathlib import Path
from dither.remote.client import RemoteObject
remote = RemoteObject(sys.argv[1], token_file=Path(sys.argv[2]), name="ann")
batches = np.zeros((64, 2, 2))
settings = np.linspace(0.0, 1.0, 64)[:, None] * np.ones(9)
print("begun", flush=True)
while True:
    list(remote.measure_block(settings, batches, batches))
"""


@pytest.mark.parametrize(("blow", "within"), [("SIGKILL", 1.0), ("SIGSTOP", 2.5)])
def test_a_trainer_that_vanishes_leaves_a_safe_device(serve, token, blow, within):
    device = Bounded()
    server = serve(device, lease=2.0)
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER, server.address, str(token)], stdout=subprocess.PIPE
    )
    assert trainer.stdout.readline() == b"begun\n"
    until(lambda: device.writes > 500)
    assert device.made_safe == 0
    trainer.send_signal(getattr(signal, blow))
    assert until(lambda: device.made_safe == 1, seconds=20) < within
    until(lambda: server.status()["holder"] is None)
    writes = device.writes
    # it may come back at once; another must wait for 2 s
    with pytest.raises(RunError, match="held by ann"):
        RemoteObject(server.address, token_file=token, name="bob", patience=0.0)
    assert device.writes == writes
    ann = RemoteObject(server.address, token_file=token, name="ann", patience=0.0)
    ann.close()
    until(lambda: server.status()["holder"] is None)
    RemoteObject(server.address, token_file=token, name="bob", patience=5.0).close()
    trainer.kill()
    trainer.communicate()
    assert device.writes == writes


def test_after_a_lost_connection_the_device_is_programmed_again(serve, token):
    device = Bounded()
    server = serve(device)
    remote = RemoteObject(server.address, token_file=token, patience=10.0)
    theta = np.linspace(-1, 1, 9)
    remote.write(theta)
    before = remote.measure(X)
    port = server.port
    server.stop()
    assert device.made_safe == 1
    device.theta = np.zeros(9)
    with pytest.raises(ConnectionError, match="lost"):
        remote.measure(X)
    again = serve(device, listen=f"127.0.0.1:{port}")
    assert np.array_equal(remote.measure(X), before)
    assert again.record.writes == 1
    remote.write_at(np.array([0]), np.array([0.0]))
    assert np.array_equal(device.theta, np.r_[0.0, theta[1:]])
    remote.close()


class Hanging(Bounded):
    """Hangs in its fifth measurement until it is let go."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()

    def measure(self, inputs):
        if self.calls == 4 and not self.go.is_set():
            self.go.wait(60)
        return super().measure(inputs)


def test_a_device_that_hangs_is_made_safe_when_it_comes_back(serve, token):
    device = Hanging()
    server = serve(device, timeout=0.5)
    remote = RemoteObject(server.address, token_file=token, patience=0.1)
    batches, settings = np.stack([X] * 64), np.linspace(0.0, 0.9, 64)[:, None] * np.ones(9)
    began = time.monotonic()
    with pytest.raises(ConnectionError, match=r"not answered for 0\.5 s"):
        list(remote.measure_block(settings, batches, batches))
    assert time.monotonic() - began < 3
    with pytest.raises(RunError, match="held by"):
        remote.measure(X)
    assert look(server.address, token_file=token)["safe"] is False
    device.go.set()
    until(lambda: device.made_safe == 1)
    assert device.writes == 5  # not the rest of the block
    remote.patience = 5.0
    assert len(list(remote.measure_block(settings, batches, batches))) == 64
    remote.close()


def test_a_trainer_in_a_hurry_is_slowed_down(serve, token):
    remote = RemoteObject(serve(Bounded(), rate=50.0).address, token_file=token)
    began = time.monotonic()
    for _ in range(100):
        remote.write(np.zeros(9))
    assert time.monotonic() - began > 0.9
    remote.close()


# ---------------------------------------------------------------------------------- nobody else


def test_without_the_token_nothing_is_answered(serve, token, monkeypatch, tmp_path):
    device = Bounded()
    server = serve(device)
    wrong = tmp_path / "wrong"
    token_of(wrong)
    secret = token.read_text().strip()
    for file in (None, wrong):
        for ask in (RemoteObject, look):
            with pytest.raises(RequestError, match="refuses the token") as refusal:
                ask(server.address, token_file=file)
            assert secret not in str(refusal.value)
    write = pack({"do": "write", "theta": np.zeros(9)})
    for given in (None, "", secret[:-1], secret + "x", secret.swapcase()):
        for method in ("train", "look"):
            replies = raw(server, given, method, requests=[write] * 3)
            assert replies == [{"ended": "no valid token", "why": "token"}]
    assert device.writes == device.calls == 0
    assert server.status()["holder"] is None
    assert secret not in (tmp_path / "record").read_text()
    monkeypatch.setenv(TOKEN_VARIABLE, secret)
    RemoteObject(server.address).close()


def test_tokens_are_compared_whole():
    assert same_token("a" * 30, "a" * 30)
    assert not same_token("a" * 30, "a" * 29)
    assert not same_token("", "a" * 30)


def test_a_token_file_is_for_its_owner_alone(tmp_path):
    file = tmp_path / "token"
    token = token_of(file)
    assert token == token_of(file)
    assert len(token) > 40
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    with pytest.raises(RequestError, match="read by others; run chmod 600"):
        token_of(file)
    short = tmp_path / "short"
    short.touch(0o600)
    short.write_text("secret")
    with pytest.raises(RequestError, match="at least 20") as refusal:
        token_of(short)
    assert "secret" not in str(refusal.value).replace(str(short), "")


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    """Certificates of two labs, and some that have expired."""
    folder = tmp_path_factory.mktemp("papers")
    for lab, days in (("ours", 9), ("theirs", 9), ("old", -1)):
        make_certificates(["127.0.0.1", "localhost"], folder / lab, days)
    return folder


def test_certificates_on_both_sides(serve, papers):
    ours, theirs = papers / "ours", papers / "theirs"
    device = Bounded()
    server = serve(
        device, token_file=None, certificate=ours / "server.pem", key=ours / "server.key",
        client_ca=ours / "ca.pem",
    )  # fmt: skip
    mine = {"ca": ours / "ca.pem", "certificate": ours / "client.pem", "key": ours / "client.key"}
    remote = RemoteObject(server.address, **mine)
    remote.write(np.zeros(9))
    remote.safe()
    assert device.writes == 1
    for stranger, why in [
        ({"ca": ours / "ca.pem"}, "requires a client certificate; give certificate and key"),
        (
            {**mine, "certificate": theirs / "client.pem", "key": theirs / "client.key"},
            "refuses this trainer's certificate",
        ),
        ({**mine, "ca": theirs / "ca.pem"}, "certificate that is not accepted .*give the ca"),
        ({}, "requires TLS; give ca"),
    ]:
        for ask in (RemoteObject, look):
            with pytest.raises(RequestError, match=why):
                ask(server.address, **stranger)
    assert device.writes == 1
    assert server.status()["holder"] is None


def test_certificates_that_are_old_or_made_for_another_host(serve, papers):
    ours, old = papers / "ours", papers / "old"
    pair = {"certificate": ours / "server.pem", "key": ours / "server.key"}
    mine = {"ca": ours / "ca.pem", "certificate": ours / "client.pem", "key": ours / "client.key"}
    worn = {"certificate": old / "client.pem", "key": old / "client.key"}
    for settings, shown, why in [
        ({**pair, "listen": "127.0.0.2:0"}, mine, "IP address mismatch"),
        ({"certificate": old / "server.pem", "key": old / "server.key"}, mine, "not accepted"),
        (
            {"certificate": old / "server.pem", "key": old / "server.key"},
            {"ca": old / "ca.pem"},
            "certificate has expired",
        ),
        ({**pair, "client_ca": old / "ca.pem"}, {**mine, **worn}, r"\(certificate expired\)"),
    ]:
        server = serve(Bounded(), **settings)
        with pytest.raises(RequestError, match=why):
            look(server.address, **shown)
        assert server.status()["holder"] is None


def test_a_certificate_and_a_token(serve, papers, token):
    ours = papers / "ours"
    pair = {"certificate": ours / "server.pem", "key": ours / "server.key"}
    server = serve(Bounded(), **pair)
    with pytest.raises(RequestError, match="token"):
        look(server.address, ca=ours / "ca.pem")
    assert look(server.address, ca=ours / "ca.pem", token_file=token)["name"] == "Bounded"


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "no-such-host.invalid"])
def test_beyond_loopback_only_with_tls(token, host):
    with pytest.raises(RequestError, match=r"is not a loopback address, so it needs TLS"):
        DeviceServer(PythonDevice(Bounded()), f"{host}:0", token_file=token)


def test_what_a_server_is_refused(tmp_path, token, papers, serve, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    chip, ours = PythonDevice(Bounded()), papers / "ours"
    pem, key = ours / "server.pem", ours / "server.key"
    for settings, why in [
        ({}, "token-file or --client-ca"),
        ({"listen": "7700", "token_file": token}, "HOST:PORT"),
        ({"listen": "localhost:99999", "token_file": token}, "HOST:PORT"),
        ({"token_file": tmp_path / "none"}, "cannot be read"),
        ({"certificate": pem}, "both --certificate and --key"),
        ({"client_ca": ours / "ca.pem"}, "both --certificate and --key"),
        ({"certificate": pem, "key": ours / "client.key"}, "not a matching PEM pair"),
        ({"certificate": key, "key": pem}, "not a matching PEM pair"),
        ({"certificate": pem, "key": key, "client_ca": key}, "no PEM certificate"),
        ({"certificate": pem, "key": tmp_path / "none"}, "cannot be read"),
        ({"token_file": token, "record": tmp_path}, "record"),
        ({"token_file": token, "listen": serve(Bounded()).address}, "is not available"),
    ]:
        with pytest.raises(RequestError, match=why):
            DeviceServer(chip, **settings)
    with pytest.raises(RequestError, match="at most 1000000 can be written over a network"):
        DeviceServer(PythonDevice(Bounded(), parameters=1_000_001), token_file=token)
    with pytest.raises(RequestError, match="already holds certificates"):
        make_certificates(["x"], ours)
    for address in ("nowhere", "remote://a:b", "host:1/x", ":5", ""):
        with pytest.raises(RequestError, match="HOST:PORT"):
            RemoteObject(address)


# --------------------------------------------------------------------------------------- the shell

LAB = """
import numpy as np
class Chip:
    parameters, bounds = 9, (-1.5, 1.5)
    def __init__(self):
        self.initial = np.linspace(-0.5, 0.5, 9)
    def write(self, theta):
        assert np.abs(theta).max() <= 1.5
        self.theta = theta
    def measure(self, inputs):
        b, w, c, v = self.theta[:2], self.theta[2:6], self.theta[6:7], self.theta[7:]
        return np.tanh(inputs @ w.reshape(2, 2) + b) @ v.reshape(2, 1) + c
    def safe(self):
        print("safe", flush=True)
"""

BENCH = """
[task]
kind = "xor"

[device]
kind = "lab"
object = "{lab}:Chip"
bounds = [-1.0, 1.0]
bits = 4
guard = {{ slew = 0.2 }}
"""


def test_a_device_in_a_file_is_served_as_the_file_says(token, tmp_path):
    """Its bounds, levels and guard, not those of the object."""
    (tmp_path / "lab.py").write_text(LAB)
    (tmp_path / "bench.toml").write_text(BENCH.format(lab=tmp_path / "lab.py"))
    chip = served_device(str(tmp_path / "bench.toml"))
    assert (chip.extent.low, chip.extent.high, chip.extent.levels) == (-1.0, 1.0, {"theta": 16})
    server = DeviceServer(chip, token_file=token)
    server.start()
    try:
        remote = RemoteObject(server.address, token_file=token)
        with pytest.raises(RunError, match="exceeds the bounds"):
            remote.write(np.full(9, 1.2))
        remote.write(np.zeros(9))
        remote.write(np.full(9, 0.9))
        assert chip.writes() == 8  # of 2/15, a step of the DAC
        remote.safe()
        remote.close()
    finally:
        assert server.stop()


NO_JAX = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
sys.argv[0] = "serve"
import runpy
runpy.run_module("dither.remote", run_name="__main__")
"""


@pytest.fixture
def instrument(tmp_path):
    """A server in a process in which nothing but NumPy, msgpack and their like can be imported."""
    (tmp_path / "lab.py").write_text(LAB)
    absent = {
        "jax", "jaxlib", "equinox", "optax", "scipy", "pydantic", "typer", "rich", "pandas",
        "pyarrow", "matplotlib", "sklearn", "tomlkit", "pooch", "platformdirs", "cryptography",
        "grpc",
    }  # fmt: skip
    process = subprocess.Popen(
        [
            sys.executable, "-c", NO_JAX.format(absent=absent), "lab.py:Chip",
            "--listen", "127.0.0.1:0", "--lease", "2", "--record", "record",
        ],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    line = process.stdout.readline()
    yield process, line.rpartition("remote://")[2].strip()
    process.terminate()
    process.wait(20)
    process.stdout.close()


def test_the_serving_side_needs_no_jax_and_ends_safely(instrument, tmp_path):
    process, address = instrument
    token = tmp_path / "dither-token"
    assert look(address, token_file=token)["name"] == "Chip"
    remote = RemoteObject(address, token_file=token)
    remote.write(np.zeros(9))
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM
    assert "safe" in process.stdout.read().splitlines()
    lines = [json.loads(line) for line in (tmp_path / "record").read_text().splitlines()]
    assert lines[-1]["event"] == "account"
    assert "safe" in [line["event"] for line in lines]
    remote.close()


RUN = """
import sys
import dither
from dither.instruments.network import RemoteDevice
from dither.tasks import XOR
device = sys.argv[1]
if device.startswith("remote://"):
    device = RemoteDevice(address=device.removeprefix("remote://"), token_file="dither-token")
algorithm = dither.WeightMGD(
    learning_rate=0.02, delta=0.01, code={"kind": "walsh"}, tau_theta=32
)
result = dither.train(
    device, XOR(batch=2), algorithm, key=1, until=dither.Until(measurements=int(sys.argv[4])),
    score_every=500, checkpoint_seconds=0.0, out=sys.argv[2], resume=sys.argv[3] == "resume",
)
print(result.stop_reason)
"""


def run(*words, cwd):
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *words], cwd=cwd, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip


def test_killed_and_resumed_the_run_is_the_same(instrument, tmp_path):
    _, address = instrument
    place, most = f"remote://{address}", "20000"
    rng = np.random.default_rng(0)
    checkpoint = tmp_path / "far" / "checkpoint" / "state.npz"

    def saved():
        return checkpoint.stat().st_mtime if checkpoint.exists() else 0.0

    for kill in range(2):
        process = run(place, "far", "resume" if kill else "", most, cwd=tmp_path)
        before = saved()
        until(lambda before=before: saved() > before, seconds=100)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.communicate()
    assert not (tmp_path / "far" / "result.json").exists()
    done = run(place, "far", "resume", most, cwd=tmp_path)
    assert done.communicate(timeout=200)[0] == "measurements\n"
    alone = run("lab.py:Chip", "near", "", most, cwd=tmp_path)
    assert alone.communicate(timeout=200)[0] == "safe\nmeasurements\n"
    far, near = (pd.read_parquet(tmp_path / name / "history.parquet") for name in ("far", "near"))
    # every start takes one measurement for its self-test, so only the last row is elsewhere
    assert len(far) == len(near) == 40
    assert far["test_cost"][:-1].equals(near["test_cost"][:-1])
    assert far["test_cost"].nunique() > 30
    seen = look(address, token_file=tmp_path / "dither-token")
    assert seen["refused"] == 0
    assert seen["writes"] >= 20000
    # one for every connection that ended, and for a start that took longer than the lease
    assert seen["safe_states"] >= 3
    assert seen["holder"] is None


def test_the_shell_trains_and_checks_what_is_served(instrument, tmp_path):
    _, address = instrument
    (tmp_path / "token").write_text((tmp_path / "dither-token").read_text())
    (tmp_path / "token").chmod(0o600)

    def dither_(*words, **more):
        return subprocess.run(
            [sys.executable, "-m", "dither.cli", *words], cwd=tmp_path, capture_output=True,
            text=True, timeout=200, env={**os.environ, **more},
        )  # fmt: skip

    trained = dither_(
        "train", "xor", "--device", f"remote://{address}", "--set", "device.token_file=token",
        "--set", "until.measurements=400", "--json", "--out", "run",
    )  # fmt: skip
    told = json.loads(trained.stdout)
    assert told["ledger"]["measurements"] <= 400, trained.stderr
    secret = (tmp_path / "token").read_text().strip()
    specification = (tmp_path / "run" / "spec.toml").read_text()
    assert f'address = "{address}"' in specification
    assert secret not in specification
    refused = dither_("device", "check", f"remote://{address}", "--inputs", "xor")
    assert refused.returncode == 2
    assert "refuses the token" in refused.stderr
    checked = dither_(
        "device", "check", f"remote://{address}", "--inputs", "xor", "--json", DITHER_TOKEN=secret
    )
    assert json.loads(checked.stdout)["parameters"] == 9, checked.stderr
    unsafe = dither_("device", "serve", "lab.py:Chip", "--listen", "0.0.0.0:0")
    assert unsafe.returncode == 2
    assert "needs TLS" in unsafe.stderr


def test_a_console_that_is_held_up_does_not_hold_the_device():
    held, heard = threading.Event(), []

    def say(line):
        held.wait(20)
        heard.append(line)

    aside = _aside(say)
    began = time.monotonic()
    for number in range(500):
        aside(str(number))
    assert time.monotonic() - began < 5
    assert heard == []
    held.set()
    until(lambda: len(heard) >= 100)
    assert heard[:100] == [str(number) for number in range(100)]
