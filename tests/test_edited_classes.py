"""A run is not gone on with by a class from outside that has been edited in between."""

import importlib
import sys

import pytest

import dither
from dither import RequestError, Until, read_specification

RULE = """
from dither.algorithms import WeightMGD
from typing import Literal

FACTOR = 1.0

def halved(x):
    return x / 2

class Mine(WeightMGD):
    \"\"\"A rule.\"\"\"
    kind: Literal["mine"] = "mine"

    def precondition(self, state, estimate):
        return FACTOR * halved(estimate)  # a comment
"""

DEVICE = """
from typing import Literal
from dither import MLP, SimulatedDevice

class Chip(SimulatedDevice):
    \"\"\"A chip.\"\"\"
    kind: Literal["chip"] = "chip"
    network: MLP = MLP(widths=(2, 2, 1), output="sigmoid")

    def outputs(self, state, inputs):
        return 1.0 * super().outputs(state, inputs)
"""

SPEC = """
task = {{ kind = "xor" }}
device = {device}
algorithm = {{ kind = "{kind}", learning_rate = 0.1, delta = 0.1 }}
until = {{ measurements = {most} }}
"""
SIMULATED = '{ kind = "simulated", network = { kind = "mlp", widths = [2, 2, 1] } }'


def run(folder, most, kind="weight-mgd", device=SIMULATED, resume=False):
    file = folder / "run.toml"
    file.write_text(SPEC.format(kind=kind, most=most, device=device))
    return read_specification(str(file)).train(folder / "run", resume=resume)


@pytest.mark.quick("{file}:Mine-x / 2-x / 3-True", "a_labs_rules:Mine-# a comment-# another-False")
@pytest.mark.parametrize(
    ("old", "new", "other"),
    [
        ("halved(estimate)", "halved(estimate) + 1e-3", True),
        ("x / 2", "x / 3", True),
        ("FACTOR = 1.0", "FACTOR = 2.0", True),
        ("# a comment", "# another", False),
        ("FACTOR = 1.0", "\n\nFACTOR = 1.0", False),
    ],
)
@pytest.mark.parametrize("place", ["{file}:Mine", "a_labs_rules:Mine"])
def test_an_edited_algorithm_is_another_run(tmp_path, monkeypatch, place, old, new, other):
    file = tmp_path / "a_labs_rules.py"
    monkeypatch.syspath_prepend(tmp_path)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    kind = place.format(file=file)
    try:
        file.write_text(RULE)
        run(tmp_path, 40, kind)
        file.write_text(RULE.replace(old, new))
        sys.modules.pop("a_labs_rules", None)  # as in a new process
        importlib.invalidate_caches()
        if other:
            with pytest.raises(RequestError, match="its algorithm differs"):
                run(tmp_path, 80, kind, resume=True)
        else:
            assert run(tmp_path, 80, kind, resume=True).ledger["measurements"] == 80
    finally:
        sys.modules.pop("a_labs_rules", None)
        sys.dont_write_bytecode = before


def test_an_edited_device_is_another_run(tmp_path):
    file = tmp_path / "chips.py"
    device = f'{{ kind = "{file}:Chip" }}'
    file.write_text(DEVICE)
    run(tmp_path, 40, device=device)
    assert run(tmp_path, 80, device=device, resume=True).ledger["measurements"] == 80
    file.write_text(DEVICE.replace("1.0 *", "0.5 *"))
    with pytest.raises(RequestError, match=r"its device.* differs"):
        run(tmp_path, 120, device=device, resume=True)


def test_a_labs_object_may_be_mended(tmp_path):
    """The device is what it was: only the program that speaks to it is another."""

    class Chip:
        parameters = 3

        def write(self, theta):
            self.theta = theta

        def measure(self, inputs):
            return inputs @ self.theta[:2, None] + self.theta[2]

    class Mended(Chip):
        def measure(self, inputs):
            return super().measure(inputs) + 0.0

    rule, task = dither.WeightMGD(learning_rate=0.1, delta=0.1), dither.tasks.XOR()
    dither.train(Chip(), task, rule, until=Until(measurements=20), name="x", out=tmp_path / "run")
    Mended.__name__ = "Chip"
    again = dither.train(
        Mended(), task, rule, until=Until(measurements=40), name="x", out=tmp_path / "run",
        resume=True,
    )  # fmt: skip
    assert again.ledger["measurements"] == 40
