"""Each fault of the benchmark once, by the fastest rule: it is overcome, or the cause is said."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "benchmarks" / "faults.py"
spec = importlib.util.spec_from_file_location("faults", FILE)
faults = importlib.util.module_from_spec(spec)
spec.loader.exec_module(faults)


@pytest.mark.quick("bursts of NaN", "jumps", "connection lost for good", "4-bit DACs")
@pytest.mark.parametrize("name", faults.FAULTS)
def test_a_fault_is_overcome_or_its_cause_is_said(name):
    found = faults.outcome(name, "weight-mgd", 1)
    assert found.is_safe
    assert found.inside
    if name == "connection lost for good":
        assert found.stopped == "failures"
        assert "ConnectionRefusedError: nothing answers" in found.sentence
    else:
        assert found.stopped == "measurements"
        assert found.reached is not None
    struck = {"failed reads, 10 %", "hung reads", "bursts of NaN", "wrong shapes, 10 %"}
    assert (found.failed > 0) == (name in struck or "connection" in name)


def test_coarse_dacs_are_trained_by_digital_accumulation():
    """Updates far below a step of the 4-bit DAC add up until a whole step is written."""
    step, written = 4 / 15, []

    class Recorded(faults.CoarseDAC):
        def write(self, theta):
            super().write(theta)
            written.append(self.theta)

    chip = Recorded(0, boolean=False)
    rule = faults.RULES["weight-mgd"].model_copy(update={"learning_rate": 0.01, "delta": 0.3})
    result = faults.dither.train(
        faults.PythonDevice(chip), faults.task(), rule, until=faults.Until(measurements=600),
        score_every=200,
    )  # fmt: skip
    levels = (faults.np.array(written) + 2) / step
    assert abs(levels - levels.round()).max() < 1e-5
    first = chip.initial
    moved = faults.np.abs(result.parameters[0] - first) > 0.75 * step
    # one update moves a weight by about eta |dC/dw| = 0.01, a twentieth of a step
    assert moved.sum() > 3
