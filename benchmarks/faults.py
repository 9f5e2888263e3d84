"""Effects of device faults on training, for each fault and rule on a small device in plain NumPy.

`faults.py [FAULT ...]` runs the rows that are missing from docs/results/faults.json and writes the
table. Each rule first trains a device without faults for `MEASUREMENTS` measurements. With a fault,
it must reach nine tenths of that score in two consecutive evaluations, after the fault has taken
full effect and within twice the measurements. Otherwise it must stop with a message that names the
cause. In all cases, the device must be left in its safe state, and no value outside its bounds may
be written.
"""

import json
import sys
import time
import warnings
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import dither
from dither import PythonDevice, Until, WeightMGD
from dither.algorithms import SPSA, AbstractAlgorithm, CoordinateDescent
from dither.instruments.guard import Guard
from dither.tasks import Task

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "faults.json"
SEEDS = range(9)
MEASUREMENTS = 600
CLASSES, INPUTS, HIDDEN = 3, 6, 8
BOUND = 2.0

RULES: dict[str, AbstractAlgorithm] = {
    "weight-mgd": WeightMGD(
        learning_rate=0.1, delta=0.1, pairs="central", tau_theta=2, outliers=4.0
    ),
    "spsa": SPSA(a=0.6, c=0.15, A=50.0, outliers=4.0),
    "coordinate-descent": CoordinateDescent(decision="significant", repeats=4),
}


@cache
def task() -> Task:
    """Return a task of three overlapping clusters, with 60 training and 60 test points."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLASSES, INPUTS))
    labels = np.arange(120) % CLASSES
    points = centres[labels] + 0.5 * rng.normal(size=(120, INPUTS))
    return dither.make_task(
        points[:60], labels[:60], points[60:], labels[60:], classes=tuple("abc"), batch=60
    )


class Chip:
    """Noisy device without faults: fixed random tanh neurons and a trainable readout.

    The weights are either analog values between the bounds or Boolean values of −1 and 1.
    """

    def __init__(self, seed: int, boolean: bool) -> None:
        rng = np.random.default_rng(seed)
        self.rng = np.random.default_rng(1000 + seed)
        self.hidden = 0.6 * rng.normal(size=(INPUTS + 1, HIDDEN))
        self.parameters = (HIDDEN + 1) * CLASSES
        self.bounds, self.levels = (-BOUND, BOUND), 2 if boolean else 0
        self.gain = 0.25 if boolean else 1.0
        start = 0.2 * rng.normal(size=self.parameters)
        self.initial = np.where(start > 0, BOUND, -BOUND) if boolean else start
        self.theta = np.zeros(self.parameters)
        self.measurements = 0
        self.is_safe, self.inside = True, True

    def write(self, theta: np.ndarray) -> None:
        """Set the weights."""
        self.inside &= bool(np.all(np.abs(theta) <= BOUND))
        self.theta, self.is_safe = np.array(theta), False

    def weights(self) -> np.ndarray:
        """Return the effective weights."""
        return self.gain * self.theta

    def measure(self, inputs: np.ndarray) -> np.ndarray:
        """Return the outputs for a batch."""
        self.measurements += 1
        hidden = np.tanh(np.c_[inputs, np.ones(len(inputs))] @ self.hidden)
        weights = self.weights().reshape(HIDDEN + 1, CLASSES)
        outputs = np.c_[hidden, np.ones(len(hidden))] @ weights
        return outputs + 0.02 * self.rng.normal(size=outputs.shape)

    def safe(self) -> None:
        """Switch everything off."""
        self.is_safe = True


class FailedReads(Chip):
    """One read in ten fails."""

    def measure(self, inputs: np.ndarray) -> np.ndarray:
        """Fail or measure."""
        if self.measurements and self.rng.random() < 0.1:
            self.measurements += 1
            raise OSError("no answer")
        return super().measure(inputs)


class HungReads(Chip):
    """Every 200th read hangs for 0.7 s."""

    def measure(self, inputs: np.ndarray) -> np.ndarray:
        """Measure, after a delay if the read hangs."""
        if self.measurements % 200 == 199:
            time.sleep(0.7)
        return super().measure(inputs)


class NaNBursts(Chip):
    """Five consecutive readings of every fifty are NaN."""

    def measure(self, inputs: np.ndarray) -> np.ndarray:
        """Return NaN or the outputs."""
        outputs = super().measure(inputs)
        return outputs * np.nan if self.measurements % 50 >= 45 else outputs


class WrongShapes(Chip):
    """One reading in ten lacks its last rows."""

    def measure(self, inputs: np.ndarray) -> np.ndarray:
        """Return the outputs, sometimes without their last rows."""
        outputs = super().measure(inputs)
        short = self.measurements > 1 and self.rng.random() < 0.1
        return outputs[:-7] if short else outputs


class OutlierBursts(Chip):
    """Three readings in a hundred have 100 times the noise."""

    def measure(self, inputs: np.ndarray) -> np.ndarray:
        """Return the outputs, sometimes with large noise."""
        outputs = super().measure(inputs)
        far = self.rng.random() < 0.03
        return outputs + 2.0 * far * self.rng.normal(size=outputs.shape)


class GainDrift(Chip):
    """The gain of every weight drifts by 30 % over the length of the fault-free run."""

    def weights(self) -> np.ndarray:
        """Return the weights times gains that follow a random walk."""
        if not hasattr(self, "gains"):
            self.gains = np.ones(self.parameters)
        self.gains += 0.3 / np.sqrt(MEASUREMENTS) * self.rng.normal(size=self.parameters)
        return super().weights() * self.gains


class OffsetDrift(Chip):
    """The outputs drift apart by 1 over the length of the fault-free run."""

    def measure(self, inputs: np.ndarray) -> np.ndarray:
        """Return the outputs with their accumulated offsets."""
        outputs = super().measure(inputs)
        return outputs + self.measurements / MEASUREMENTS * np.linspace(-0.5, 0.5, CLASSES)


class Jumps(Chip):
    """A third of the weights jump after one third and two thirds of the fault-free run's length."""

    def weights(self) -> np.ndarray:
        """Return the weights with their jumps so far."""
        jumps = [k for k in (1, 2) if self.measurements > k * MEASUREMENTS / 3]
        apart = np.zeros(self.parameters)
        for k in jumps:
            rng = np.random.default_rng(k)
            apart += 0.5 * rng.normal(size=apart.size) * (rng.random(apart.size) < 1 / 3)
        return super().weights() + apart


class LostConnection(Chip):
    """The connection is lost twice, together with the weights, until it is opened again."""

    dead, deaths = False, (100, 300)

    def write(self, theta: np.ndarray) -> None:
        """Write, if there is a connection."""
        if self.dead:
            raise ConnectionResetError("the line is dead")
        super().write(theta)

    def measure(self, inputs: np.ndarray) -> np.ndarray:
        """Measure, and lose the connection at certain measurements."""
        outputs = super().measure(inputs)
        if self.measurements in self.deaths:
            self.dead, self.theta = True, np.zeros(self.parameters)
            raise ConnectionResetError("the line is dead")
        return outputs

    def reconnect(self) -> None:
        """Open the connection again."""
        self.dead = False


class LostForGood(LostConnection):
    """The connection is lost early, and reconnecting fails."""

    deaths = (20,)

    def reconnect(self) -> None:
        """Fail, since nothing answers."""
        raise ConnectionRefusedError("nothing answers")


class StuckWeights(Chip):
    """Every seventh weight is stuck at its initial value."""

    def weights(self) -> np.ndarray:
        """Return the weights, with the stuck weights at their initial values."""
        stuck = np.arange(self.parameters) % 7 == 0
        return np.where(stuck, self.gain * self.initial, super().weights())


class DeadWeights(Chip):
    """Every seventh weight has no effect."""

    def weights(self) -> np.ndarray:
        """Return the weights, with the dead weights at zero."""
        return np.where(np.arange(self.parameters) % 7 == 0, 0.0, super().weights())


class CoarseDAC(Chip):
    """The DACs have four bits. Boolean weights are unaffected."""

    def __init__(self, seed: int, boolean: bool) -> None:
        super().__init__(seed, boolean)
        self.levels = 2 if boolean else 16


class SlowSettling(Chip):
    """The weights approach the written values with a time constant of 1 ms."""

    written, before = 0.0, None

    def write(self, theta: np.ndarray) -> None:
        """Begin to approach the new weights."""
        self.before = self.now()
        super().write(theta)
        self.written = time.monotonic()

    def now(self) -> np.ndarray:
        """Return the present values of the settling weights."""
        left = np.exp((self.written - time.monotonic()) / 1e-3) if self.before is not None else 0.0
        before = self.theta if self.before is None else self.before
        return self.theta + (before - self.theta) * left

    def weights(self) -> np.ndarray:
        """Return the effective weights while they settle."""
        return self.gain * self.now()


class WriteNoise(Chip):
    """Every write of a weight has a random error with a standard deviation of 0.05."""

    def write(self, theta: np.ndarray) -> None:
        """Write the weights with random errors."""
        super().write(theta)
        self.theta = self.theta + 0.05 * self.rng.normal(size=self.parameters)


class Fault(NamedTuple):
    """A kind of fault.

    Attributes: `device`, the faulty device; `guard`, the guard used in training; `struck`, the
    number of measurements after which the fault has taken full effect.
    """

    device: type[Chip]
    guard: Guard = Guard()
    struck: int = 0


FAULTS = {
    "failed reads, 10 %": Fault(FailedReads),
    "hung reads": Fault(HungReads, Guard(timeout=0.5), 200),
    "bursts of NaN": Fault(NaNBursts, struck=50),
    "wrong shapes, 10 %": Fault(WrongShapes),
    "bursts of outliers, 3 %": Fault(OutlierBursts),
    "gain drifts, 30 %": Fault(GainDrift, Guard(drift=5.0), MEASUREMENTS),
    "offset drifts": Fault(OffsetDrift, Guard(drift=5.0), MEASUREMENTS),
    "jumps": Fault(Jumps, Guard(drift=5.0), 2 * MEASUREMENTS // 3),
    "connection lost": Fault(LostConnection, struck=300),
    "connection lost for good": Fault(LostForGood),
    "stuck weights, 1/7": Fault(StuckWeights),
    "dead weights, 1/7": Fault(DeadWeights),
    "4-bit DACs": Fault(CoarseDAC),
    "slow settling": Fault(SlowSettling, Guard(settle=3e-3)),
    "write noise": Fault(WriteNoise),
}


class Outcome(NamedTuple):
    """Outcome of a run with a fault, compared with the same run without it."""

    fault: str
    rule: str
    seed: int
    reference: float
    score: float | None
    reached: int | None
    measurements: int
    stopped: str
    sentence: str
    alarms: int
    failed: int
    is_safe: bool
    inside: bool

    @property
    def allowed(self) -> bool:
        """Whether the outcome meets the project's promise."""
        gave_up = self.stopped == "failures" and bool(self.sentence)
        return (self.reached is not None or gave_up) and self.is_safe and self.inside


def train(chip: Chip, guard: Guard, rule: str, seed: int, until: Until) -> Any:
    """Train a chip, with an evaluation every 20 measurements."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dither.train(
            PythonDevice(chip, guard=guard), task(), RULES[rule],
            key=seed, until=until, score_every=20,
        )  # fmt: skip


@cache
def without_fault(rule: str, seed: int) -> float:
    """Return the score after `MEASUREMENTS` measurements on a chip without faults."""
    chip = Chip(seed, rule == "coordinate-descent")
    return float(train(chip, Guard(), rule, seed, Until(measurements=MEASUREMENTS)).score)


def outcome(name: str, rule: str, seed: int) -> Outcome:
    """Train with a fault for twice the measurements of the fault-free run.

    The outcome records when the run reaches nine tenths of the fault-free score.
    """
    fault, reference = FAULTS[name], without_fault(rule, seed)
    chip = fault.device(seed, rule == "coordinate-descent")
    result = train(chip, fault.guard, rule, seed, Until(measurements=2 * MEASUREMENTS))
    after = result.history[result.history["measurements"] >= fault.struck]
    shown = (after["score"] >= 0.9 * reference).to_numpy()
    twice = np.flatnonzero(shown[1:] & shown[:-1])
    reached = int(after["measurements"].iloc[twice[0] + 1]) if len(twice) else None
    return Outcome(
        fault=name,
        rule=rule,
        seed=seed,
        reference=reference,
        score=result.score,
        reached=reached,
        measurements=int(result.ledger["measurements"]),
        stopped=result.stop_reason,
        sentence=result.failure,
        alarms=sum("drifted" in warning for warning in result.warnings),
        failed=int(result.ledger["failed"]),
        is_safe=chip.is_safe,
        inside=chip.inside,
    )


def row(name: str, rule: str) -> dict[str, Any]:
    """Run all seeds of a fault and a rule."""
    found = [outcome(name, rule, seed) for seed in SEEDS]
    return {
        "fault": name,
        "rule": rule,
        "allowed": sum(one.allowed for one in found),
        "seeds": len(found),
        "runs": [one._asdict() for one in found],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table, with the worst of the seeds."""
    lines = [
        "| fault | rule | measurements to target, relative | final score, relative | outcome "
        "| left safe | passed |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in rows:
        runs = one["runs"]
        reached = [run["reached"] for run in runs]
        after = "–" if None in reached else f"{max(reached) / MEASUREMENTS:.2f}"
        shares = [run["score"] / run["reference"] for run in runs if run["score"] is not None]
        share = f"{min(shares):.2f}" if shares else "–"
        sentence = next((run["sentence"] for run in runs if run["sentence"]), "")
        cause = sentence.partition(";")[0]
        ended = "target reached" if None not in reached else "not reached by all seeds"
        ended = f"stopped: {cause}" if cause else ended
        safe = "yes" if all(run["is_safe"] and run["inside"] for run in runs) else "**no**"
        lines.append(
            f"| {one['fault']} | {one['rule']} | {after} | {share} | {ended} | {safe} | "
            f"{one['allowed']} of {one['seeds']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the missing rows."""
    asked = sys.argv[1:] or list(FAULTS)
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    done = {(one["fault"], one["rule"]) for one in rows}
    order = [(name, rule) for name in FAULTS for rule in RULES]
    for name, rule in order:
        if name not in asked or (name, rule) in done:
            continue
        rows.append(row(name, rule))
        rows.sort(key=lambda one: order.index((one["fault"], one["rule"])))
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
        RESULTS.with_suffix(".md").write_text(table(rows))
        print(table([one for one in rows if (one["fault"], one["rule"]) == (name, rule)])[-200:])


if __name__ == "__main__":
    main()
