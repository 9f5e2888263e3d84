"""The accuracy of predicted remaining time: recorded trainings predicted from their first part.

`left.py record` trains the cells and their stand-ins that are missing from the folder $LEFT.
`left.py report` writes docs/results/time_left.json and time_left.md. The result is the ratio of
predicted to actual remaining measurements after a tenth, a quarter and half of each training.

The form of each prediction was chosen on the cells of `TRIED`. The cells of `FRESH`, with other
seeds, rates and widths, were predicted once, after the form was fixed.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dither import Specification
from dither.planning.left import Curve, curves_of, expected

LEFT = Path(os.environ.get("LEFT", "left"))
RESULTS = Path(__file__).parents[2] / "docs" / "results"

NIST = {"kind": "nist7x7"}
XOR = {"kind": "xor"}
DIGITS = {"kind": "digits", "batch": 64}
FASHION = {"kind": "fashion-mnist", "batch": 100}
REAL = [{"kind": "dac", "bits": 8, "low": -1.0, "high": 1.0},
        {"kind": "output-noise", "sigma": 0.01}]  # fmt: skip


def parity(bits: int) -> dict[str, Any]:
    """The parity task with a number of bits."""
    return {"kind": "parity", "bits": bits}


def sigmoid(*widths: int, bias: float = 0.0) -> dict[str, Any]:
    """The network type of the small presets."""
    return {"kind": "mlp", "widths": widths, "activation": "sigmoid", "output": "sigmoid",
            "bias": bias}  # fmt: skip


def tanh(*widths: int) -> dict[str, Any]:
    """The network type of the larger presets."""
    return {"kind": "mlp", "widths": widths, "activation": "tanh"}


def weight(rate: float, delta: float = 1e-3, **more: Any) -> dict[str, Any]:
    """Weight perturbation."""
    return {"kind": "weight-mgd", "pairs": "central", "learning_rate": rate, "delta": delta, **more}


def node(rate: float, **more: Any) -> dict[str, Any]:
    """Node perturbation."""
    return {"kind": "node-perturbation", "learning_rate": rate, **more}


ADAM = {"optimizer": "adam"}
LAYERS = {"kind": "layerwise-mgd", "delta": 1e-3}

Cell = tuple[dict[str, Any], dict[str, Any], list[Any], dict[str, Any], float, int, int]
"""Task, network, imperfections, algorithm, target, budget, measurements between evaluations."""

TRIED: dict[str, Cell] = {
    "nist7x7 49-4-4 weight 0.2": (NIST, sigmoid(49, 4, 4), [], weight(0.2, 0.01), 0.95, 60_000, 50),
    "nist7x7 (4) 49-4-4 node 0.2":
        (NIST | {"batch": 4}, sigmoid(49, 4, 4), [], node(0.2), 0.95, 30_000, 10),
    "parity4 4-8-1 weight 2":
        (parity(4), sigmoid(4, 8, 1, bias=1.0), [], weight(2.0, 0.1), 1.0, 200_000, 200),
    "digits 64-32-10 weight 0.01": (DIGITS, tanh(64, 32, 10), [], weight(0.01), 0.9, 60_000, 50),
    "digits 64-16-10 node 0.02": (DIGITS, tanh(64, 16, 10), [], node(0.02), 0.9, 20_000, 10),
    "digits 64-32-10 weight, Adam 0.001, 8 bits":
        (DIGITS, tanh(64, 32, 10), REAL, weight(1e-3, 8e-3, **ADAM), 0.9, 100_000, 100),
    "fashion-mnist 784-16-10 node 0.02":
        (FASHION, tanh(784, 16, 10), [], node(0.02), 0.75, 30_000, 20),
    "fashion-mnist 784-16-10 weight, Adam 0.001":
        (FASHION, tanh(784, 16, 10), [], weight(1e-3, **ADAM), 0.75, 150_000, 300),
}  # fmt: skip
FRESH: dict[str, Cell] = {
    "nist7x7 49-8-4 weight 0.1": (NIST, sigmoid(49, 8, 4), [], weight(0.1, 0.01), 0.95, 60_000, 50),
    "nist7x7 49-4-4 node 0.1": (NIST, sigmoid(49, 4, 4), [], node(0.1), 0.95, 30_000, 10),
    "nist7x7 (16) 49-6-4 node 0.2":
        (NIST | {"batch": 16}, sigmoid(49, 6, 4), [], node(0.2), 0.95, 30_000, 8),
    "xor 2-4-1 weight 3": (XOR, sigmoid(2, 4, 1, bias=1.0), [], weight(3.0, 0.1), 1.0, 60_000, 40),
    "parity3 3-6-1 weight 2":
        (parity(3), sigmoid(3, 6, 1, bias=1.0), [], weight(2.0, 0.1), 1.0, 200_000, 100),
    "parity4 4-8-1 node 2":
        (parity(4), sigmoid(4, 8, 1, bias=1.0), [], node(2.0), 1.0, 200_000, 100),
    "digits 64-24-10 weight 0.005": (DIGITS, tanh(64, 24, 10), [], weight(0.005), 0.9, 60_000, 50),
    "digits 64-24-10 node 0.01": (DIGITS, tanh(64, 24, 10), [], node(0.01), 0.9, 20_000, 16),
    "digits 64-48-10 weight, Adam 0.0005, 8 bits":
        (DIGITS, tanh(64, 48, 10), REAL, weight(5e-4, 8e-3, **ADAM), 0.9, 150_000, 150),
    "digits 64-20-10 layer by layer 0.005":
        (DIGITS, tanh(64, 20, 10), [], LAYERS | {"learning_rate": 0.005}, 0.9, 60_000, 50),
    "fashion-mnist 784-24-10 node 0.01":
        (FASHION, tanh(784, 24, 10), [], node(0.01), 0.8, 60_000, 40),
    "fashion-mnist 784-24-10 node 0.03":
        (FASHION, tanh(784, 24, 10), [], node(0.03), 0.75, 30_000, 20),
    "fashion-mnist 784-24-10 weight, Adam 0.0005":
        (FASHION, tanh(784, 24, 10), [], weight(5e-4, **ADAM), 0.75, 200_000, 400),
    "fashion-mnist 784-24-10 weight 0.002":
        (FASHION, tanh(784, 24, 10), [], weight(0.002), 0.7, 200_000, 400),
}  # fmt: skip
SEEDS = {"tried": (0, 8), "fresh": (100, 4)}
"""The first seed and the number of seeds."""

STAND_IN = 500, 4
WIDTHS = {4: 6, 6: 4, 8: 5, 16: 28, 20: 36, 24: 14, 32: 20, 48: 28}
"""The hidden width of the stand-in for each hidden width of a cell."""

OTHER = {"tanh": "relu", "sigmoid": "tanh"}
KINDS = ("width", "width and activation")
PARTS = (0.1, 0.25, 0.5)
NEVER = 100.0
"""The ratio that represents a prediction without an end; finite ratios are clipped to it."""


def run(cell: Cell, seed: int, replicas: int) -> Specification:
    """The specification of a cell's trainings."""
    task, network, imperfections, algorithm, score, most, every = cell
    device = {"kind": "simulated", "network": network, "imperfections": imperfections}
    until = {"score": score, "measurements": most}
    return Specification.model_validate(
        {"task": task, "device": device, "algorithm": algorithm, "until": until,
         "seed": seed, "replicas": replicas, "score_every": every}
    )  # fmt: skip


def stand_in(cell: Cell, kind: str) -> Cell:
    """A cell with another network and no imperfections, with the same rule and settings."""
    task, network, _, *rest = cell
    first, hidden, last = network["widths"]
    other = network | {"widths": (first, WIDTHS[hidden], last)}
    if kind == "width and activation":
        other["activation"] = OTHER[network["activation"]]
    return (task, other, [], *rest)


def works() -> Iterator[tuple[str, Cell, int, int]]:
    """Yield file name, cell, first seed and number of seeds of each training."""
    for group, cells in (("tried", TRIED), ("fresh", FRESH)):
        for name, cell in cells.items():
            yield f"{group} {name}", cell, *SEEDS[group]
            for kind in KINDS:
                yield f"{kind}, {group} {name}", stand_in(cell, kind), *STAND_IN


def file(name: str) -> Path:
    """The path of a stored history."""
    return LEFT / f"{name.replace('/', ' ')}.parquet"


def record() -> None:
    """Run the trainings that are not yet recorded."""
    LEFT.mkdir(exist_ok=True, parents=True)
    for name, cell, seed, replicas in works():
        if file(name).is_file():
            continue
        began = time.perf_counter()
        history = run(cell, seed, replicas).train().history
        history[["replica", "measurements", "cost", "score"]].to_parquet(file(name))
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)


Past = tuple[np.ndarray, np.ndarray, np.ndarray]


def line(past: Past, target: float) -> float:
    """Predict the end by a straight line through the second half of the scores."""
    m, _, s = past
    half = max(3, len(m) // 2)
    slope, start = np.polyfit(m[-half:], s[-half:], 1)
    return float((target - start) / slope) if slope > 0 else np.inf


def own_past(past: Past, target: float) -> float:
    """Predict the end by an exponential fit to the measured cost.

    This is the best prediction found that requires no other run. The difference of the score from 1
    is assumed to decay as the cost does. Power laws and laws with an onset, of the cost and of the
    score, with priors on their exponents, were not better at a tenth of the training.
    """
    m, cost, s = past
    t = np.concatenate([[m[0] / 2], (m[1:] + m[:-1]) / 2])
    slope, start = np.polyfit(t, -np.log(cost), 1, w=cost)
    lacks = np.mean(np.log(np.maximum(1 - s[-4:], 1e-3)))
    scatter = np.std(np.diff(s)) / np.sqrt(2)
    further = lacks - np.log(max(1 - target, scatter / 4, 1e-3))
    return float((further - np.mean(np.log(cost[-4:])) - start) / slope) if slope > 0 else np.inf


def ratios(name: str, group: str, cell: Cell) -> dict[str, list[list[float]]]:
    """For each prediction and each part, the ratios of all trainings."""
    target = cell[4]
    history = pd.read_parquet(file(f"{group} {name}"))
    like = {}
    for kind in KINDS:
        like[kind] = curves_of(pd.read_parquet(file(f"{kind}, {group} {name}")), target)
    told: dict[str, Callable[[Past], float]] = {
        "line": lambda past: line(past, target),
        "own past": lambda past: own_past(past, target),
    }
    for kind, curves in like.items():
        if curves:
            median = float(np.median([curve.measurements[-1] for curve in curves]))
            told[f"unstretched, {kind}"] = lambda _, median=median: median
            told[kind] = lambda past, curves=curves: (
                expected(Curve(past[0], past[2]), curves).measurements
            )
    found: dict[str, list[list[float]]] = {how: [[] for _ in PARTS] for how in told}
    for _, one in history.groupby("replica"):
        columns = one[["measurements", "cost", "score"]].to_numpy(float).T
        if columns[2][-1] < target:
            continue
        end = columns[0][-1]
        for place, part in enumerate(PARTS):
            n = int(np.sum(columns[0] <= part * end))
            if n < 3:
                continue
            now = columns[0][n - 1]
            for how, tell in told.items():
                left = tell(tuple(columns[:, :n])) - now
                found[how][place].append(float(np.clip(left / (end - now), 1 / NEVER, NEVER)))
    return found


def miss(values: list[float]) -> float:
    """The median factor by which the ratios differ from 1."""
    return float(np.exp(np.median(np.abs(np.log(values)))))


def shown(ratio: float) -> str:
    """Format a ratio; ∞ if it is `NEVER` or larger."""
    return "∞" if ratio >= NEVER else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def report() -> None:
    """Write the results and the table of the `FRESH` cells."""
    rows = {
        group: {name: ratios(name, group, cell) for name, cell in cells.items()}
        for group, cells in (("tried", TRIED), ("fresh", FRESH))
    }
    (RESULTS / "time_left.json").write_text(json.dumps(rows, indent=1) + "\n")
    hows = ("line", "own past", "unstretched, width", "width", "width and activation")
    lines = [
        "| cell | straight line | own past | stand-in, as it is | stand-in, stretched | other "
        "activation, stretched |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in rows["fresh"].items():
        told = [" · ".join(shown(np.median(v)) if v else "–" for v in found[how])
                if how in found else "–" for how in hows]  # fmt: skip
        lines.append(" | ".join(["| " + name, *told]) + " |")
    for group in ("fresh", "tried"):
        for what, of in (
            ("median factor off", miss),
            ("share within 1.5", lambda v: np.mean(np.abs(np.log(v)) <= np.log(1.5))),
        ):
            told = []
            for how in hows:
                each = [[r for f in rows[group].values() if how in f for r in f[how][place]]
                        for place in range(len(PARTS))]  # fmt: skip
                told.append(" · ".join(f"{of(values):.2f}" for values in each))
            lines.append(" | ".join([f"| **{what}, {group} trainings**", *told]) + " |")
    (RESULTS / "time_left.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    {"record": record, "report": report}[sys.argv[1]]()
