"""Whitened node perturbation on the convolutional network of Oripov2025: measurements to 80 %.

`whitened.py [CHIP]` runs the seeds that are missing from docs/results/whitened.json one after
another, then writes the table. All seeds and chips use the settings of the preset. The test set is
evaluated every 300 measurements; these evaluations are not counted. A run ends at an accuracy of
80 %.
"""

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import dither

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "whitened.json"
PRESET = "fashion-mnist-cnn-node"
FIRST, SEEDS, BESIDE = 10, 9, 1
"""The first reported seed, the number of reported seeds, and the number run in parallel."""
TARGET, EVERY, BUDGET = 0.8, 300, 3000
CHIPS = {
    "ideal": "[]",
    "8-bit DACs, output noise 0.01": (
        '[{kind = "dac", bits = 8, low = -1.0, high = 1.0}, {kind = "output-noise", sigma = 0.01}]'
    ),
}


def run(chip: str, seed: int, count: int) -> dict[str, Any]:
    """The test accuracy at each evaluation, by seed."""
    changes = [
        f"seed={seed}", f"replicas={count}", f"score_every={EVERY}", f"until.score={TARGET}",
        f"until.measurements={BUDGET}", f"device.imperfections={CHIPS[chip]}",
    ]  # fmt: skip
    history = dither.read_specification(PRESET, changes).train().history
    return {
        f"{chip} | {seed + replica}": [
            [int(m), round(float(s), 4)] for m, s in zip(one.measurements, one.score)
        ]
        for replica, one in history.groupby("replica")
    }


def told(count: float) -> str:
    """Format a number of measurements."""
    return f"> {BUDGET}" if np.isinf(count) else f"{count:.0f}"


def write_table(runs: dict[str, Any]) -> None:
    """Write the Markdown table."""
    lines = [
        "| chip | seeds run | reached 80 % | measurements, median | worst |",
        "|---|---|---|---|---|",
    ]
    for chip in CHIPS:
        mine = [run for name, run in runs.items() if name.startswith(f"{chip} | ")]
        counts = sorted(next((m for m, score in run if score >= TARGET), np.inf) for run in mine)
        if counts:
            reached = sum(map(np.isfinite, counts))
            ends = f"{told(float(np.median(counts)))} | {told(counts[-1])}"
            lines.append(f"| {chip} | {len(mine)} of {SEEDS} | {reached} | {ends} |")
        else:
            lines.append(f"| {chip} | none run | | | |")
    RESULTS.with_suffix(".md").write_text("\n".join(lines) + "\n", "utf-8")


def main(chips: list[str]) -> None:
    """Run the missing seeds and save the results after each group of parallel seeds."""
    warnings.filterwarnings("ignore")
    runs = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for chip in chips or CHIPS:
        for seed in range(FIRST, FIRST + SEEDS, BESIDE):
            if f"{chip} | {seed}" in runs:
                continue
            began = time.process_time()
            runs |= run(chip, seed, BESIDE)
            RESULTS.write_text(json.dumps(runs) + "\n", "utf-8")
            write_table(runs)
            print(chip, seed, f"{time.process_time() - began:.0f} s of processor time", flush=True)
    write_table(runs)


if __name__ == "__main__":
    main(sys.argv[1:])
