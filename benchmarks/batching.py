"""Compare a study of many seeds in one process with one process per seed, on the same cores.

`batching.py` prints both times and writes docs/results/batching.json.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "batching.json"
SEEDS = 64
STUDY = f"""
name = "batching"
base = "nist7x7"
seeds = {SEEDS}
"""


def in_one_process(folder: Path) -> tuple[float, int]:
    """Return the seconds that `dither study` takes, and the measurements of all runs."""
    (folder / "batching.toml").write_text(STUDY)
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "dither.cli", "study", "batching.toml", "--out", "one"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    took = time.perf_counter() - began
    table = pd.read_parquet(folder / "one" / "runs", columns=["measurements"])
    return took, int(table["measurements"].sum())


def in_separate_processes(folder: Path) -> tuple[float, int]:
    """Return the seconds that one `dither train` per seed takes, and the measurements of all runs.

    As many processes run at a time as there are cores.
    """

    def one(seed: int) -> int:
        told = subprocess.run(
            [sys.executable, "-m", "dither.cli", "train", "nist7x7", "--replicas", "1", "--json",
             "--seed", str(seed), "--out", f"seed-{seed}"],
            cwd=folder, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return int(json.loads(told.stdout)["ledger"]["measurements"])

    began = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = list(pool.map(one, range(SEEDS)))
    return time.perf_counter() - began, int(np.sum(counts))


def main() -> None:
    """Time both methods and compare their numbers of measurements."""
    with tempfile.TemporaryDirectory() as place:
        one, measured = in_one_process(Path(place))
        separate, measured_too = in_separate_processes(Path(place))
    found = {
        "seeds": SEEDS,
        "cores": os.cpu_count(),
        "one process, s": round(one, 1),
        "separate processes, s": round(separate, 1),
        "ratio": round(separate / one, 1),
        "measurements": [measured, measured_too],
    }
    print(json.dumps(found, indent=1))
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
