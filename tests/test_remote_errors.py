"""What fails on the device's machine is told to the trainer; what is not there, with what to do."""

import subprocess
import sys

import numpy as np
import pytest

import dither
from dither import Until
from dither.instruments import PythonDevice
from dither.instruments.network import RemoteDevice
from dither.remote.gate import LONGEST_TRACEBACK
from dither.remote.security import token_of
from dither.remote.server import DeviceServer
from dither.tasks import XOR
from dither.testing.devices import NumpyDevice

RULE = dither.WeightMGD(learning_rate=0.1, delta=0.1)


def deep(settings, depth):
    return settings["wavelength"] if depth == 0 else deep(settings, depth - 1)


class Buggy(NumpyDevice):
    """Its bug shows after the self-test."""

    bounds = (-1.0, 1.0)

    def __init__(self, depth=2):
        super().__init__((2, 2, 1))
        self.depth, self.measured = depth, 0

    def measure(self, inputs):
        self.measured += 1
        if self.measured > 1:
            deep({}, self.depth)
        return super().measure(inputs)


@pytest.fixture
def far(tmp_path):
    """Devices over loopback, until the test is over."""
    servers, devices = [], []
    token = tmp_path / "token"
    token_of(token)

    def connected(device):
        servers.append(DeviceServer(PythonDevice(device), token_file=token))
        servers[-1].start()
        devices.append(RemoteDevice(address=servers[-1].address, token_file=token).connect())
        return devices[-1]

    yield connected
    for device in devices:
        device.safe()
    for server in servers:
        server.stop()


def test_a_bug_of_the_device_shows_its_file_and_line(far, tmp_path):
    line = deep.__code__.co_firstlineno + 1
    result = dither.train(
        far(Buggy()), XOR(), RULE, until=Until(measurements=50), out=tmp_path / "a"
    )
    assert result.stop_reason == "failures"
    assert "KeyError: 'wavelength' in " in result.failure
    assert f"test_remote_errors.py, line {line}" in result.failure
    kept = (tmp_path / "a" / "traceback.txt").read_text()
    assert kept.count("in deep") == 3
    assert "On the server:" in kept
    assert "KeyError: 'wavelength'" in kept


def test_a_traceback_has_an_end(far):
    device = far(Buggy(depth=900))
    device.write(np.zeros(9))
    device.measure(np.zeros((1, 2)), None)
    with pytest.raises(RuntimeError, match="wavelength") as caught:
        device.measure(np.zeros((1, 2)), None)
    (note,) = caught.value.__notes__
    assert len(note) <= LONGEST_TRACEBACK + 100
    assert note.rstrip().endswith("KeyError: 'wavelength'")


@pytest.mark.parametrize("words", [["train", "xor", "--device"], ["device", "check"]])
def test_a_device_that_is_not_there(tmp_path, words):
    """Port 1 of this machine is nobody's."""
    patience = ["--set", "device.patience=0.1"] if words[0] == "train" else []
    done = subprocess.run(
        [sys.executable, "-c", SHELL, *words, "remote://127.0.0.1:1", *patience],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.strip().splitlines()) == 1
    for part in ("127.0.0.1:1", "dither device serve", "port", "firewall", "certificate"):
        assert part in done.stderr
    assert not (tmp_path / "runs").exists()


SHELL = """
from dither.instruments.network import RemoteDevice
RemoteDevice.model_fields["patience"].default = 0.1
RemoteDevice.model_rebuild(force=True)
from dither.cli import main
main()
"""
