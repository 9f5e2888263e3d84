"""Train the Python devices of examples/ that show neurons: measurements to a target.

`own_device.py` writes docs/results/own_device.json and own_device.md. The learning rate of each
method is tuned on a separate seed: three rates spaced by a factor of 3, and further ones while the
best is the lowest or the highest. The best rate has the fewest measurements to the target. The
nine reported seeds are new. Measurements include the evaluations of the test set.
"""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import dither

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "own_device.json"
TUNED, FIRST, SEEDS, MOST_RATES = 1000, 10, 9, 7
CONVOLUTION = "examples/my_convolution.toml"
WEIGHTS = {
    "kind": "weight-mgd", "pairs": "central", "delta": 0.05, "optimizer": {"name": "adam"},
}  # fmt: skip
KNOWN = "`whitened-node-perturbation`, `known_output = true`"
UNKNOWN = "the same, `known_output = false`"
PERTURBED = "`weight-mgd`, central pairs, Adam, `delta` 0.05"
METHODS: dict[str, tuple[dict[str, Any], float, int, int]] = {
    KNOWN: ({"known_output": True}, 0.1, 20, 3000),
    UNKNOWN: ({"known_output": False}, 0.1, 20, 5000),
    PERTURBED: (WEIGHTS, 0.003, 100, 30_000),
}
"""By method: its changes, the middle of its rates, measurements between evaluations, the budget."""
SEES = {
    KNOWN: "outputs, inputs of both layers, the cost's formula",
    UNKNOWN: "costs of the examples, inputs of both layers",
    PERTURBED: "cost",
}


def taken(method: str, rate: float, seed: int) -> float:
    """The measurements to the target, infinite if it was not reached."""
    changes, _, every, most = METHODS[method]
    specification = dither.read_specification(
        CONVOLUTION, [f"seed={seed}", f"score_every={every}", f"until.measurements={most}"]
    )
    algorithm = specification.algorithm.model_dump()
    algorithm = changes if "kind" in changes else {**algorithm, **changes}
    table = specification.model_dump() | {"algorithm": {**algorithm, "learning_rate": rate}}
    result = type(specification)(**table).train()
    return float(result.ledger["measurements"]) if result.replicas[0].reached else math.inf


def tuned(method: str) -> float:
    """The rate with the fewest measurements on the tuning seed."""
    middle = METHODS[method][1]
    found: dict[float, float] = {}
    waiting = [middle / 3, middle, middle * 3]
    while waiting:
        rate = waiting.pop()
        found[rate] = taken(method, rate, TUNED)
        best = min(found, key=lambda one: found[one])
        if not waiting and best in (min(found), max(found)) and len(found) < MOST_RATES:
            waiting = [best * 3 if best == max(found) else best / 3]
    return best


def write_table(rows: dict[str, Any]) -> None:
    """Write the Markdown table."""
    lines = ["| method | sees | learning rate | median (range) |", "|---|---|---|---|"]
    for method, row in rows.items():
        counts = [math.inf if count is None else count for count in row["to"]]
        told = [
            f"> {METHODS[method][3]}" if math.isinf(c) else f"{c:.0f}"
            for c in (float(np.median(counts)), min(counts), max(counts))
        ]
        ends = f"{told[0]} ({told[1]} – {told[2]})"
        lines.append(f"| {method} | {SEES[method]} | {row['rate']:.2g} | {ends} |")
    RESULTS.with_suffix(".md").write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    """Run all methods and write the table."""
    warnings.filterwarnings("ignore")
    rows: dict[str, Any] = {}
    for method in METHODS:
        rate = tuned(method)
        counts = [taken(method, rate, FIRST + seed) for seed in range(SEEDS)]
        rows[method] = {"rate": rate, "to": [None if math.isinf(c) else int(c) for c in counts]}
        print(method, rows[method], flush=True)
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
        write_table(rows)


if __name__ == "__main__":
    main()
