"""How good the time left is: recorded trainings, cut off and predicted from their own past.

`left.py record` trains the cells that are not recorded in the folder LEFT yet; `left.py report`
writes docs/results/time_left.json and .md. The form of the law was chosen on the cells of `TRIED`;
those of `FRESH` were listed before they were looked at, with other seeds, rates and widths.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

from dither import Specification

LEFT = Path(os.environ.get("LEFT", "left"))

NIST = {"kind": "nist7x7"}
XOR = {"kind": "xor"}
DIGITS = {"kind": "digits", "batch": 64}
FASHION = {"kind": "fashion-mnist", "batch": 100}
REAL = [{"kind": "dac", "bits": 8, "low": -1.0, "high": 1.0},
        {"kind": "output-noise", "sigma": 0.01}]  # fmt: skip


def parity(bits: int) -> dict[str, Any]:
    """The parity of some bits."""
    return {"kind": "parity", "bits": bits}


def sigmoid(*widths: int, bias: float = 0.0) -> dict[str, Any]:
    """The networks of the small presets."""
    return {"kind": "mlp", "widths": widths, "activation": "sigmoid", "output": "sigmoid",
            "bias": bias}  # fmt: skip


def tanh(*widths: int) -> dict[str, Any]:
    """The networks of the larger ones."""
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
"""The first seed, and how many."""


def run(cell: Cell, seed: int, replicas: int) -> Specification:
    """A cell's trainings."""
    task, network, imperfections, algorithm, score, most, every = cell
    device = {"kind": "simulated", "network": network, "imperfections": imperfections}
    until = {"score": score, "measurements": most}
    return Specification.model_validate(
        {"task": task, "device": device, "algorithm": algorithm, "until": until,
         "seed": seed, "replicas": replicas, "score_every": every}
    )  # fmt: skip


def record() -> None:
    """Train what is not recorded yet."""
    LEFT.mkdir(exist_ok=True, parents=True)
    for group, cells in (("tried", TRIED), ("fresh", FRESH)):
        for name, cell in cells.items():
            file = LEFT / f"{group} {name.replace('/', ' ')}.parquet"
            if file.is_file():
                continue
            began = time.perf_counter()
            result = run(cell, *SEEDS[group]).train()
            kept: pd.DataFrame = result.history[["seed", "measurements", "cost", "score"]]
            kept.to_parquet(file)
            ends = kept.groupby("seed").last()
            reached = ends["measurements"].where(ends["score"] >= cell[4])
            took = time.perf_counter() - began
            print(f"{group} {name}: {took:.0f} s, {sorted(reached.to_list())}", flush=True)


if __name__ == "__main__":
    {"record": record}[sys.argv[1]]()
