"""The loop: stop rules, replicas, Ctrl-C, kills, damaged checkpoints, full disks."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import dither
from dither import MLP, SPSA, RequestError, SimulatedDevice, TrapWarning, Until, WeightMGD
from dither.devices import CostNoise, FailedReads, UpdateNoise
from dither.tasks import XOR, Parity
from dither.testing.devices import NumpyDevice

DEVICE = SimulatedDevice(network=MLP(widths=(2, 2, 1), gain=2.0))
ALGORITHM = WeightMGD(learning_rate=0.05, delta=0.01, code={"kind": "walsh"}, tau_theta=2)


def train(until, device=DEVICE, algorithm=ALGORITHM, **more):
    return dither.train(
        device, XOR(batch=2), algorithm, until=until, **{"score_every": 20, "key": 1, **more}
    )


def same_run(one, two):
    assert np.array_equal(one.parameters, two.parameters)
    assert one.history.drop(columns="wall_seconds").equals(two.history.drop(columns="wall_seconds"))
    assert one.accounts.total() == two.accounts.total()
    assert [vars(r) for r in one.replicas] == [vars(r) for r in two.replicas]


def leftovers(folder):
    """Files that an interrupted write would leave."""
    return [path for path in Path(folder).rglob(".*") if path.is_file()]


# --------------------------------------------------------------------------------- stop rules


@pytest.mark.filterwarnings("ignore:The first update is due:dither.training.train.TrapWarning")
@pytest.mark.parametrize("n", [1, 19, 20, 21, 61])
def test_measurements_are_counted_exactly(n):
    result = train(Until(measurements=n), algorithm=WeightMGD(learning_rate=0.05, delta=0.01))
    assert result.stop_reason == "measurements"
    assert result.ledger["measurements"] == n
    assert list(result.history["measurements"]) == [*range(20, n, 20), n]


def test_the_score_stops_each_replica_at_its_own_evaluation():
    wide = SimulatedDevice(network=MLP(widths=(2, 8, 1), gain=2.0))
    algorithm = dither.Backpropagation(learning_rate=0.02, optimizer="adam")
    result = train(Until(score=1.0, measurements=3000), wide, algorithm, replicas=6)
    stops = [r.ledger["measurements"] for r in result.replicas if r.stop_reason == "score"]
    assert len(stops) >= 2
    assert len(set(stops)) >= 2
    for number, replica in enumerate(result.replicas):
        mine = result.history[result.history["replica"] == number]
        assert mine["measurements"].iloc[-1] == replica.ledger["measurements"]
        reached = mine["score"] >= 1.0
        assert not reached[:-1].any()
        assert reached.iloc[-1] == (replica.stop_reason == "score")
        assert replica.ledger["samples"] == 2 * replica.ledger["measurements"]


def test_device_seconds_and_joules_add_up():
    device = SimulatedDevice(
        network=DEVICE.network,
        seconds_per_write=0.25,
        seconds_per_measurement=0.5,
        joules_per_write=2.0,
        joules_per_measurement=1.0,
    )
    result = train(Until(device_seconds=30.0), device)
    assert result.stop_reason == "device_seconds"
    assert result.ledger["measurements"] == 40
    assert result.ledger["device_seconds"] == pytest.approx(30.0)
    assert result.ledger["joules"] == pytest.approx(120.0)
    # 30.1 s are not over after 40 measurements
    assert train(Until(device_seconds=30.1), device).ledger["measurements"] == 41


def test_wall_seconds():
    began = time.monotonic()
    result = train(Until(wall_seconds=1.0))
    assert result.stop_reason == "wall_seconds"
    assert time.monotonic() - began >= 1.0
    # the last evaluation is noted before the limit is looked at, on a busy machine long before
    assert result.history["wall_seconds"].iloc[-1] >= 0.5


def test_plateau_waits_for_its_measurements_without_a_better_score():
    still = WeightMGD(learning_rate=0.0, delta=0.01)
    result = train(Until(plateau=70), algorithm=still)
    assert result.stop_reason == "plateau"
    # the first evaluation, at 20, is never beaten: at 100, 80 measurements have gone by
    assert result.ledger["measurements"] == 100


def test_a_run_needs_an_end():
    with pytest.raises(ValueError, match="a run needs an end"):
        Until(score=0.9)


def test_a_simulated_device_that_fails_for_ever_is_given_up():
    broken = SimulatedDevice(
        network=DEVICE.network, imperfections=(FailedReads(probability=1 - 1e-12),)
    )
    result = train(Until(measurements=10**5, failures=5), broken)
    assert result.stop_reason == "failures"
    assert result.ledger["failed"] == result.ledger["measurements"] < 10**3


def test_divergence_is_named():
    result = train(Until(measurements=2000), algorithm=WeightMGD(learning_rate=1e30, delta=0.01))
    assert result.stop_reason == "diverged"
    assert not result.succeeded


# ----------------------------------------------------------------------------------- replicas

NOISY = SimulatedDevice(
    network=DEVICE.network, imperfections=(CostNoise(sigma=1e-3), UpdateNoise(sigma=1e-3))
)


def test_replicas_are_the_runs_that_their_seeds_alone_give():
    together = train(Until(measurements=60), NOISY, key=5, replicas=3)
    for number in range(3):
        alone = train(Until(measurements=60), NOISY, key=5 + number)
        # one replica and three are compiled apart: equal up to single precision over delta
        assert np.allclose(together.parameters[number], alone.parameters[0], atol=1e-3)
        mine = together.history[together.history["replica"] == number]
        assert np.allclose(mine["cost"], alone.history["cost"], atol=1e-3)
        assert set(mine["seed"]) == {5 + number}
    apart = np.abs(np.diff(together.parameters, axis=0)).max(axis=1)
    assert np.all(apart > 0.1)


def test_the_median_score_is_reported():
    result = train(Until(measurements=60), replicas=3)
    assert result.score == np.median([r.score for r in result.replicas])


def test_observers_see_the_run_go_on():
    seen = []
    train(Until(measurements=100), observers=[seen.append])
    counts = [now.measurements for now in seen]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert all(now.most == 100 for now in seen)


# -------------------------------------------------------------------------------- the folder


def test_the_folder_holds_the_run(tmp_path):
    result = train(Until(measurements=60), out=tmp_path / "run", replicas=2)
    folder = tmp_path / "run"
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert names == {
        "spec.toml", "history.parquet", "result.json", "parameters.npz", "figure.png",
        "figure.svg", "checkpoint/state.npz",
    }  # fmt: skip
    summary = json.loads((folder / "result.json").read_text())
    assert {"score", "score_name", "stop_reason", "ledger", "seed", "out"} <= set(summary)
    assert summary["ledger"]["measurements"] == 60
    with np.load(folder / "parameters.npz") as arrays:
        flat = np.concatenate(
            [arrays[p.name.replace("/", ".")].reshape(2, -1) for p in result.space.parameters],
            axis=1,
        )
    assert np.array_equal(flat, result.parameters)
    import pandas as pd

    assert pd.read_parquet(folder / "history.parquet").equals(result.history)


def test_files_can_be_read_by_those_who_may(tmp_path):
    """As any program's files: by the umask, not for the owner alone."""
    train(Until(measurements=20), out=tmp_path / "run")
    (tmp_path / "plain").write_text("")
    wanted = (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "run" / "result.json").stat().st_mode == wanted


def test_a_finished_run_is_resumed_to_more_measurements(tmp_path):
    """The evaluations' spacing is that of the run, whatever the new end."""
    whole = train(Until(measurements=1000), score_every=6)
    train(Until(measurements=600), score_every=None, out=tmp_path / "run")
    again = train(Until(measurements=1000), score_every=None, out=tmp_path / "run", resume=True)
    same_run(whole, again)


@pytest.mark.long
def test_plateaus_that_were_reached_stay_reached(tmp_path):
    """A run that is cut after some replicas have levelled off goes on as if it had not been."""
    until = {"plateau": 100}
    whole = train(Until(measurements=400, **until), NOISY, replicas=4)
    ends = sorted(r.ledger["measurements"] for r in whole.replicas)
    cut = ends[0] + 5
    assert cut < ends[-1]
    train(Until(measurements=cut, **until), NOISY, replicas=4, out=tmp_path / "run")
    again = train(
        Until(measurements=400, **until), NOISY, replicas=4, out=tmp_path / "run", resume=True
    )
    same_run(whole, again)


def test_another_run_in_the_folder_is_left_alone(tmp_path):
    out = tmp_path / "run"
    train(Until(measurements=20), out=out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    with pytest.raises(RequestError, match="holds another run"):
        train(Until(measurements=40), out=out)
    with pytest.raises(RequestError, match="another specification"):
        train(Until(measurements=40), out=out, resume=True, key=2)
    with pytest.raises(RequestError, match="another specification"):
        train(Until(measurements=40), out=out, resume=True, algorithm=SPSA(a=0.1))
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="other files"):
        train(Until(measurements=20), out=tmp_path / "other")
    with pytest.raises(RequestError, match="is a file"):
        train(Until(measurements=20), out=tmp_path / "other" / "notes.txt")
    with pytest.raises(RequestError, match="no checkpoint"):
        train(Until(measurements=20), out=tmp_path / "nothing", resume=True)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    train(Until(measurements=40), out=tmp_path / "run")
    file = tmp_path / "run" / "checkpoint" / "state.npz"
    content = file.read_bytes()
    middle = content.index(b"leaf3.npy") + 150
    file.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "flipped": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
            "empty": b"",
            "text": b"not a checkpoint",
        }[damage]
    )
    with pytest.raises(RequestError, match="has changed since it was written") as caught:
        train(Until(measurements=60), out=tmp_path / "run", resume=True)
    assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    whole = train(Until(measurements=200))
    out, flush, writes = tmp_path / "run", os.fsync, 0

    def full(descriptor):
        nonlocal writes
        writes += 1
        if writes > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        dither.RunError, match=r"No space left on device.*--resume continues from it"
    ):
        train(Until(measurements=200), out=out, checkpoint_seconds=0.0)
    monkeypatch.undo()
    assert not leftovers(out)
    assert (out / "checkpoint" / "state.npz").is_file()
    assert not (out / "result.json").exists()
    same_run(whole, train(Until(measurements=200), out=out, resume=True))


# ------------------------------------------------------------------- signals, in a process apart

SCRIPT = """
import sys, time, warnings
sys.path.insert(0, {tests!r})
import dither
from test_training import SLOW_ALGORITHMS, train, DEVICE
from dither import Until
name, n, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

def slowly(now):
    print(now.measurements, flush=True)
    time.sleep(pause)

train(Until(measurements=n), algorithm=SLOW_ALGORITHMS[name], replicas=2, out={out!r},
      resume={resume}, checkpoint_seconds=0.0, observers=[slowly])
"""

SLOW_ALGORITHMS = {"weight-mgd": ALGORITHM, "spsa": SPSA(a=0.05, c=0.05)}


def start(tmp_path, name, n, pause, resume=False):
    text = SCRIPT.format(tests=str(Path(__file__).parent), out=str(tmp_path / "run"), resume=resume)
    return subprocess.Popen(
        [sys.executable, "-c", text, name, str(n), str(pause)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("name", "kills"), [("weight-mgd", 3), ("spsa", 1)])
def test_killed_at_random_moments_and_resumed_is_the_undisturbed_run(tmp_path, name, kills):
    """600 measurements at about 20 ms for ten, killed 0 to 0.6 s after the loop has begun."""
    n = 600
    rng = np.random.default_rng(len(name))
    reached = []
    for kill in range(kills):
        process = start(tmp_path, name, n, 0.02, resume=kill > 0)
        first = process.stdout.readline()
        # the first kill of several comes before there can be a checkpoint
        if kill > 0 or kills == 1:
            first += process.stdout.readline()
            time.sleep(rng.uniform(0.05, 0.6))
        process.send_signal(signal.SIGKILL)
        rest, error = process.communicate()
        assert process.returncode == -signal.SIGKILL, error
        reached.append(int((first + rest).split()[-1]))
    assert 0 < reached[-1] < n
    whole = train(Until(measurements=n), algorithm=SLOW_ALGORITHMS[name], replicas=2)
    again = train(
        Until(measurements=n), algorithm=SLOW_ALGORITHMS[name], replicas=2,
        out=tmp_path / "run", resume=True,
    )  # fmt: skip
    same_run(whole, again)
    assert not leftovers(tmp_path)


def test_ctrl_c_finishes_cleanly(tmp_path):
    process = start(tmp_path, "weight-mgd", 10**6, 0.02)
    for _ in range(8):
        assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert "Traceback" not in error
    summary = json.loads((tmp_path / "run" / "result.json").read_text())
    assert summary["stop_reason"] == "interrupted"
    n = summary["ledger"]["measurements"]
    assert 0 < n < 10**6
    whole = train(Until(measurements=n + 50), replicas=2)
    again = train(Until(measurements=n + 50), replicas=2, out=tmp_path / "run", resume=True)
    same_run(whole, again)


def test_an_exception_in_the_run_leaves_the_device_safe():
    class Stop(Exception):
        pass

    def stop(now):
        if now.measurements:
            raise Stop

    device = NumpyDevice((2, 2, 1), initial=np.full(9, 0.1))
    with pytest.raises(Stop):
        train(Until(measurements=100), device, observers=[stop])
    assert device.made_safe == 1


# ------------------------------------------------------------------------------------- warnings


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tau_theta": 500}, "The first update is due after 1000"),
        ({"delta": 1e-7}, "single precision"),
        ({"code": {"kind": "sequential"}, "tau_p": 90}, "One cycle"),
    ],
)
def test_likely_mistakes_are_warned_of(settings, sentence):
    algorithm = WeightMGD(**{"learning_rate": 0.1, "delta": 0.01, **settings})
    with pytest.warns(TrapWarning, match=sentence):
        result = train(Until(measurements=100), algorithm=algorithm)
    assert any(sentence.split(" ")[0] in warning for warning in result.warnings)


def test_what_does_not_fit_is_refused():
    with pytest.raises(RequestError, match="inputs of shape"):
        dither.train(DEVICE, Parity(bits=3), ALGORITHM)
    three = SimulatedDevice(network=MLP(widths=(2, 3)))
    with pytest.raises(RequestError, match="3 outputs, but the task needs 1 or 2"):
        train(Until(measurements=10), three)
    with pytest.raises(RequestError, match="number of replicas must be a whole number from 1"):
        train(Until(measurements=10), replicas=0)
    with pytest.raises(RequestError, match="set replicas to 1"):
        train(Until(measurements=10), NumpyDevice((2, 2, 1)), replicas=2)


@pytest.mark.parametrize("most", [60, 67, 75, 90])
def test_a_real_devices_evaluations_stay_within_the_measurements(most):
    """A look takes 3 of them, wherever the limit falls between two looks."""
    device = NumpyDevice((3, 2, 2))
    task = dither.make_task(
        *(np.random.default_rng(0).normal(size=(8, 3)), np.arange(8) % 2) * 2,
        classes=("a", "b"), batch=3,
    )  # fmt: skip
    result = dither.train(
        device, task, WeightMGD(learning_rate=0.1, delta=0.01),
        until=Until(measurements=most), score_every=20,
    )  # fmt: skip
    assert result.ledger["measurements"] <= most
    assert result.ledger["measurements"] > most - 4
    assert result.score is not None
