"""What is wrong in a call from Python is told in a sentence too, and nothing is written."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

import dither
from dither import MLP, RequestError, SimulatedDevice, Until, WeightMGD
from dither.tasks import XOR

CHIP = SimulatedDevice(network=MLP(widths=(2, 2, 1)))
RULE = WeightMGD(learning_rate=0.1, delta=0.1)
RIGHT = {"device": CHIP, "task": XOR(), "algorithm": RULE, "until": Until(measurements=20)}

WRONG = [
    ("algorithm", "weight-mgd"), ("algorithm", WeightMGD), ("algorithm", None), ("task", None),
    ("task", XOR), ("task", 3), ("until", 20), ("until", {"measurements": 20}), ("until", Until),
    ("device", None), ("device", 3), ("device", SimulatedDevice), ("out", 3),
    ("checkpoint_seconds", math.nan), ("checkpoint_seconds", "often"), ("observers", 3),
    ("observers", [3]), ("observers", print), ("name", 3), ("track", 3), ("track", "wandb"),
    ("key", "one"), ("key", 1.5), ("key", -1), ("replicas", 0), ("replicas", None),
    ("score_every", 0), ("score_every", math.nan), ("replicas", 2**31 - 1),
    ("out", "a\0b"), ("start_from", "a\0b"), ("start_from", 3), ("checkpoint_seconds", 1j),
]  # fmt: skip


def faults() -> list[str]:
    """What is wrong with how wrong arguments are refused."""
    found = []
    result = dither.train(**RIGHT, checkpoint_seconds=np.float32(2), key=np.int64(1))
    result.predict([[0.0, 1.0]], np.int64(0))
    calls = [(dither.train, name, {**RIGHT, "out": "run", name: value}) for name, value in WRONG]
    calls += [(dither.load_run, "folder", {"folder": value}) for value in (3, None, b"run")]
    for value in ("0", 0.0, None, -1, 1):
        calls.append((result.predict, "replica", {"inputs": [[0.0, 1.0]], "replica": value}))
    for call, name, settings in calls:
        value = settings[name]
        try:
            call(**settings)
        except RequestError as error:
            if "\n" in str(error) or str(error)[-1] not in ".?":
                found.append(f"{name} = {value!r}: no sentence: {error}")
        except Exception as error:
            found.append(f"{name} = {value!r}: {error!r}")
        else:
            found.append(f"{name} = {value!r}: accepted")
    return found


def test_wrong_arguments_are_told(tmp_path):
    """In a process of its own, in which types are not checked for us."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    code += "import test_wrong_arguments as t; print(*t.faults(), sep='\\n', end='')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Until(score=math.nan), "Until: score: input should be a finite number"),
        (lambda: Until(measurements=0), "Until: measurements: input should be greater"),
        (lambda: Until(), "Until: a run needs an end"),
        (lambda: Until(mesurements=3), "no setting 'mesurements'; did you mean measurements?"),
        (lambda: WeightMGD(learning_rate=0.1, delta="0.1"), "delta: must be a number, not text"),
        (
            lambda: WeightMGD(learning_rate=True),
            "learning_rate: must be a number, not true or false",
        ),
        (lambda: WeightMGD(learning_rate=1e39), "must be at most 3.4e"),
        (lambda: WeightMGD(learning_rate=0.1, tau_x=10**12), "must be at most 2147483647"),
        (lambda: WeightMGD(learning_rate=0.1, code="wlsh"), "did you mean walsh?"),
        (lambda: MLP(widths=(2, 0)), "MLP: widths.1: input should be greater"),
        (lambda: SimulatedDevice(network={"kind": "mlp", "widths": [2, "2"]}), "network.widths"),
    ],
)
def test_a_wrong_setting_is_told(make, sentence):
    """Of a kind that catches both as our requests and as Python's values; never pydantic's own."""
    with pytest.raises(RequestError) as caught:
        make()
    assert sentence in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert not isinstance(caught.value, ValidationError)
    assert "\n" not in str(caught.value)


def test_numpys_numbers_are_numbers():
    until = Until(score=np.float32(0.5), measurements=np.int64(30), confirm=np.uint8(2))
    assert (until.score, until.measurements, until.confirm) == (0.5, 30, 2)
    assert WeightMGD(learning_rate=np.float64(0.25), tau_x=np.int32(3)).tau_x == 3
    assert MLP(widths=np.array([2, 3, 1]).tolist()).widths == (2, 3, 1)
