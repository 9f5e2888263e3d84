"""Whitened node perturbation on the convolutional network of Oripov2025: measurements to 80 %.

`whitened.py [CHIP]` runs the seeds that docs/results/whitened.json does not have yet, three side by
side, then writes the table. The settings are the preset's, the same for every seed and chip. The
test set is looked at every 150 measurements; the looks are not counted.
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
FIRST, SEEDS, BESIDE = 10, 9, 3
"""The first seed that is reported, how many are, and how many are run side by side."""
TARGETS, EVERY, BUDGET = (0.8, 0.82), 150, 3000
CHIPS = {
    "ideal": "[]",
    "8-bit DACs, output noise 0.01": (
        '[{kind = "dac", bits = 8, low = -1.0, high = 1.0}, {kind = "output-noise", sigma = 0.01}]'
    ),
}


def run(chip: str, seed: int, count: int) -> dict[str, Any]:
    """The test accuracy at every look, by seed."""
    changes = [
        f"seed={seed}", f"replicas={count}", f"score_every={EVERY}", "until.score=1.0",
        f"until.measurements={BUDGET}", f"device.imperfections={CHIPS[chip]}",
    ]  # fmt: skip
    history = dither.read_specification(PRESET, changes).train().history
    return {
        f"{chip} | {seed + replica}": [
            [int(m), round(float(s), 4)] for m, s in zip(one.measurements, one.score)
        ]
        for replica, one in history.groupby("replica")
    }


def told(runs: list[Any], target: float) -> str:
    """The median and the worst of the measurements to a target."""
    first = [next((m for m, score in run if score >= target), np.inf) for run in runs]
    counts = sorted(first)
    middle, worst = (
        f"> {BUDGET}" if np.isinf(one) else f"{one:.0f}"
        for one in (counts[len(runs) // 2], counts[-1])
    )
    return f"{middle} | {worst} | {sum(map(np.isfinite, counts))} of {len(runs)}"


def write_table(runs: dict[str, Any]) -> None:
    """Write the table that the page includes."""
    lines = [
        "| chip | target | median | worst | seeds that reached it | accuracy after "
        f"{BUDGET}: median, least |",
        "|---|---|---|---|---|---|",
    ]
    for chip in CHIPS:
        mine = [run for name, run in runs.items() if name.startswith(f"{chip} | ")]
        if not mine:
            lines.append(f"| {chip} | not run | | | | |")
            continue
        ends = sorted(run[-1][1] for run in mine)
        for target in TARGETS:
            end = f"{100 * ends[len(ends) // 2]:.1f} %, {100 * ends[0]:.1f} %"
            lines.append(f"| {chip} | {100 * target:.0f} % | {told(mine, target)} | {end} |")
    RESULTS.with_suffix(".md").write_text("\n".join(lines) + "\n", "utf-8")


def main(chips: list[str]) -> None:
    """Run what is missing, write after every few seeds."""
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
