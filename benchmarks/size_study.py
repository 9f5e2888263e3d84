"""Measurements to a target accuracy against network size, each method at its best learning rate.

`size_study.py [TASK]` runs the trainings that are missing from docs/results/size_study.json. Then
`size_laws.py` adds predictors that require no such training, and `size_report.py` writes the table
and the figure.

All methods use the same search for the learning rate. A round tries three rates, each on three
seeds that are used in no other round. It ends when two of the three seeds of one rate have reached
the target. The rates of the first round are spaced by a factor of 4. Those of the second round are
spaced by a factor of 2 around the best rate of the first. Further rounds are added only until
the rates on both sides of the best one take more measurements. Nine other seeds are then run at the
best rate.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dither import MLP, SimulatedDevice
from dither.algorithms import (
    AbstractAlgorithm,
    Backpropagation,
    LayerwiseMGD,
    NodePerturbation,
    WeightMGD,
)
from dither.codes import Walsh
from dither.tasks import Digits, FashionMNIST, Task
from time_law import Training

Row = dict[str, Any]
Network = tuple[str, int, int]

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "results" / "size_study.json"

METHODS: dict[str, AbstractAlgorithm] = {
    "backpropagation": Backpropagation(learning_rate=1.0),
    "node, per example": NodePerturbation(learning_rate=1.0, pairs="central", per_example=True),
    "node": NodePerturbation(learning_rate=1.0, pairs="central"),
    "weight": WeightMGD(learning_rate=1.0, pairs="central"),
    "optimal split": LayerwiseMGD(learning_rate=1.0, pairs="central", split="optimal"),
    "layer by layer": LayerwiseMGD(learning_rate=1.0, pairs="central"),
    "weight, Walsh": WeightMGD(learning_rate=1.0, pairs="central", code=Walsh()),
}
"""Plain descent with a new batch for each update; the study sets the learning rate."""

NETWORKS = [
    *(("digits", 64, hidden) for hidden in (6, 40, 280)),
    *(("fashion-mnist", 784, hidden) for hidden in (4, 16, 64)),
    *(("fashion-mnist", pixels, 64) for pixels in (49, 196)),
    ("digits", 64, 1940),
]
"""Task, inputs and hidden neurons, in the order of execution. Averaging the pixels of Fashion-MNIST
in blocks gives networks with different numbers of parameters and the same number of nodes."""

TARGET = {"digits": 0.85, "fashion-mnist": 0.7}
BATCH = {"digits": 64, "fashion-mnist": 100}
FIRST = {
    "backpropagation": 0.5, "weight": 0.01, "weight, Walsh": 0.01, "layer by layer": 0.01,
    "optimal split": 0.01, "node": 0.1, "node, per example": 0.25,
}  # fmt: skip
"""The middle rates of the first digits network, from time_law.py. The first Fashion-MNIST network
uses one fifth of these rates. Later networks start from the rate of the network closest in size."""
MAJORITY = 2
"""The number of the three seeds of a rate that must reach the target."""
SEEDS = tuple(range(9))
ROUNDS = 6
"""The maximum number of rounds of a search."""
MOST = 60_000
"""The number of measurements after which a search is stopped."""
PATIENCE = 4
"""Runs are stopped after this multiple of the measurements found in the search."""


def load(name: str, pixels: int) -> Task:
    """Load the data of a task; 2 000 test images are sufficient to estimate an accuracy."""
    if name == "digits":
        return Digits(batch=BATCH[name]).load()
    task = FashionMNIST(batch=BATCH[name]).load()
    side, block = int(pixels**0.5), 28 // int(pixels**0.5)

    def small(images: Any) -> Any:
        return images.reshape(-1, side, block, side, block).mean(axis=(2, 4)).reshape(-1, pixels)

    return replace(
        task,
        inputs=small(task.inputs),
        test_inputs=small(task.test_inputs[:2000]),
        test_targets=task.test_targets[:2000],
    )


def tuned(training: Training, middle: float, target: float) -> Row:
    """Search for the best rate; return it with its result and all rates tried."""
    tried: dict[float, float] = {}
    best, spacing, number = middle, 4.0, 0
    while True:
        rates = [best / spacing, best, best * spacing]
        seeds = tuple(100 + 3 * number + i for i in range(3))
        found = training.times(rates, seeds, target, MOST, MAJORITY)
        medians = np.sort(found, axis=1)[:, MAJORITY - 1]
        tried |= dict(zip(rates, medians.tolist()))
        number, spacing = number + 1, 2.0
        best = min(sorted(tried), key=lambda rate: tried[rate])
        if np.isinf(tried[best]):
            break
        if number == ROUNDS or (number >= 2 and min(tried) < best < max(tried)):
            break
    return {
        "rate": best,
        "about": _finite(tried[best]),
        "rounds": number,
        "rates tried": {f"{rate:g}": _finite(tried[rate]) for rate in sorted(tried)},
    }


def trained(method: str, network: Network, task: Task, middle: float) -> Row:
    """One row of the table: the measurements at the best rate, and the rates tried."""
    name, inputs, hidden = network
    began = time.perf_counter()
    device = SimulatedDevice(network=MLP(widths=(inputs, hidden, 10)))
    training = Training(METHODS[method], device, task)
    search = tuned(training, middle, TARGET[name])
    runs, most = [np.inf] * len(SEEDS), MOST
    if search["about"] is not None:
        most = int(PATIENCE * search["about"])
        runs = training.times([search["rate"]], SEEDS, TARGET[name], most, len(SEEDS))[0].tolist()
    return {
        "task": name, "inputs": inputs, "hidden": hidden, "method": method,
        "parameters": device.space.size, "nodes": hidden + 10, "target": TARGET[name],
        **search, "runs": [_finite(x) for x in sorted(runs)], "stopped": most,
        "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


def first_rate(rows: list[Row], method: str, network: Network) -> float:
    """The rate of the network closest in size among those already run with the method."""
    name, inputs, hidden = network
    done = [r for r in rows if (r["task"], r["method"]) == (name, method) and r["about"]]
    if not done:
        return FIRST[method] / (1 if name == "digits" else 5)
    size = np.log((inputs + 11) * hidden)
    return min(done, key=lambda r: abs(np.log(r["parameters"]) - size))["rate"]


def _finite(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


def read() -> dict[str, list[Row]]:
    """Read the stored results."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {"trainings": [], "laws": []}


def keep(part: str, row: Row) -> None:
    """Add a row to the stored results."""
    found = read()
    found[part].append(row)
    fresh = RESULTS.with_suffix(".part")
    fresh.write_text(json.dumps(found, indent=1) + "\n")
    fresh.replace(RESULTS)
    print(json.dumps(row), flush=True)


def same(row: Row, network: Network) -> bool:
    """Whether a row belongs to this network."""
    return (row["task"], row["inputs"], row["hidden"]) == network


def main() -> None:
    """Run the missing trainings."""
    for network in NETWORKS:
        if sys.argv[1:] and network[0] not in sys.argv[1:]:
            continue
        task = None
        for method in METHODS:
            rows = read()["trainings"]
            if any(same(row, network) and row["method"] == method for row in rows):
                continue
            task = task or load(*network[:2])
            keep("trainings", trained(method, network, task, first_rate(rows, method, network)))


if __name__ == "__main__":
    main()
