"""Compare predictions for real devices, made from 21 measurements, with their trainings.

`lab.py` measures each device as `dither plan FILE --model MODEL` does and predicts the training of
its model. It then trains the device with nine seeds and writes docs/results/plan_lab.json and
plan_lab.md. The devices are simulations with imperfections that are unknown to the model. They are
measured through Python objects and trained as simulations. Both give the same trajectories.
"""

import json
from pathlib import Path

import equinox as eqx
import jax
import numpy as np

import dither
from dither._words import number
from dither.devices import SimulatedDevice
from dither.instruments.python import PythonDevice
from dither.planning.lab import probed
from dither.planning.predict import predict
from dither.training.specification import Specification

RESULTS = Path(__file__).parents[2] / "docs" / "results"
SEEDS, FIRST = 9, 100
HIDDEN = {
    "spread 10 %": [{"kind": "mismatch", "gain": 0.1, "offset": 0.1}],
    "8 bits, crosstalk 5 %": [
        {"kind": "dac", "bits": 8, "low": -4.0, "high": 4.0},
        {"kind": "crosstalk", "coupling": 0.05, "reach": 1},
    ],
    "output noise 0.02, 1/f noise 0.01": [
        {"kind": "output-noise", "sigma": 0.02},
        {"kind": "pink-noise", "sigma": 0.01},
    ],
    "write noise 0.01, drift": [
        {"kind": "write-noise", "sigma": 0.01},
        {"kind": "drift", "form": "sinusoid", "amount": 0.05, "over": 10_000},
    ],
    "2 % dead, spread 20 %": [
        {"kind": "dead", "share": 0.02},
        {"kind": "mismatch", "gain": 0.2, "offset": 0.0},
    ],
}
NIST = {
    "task": {"kind": "nist7x7", "batch": 16},
    "network": {"kind": "mlp", "widths": [49, 4, 4], "activation": "sigmoid", "output": "sigmoid"},
    "until": {"score": 0.95, "measurements": 60_000},
    "every": 50,
}
DIGITS = {
    "task": {"kind": "digits", "batch": 100},
    "network": {"kind": "mlp", "widths": [64, 16, 10], "activation": "tanh"},
    "until": {"score": 0.9, "measurements": 60_000},
    "every": 100,
}
WEIGHTS = {"kind": "weight-mgd", "pairs": "central", "delta": 0.05}
NODES = {"kind": "node-perturbation", "per_example": True, "delta": 0.1}
CELLS = [
    ("NIST7x7", NIST, WEIGHTS | {"learning_rate": 0.3}),
    ("NIST7x7", NIST, NODES | {"learning_rate": 0.3}),
    ("digits", DIGITS, WEIGHTS | {"learning_rate": 0.01}),
    ("digits", DIGITS, NODES | {"learning_rate": 0.1}),
]


class Bench:
    """A simulated chip with imperfections, wrapped as a Python object of a lab."""

    bounds = (-8.0, 8.0)

    def __init__(self, device: SimulatedDevice, sites: bool) -> None:
        self.device, self.chip = device, device.fabricate(jax.random.key(7))
        self.parameters = {p.name: p.shape for p in device.space.parameters}
        self.layers = {layer.name: () for layer in device.network.layers} if sites else {}
        self._write = jax.jit(device.write)
        self._outputs = jax.jit(device.outputs)

    def initial(self, seed: int) -> np.ndarray:
        return np.asarray(self.device.initial(jax.random.key(seed)))

    def write(self, theta: np.ndarray) -> None:
        self.chip = self._write(self.chip, np.asarray(theta, np.float32), True)

    def measure(self, inputs: np.ndarray) -> np.ndarray:
        self.chip = eqx.tree_at(lambda chip: chip.measured, self.chip, self.chip.measured + 1)
        return np.asarray(self._outputs(self.chip, inputs))

    def measure_sites(self, inputs: np.ndarray, added: dict) -> tuple:
        raise NotImplementedError("a plan does not perturb neurons")


def cell(setting: dict, rule: dict, hidden: list) -> dict:
    """Predict one training and run the trainings of its device."""
    table = {
        "task": setting["task"],
        "device": {"kind": "simulated", "network": setting["network"], "access": "sites"},
        "algorithm": rule,
        "until": setting["until"],
    }
    run = Specification.model_validate(table)
    task, model = run.task.load(), run.device
    imperfect = {**table["device"], "imperfections": hidden}
    device = Specification.model_validate({**table, "device": imperfect}).device
    sites = rule["kind"] == "node-perturbation"
    probe = probed(PythonDevice(Bench(device, sites)), model, task)
    told = predict(probe.model, task, run.algorithm, run.until, key=0)
    alone = predict(model, task, run.algorithm, run.until, key=0)
    trained = dither.train(
        device, task, run.algorithm, key=FIRST, replicas=SEEDS,
        until=run.until, score_every=setting["every"],
    )  # fmt: skip
    reached = [
        next((int(m) for m, s in zip(one.measurements, one.score) if s >= run.until.score), None)
        for _, one in trained.history.groupby("replica")
    ]
    return {
        "probe": probe.facts(),
        "predicted": told.measurements,
        "low": told.low,
        "high": told.high,
        "alone": alone.measurements,
        "measured": reached,
    }


def write_table(cells: dict[str, dict]) -> None:
    """Write the Markdown table."""
    lines = [
        "| task, rule | the model does not know | noise found | correlation | predicted (90 %) "
        "| the model alone | measured, median (range) | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ratios, without = [], []
    for name, one in cells.items():
        task, rule, hidden = name.split(" | ")
        counts = sorted(np.inf if m is None else m for m in one["measured"])
        middle, probe = float(np.median(counts)), one["probe"]
        ratios.append(one["predicted"] / middle)
        without.append(one["alone"] / middle)
        ends = " – ".join("> budget" if np.isinf(c) else number(c) for c in (counts[0], counts[-1]))
        said = [number(float(f"{one[key]:.3g}")) for key in ("predicted", "low", "high", "alone")]
        lines.append(
            f"| {task}, {rule} | {hidden} | {probe['noise']:.2g} | {probe['agreement']:.2f} "
            f"| {said[0]} ({said[1]} – {said[2]}) | {said[3]} | {number(middle)} ({ends}) "
            f"| {ratios[-1]:.2f} |"
        )
    (RESULTS / "plan_lab.md").write_text("\n".join(lines) + "\n")
    for what, found in (("measured", ratios), ("the model alone", without)):
        off = np.exp(np.abs(np.log(found)))
        within = f"within 1.5: {np.sum(off <= 1.5)} of {len(off)}"
        print(f"{what}: median factor {np.median(off):.2f}, {within}")


def main() -> None:
    """Run the cells that are missing from the file."""
    file = RESULTS / "plan_lab.json"
    cells = json.loads(file.read_text()) if file.exists() else {}
    for task, setting, rule in CELLS:
        for hidden, imperfections in HIDDEN.items():
            name = f"{task} | {rule['kind']} | {hidden}"
            if name not in cells:
                cells[name] = cell(setting, rule, imperfections)
                print(name, cells[name]["predicted"], sorted(map(str, cells[name]["measured"])))
                file.write_text(json.dumps(cells, indent=1) + "\n")
    write_table(cells)


if __name__ == "__main__":
    main()
