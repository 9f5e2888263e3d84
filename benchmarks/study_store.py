"""Measure the loading time of ten thousand finished runs, and the time and size of their report.

`study_store.py [FOLDER]` generates artificial runs, with the columns and curves of real runs.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dither.contract import Space
from dither.studies import Study, load_study
from dither.studies.job import row_of
from dither.studies.plan import planned
from dither.studies.report import write_report
from dither.studies.store import RUNS, open_study, row_bytes
from dither.training import Ledger, Replica, Result, StopReason

RECORDS = 100
BUDGET = 500_000
SIZES = range(2, 12)

STUDY = Study(
    name="made-up",
    base="parity4",
    set={"until.measurements": BUDGET},
    axes={
        "algorithm.learning_rate": [float(rate) for rate in np.geomspace(0.1, 10, 20).round(3)],
        "bits": {
            "task.bits": [*SIZES],
            "device.network.widths": [[bits, 2 * bits, 1] for bits in SIZES],
        },
    },
    seeds=50,
    fits=({"x": "bits"}, {"x": "bits", "by": "algorithm.learning_rate"}),
)


def made_up_runs(study: Study) -> Iterator[tuple[str, bytes]]:
    """Yield the names and file contents of artificial runs.

    Their measurements to the target grow as bits², with random scatter.
    """
    draw = np.random.default_rng(0)
    for cell in study.cells:
        bits, rate = cell.labels["bits"], cell.labels["algorithm.learning_rate"]
        for seed in study.seed_list:
            needed = 1e4 * bits**2 / rate**0.3 * draw.lognormal(0, 0.6)
            run = planned(cell, seed)
            row = row_of(run, _result(seed, min(needed, BUDGET), needed <= BUDGET, draw), 0)
            yield run.name, row_bytes(row | {"job_seconds": 1.0, "searched": 0})


def _result(seed: int, end: float, reached: bool, draw: np.random.Generator) -> Result:
    measurements = np.linspace(end / RECORDS, end, RECORDS).astype(int)
    score = np.linspace(0.5, 1.0 if reached else 0.9, RECORDS)
    history = pd.DataFrame(
        {
            "replica": 0,
            "measurements": measurements,
            "wall_seconds": np.linspace(0.1, 10, RECORDS),
            "cost": 1 - score + 0.05 * draw.random(RECORDS),
            "test_cost": 1 - score,
            "score": score,
        }
    )
    whole = np.array([int(end)])
    ledger = Ledger(whole, whole, 4 * whole, 0 * whole, np.zeros(1), np.zeros(1))
    why = StopReason.SCORE if reached else StopReason.MEASUREMENTS
    last = Replica(seed, why, float(score[-1]), float(1 - score[-1]), ledger.replica(0))
    return Result(
        last.score, "accuracy", why, (last,), ledger, history, np.zeros((1, 0)), Space(()), seed,
        None,
    )  # fmt: skip


def timed(what: str, call: Any) -> Any:
    """Return the result of a call, and print how long it took."""
    began, used = time.perf_counter(), time.process_time()
    value = call()
    took, used = time.perf_counter() - began, time.process_time() - used
    print(f"{what}: {took:.1f} s wall time, {used:.1f} s processor time", flush=True)
    return value


def main(folder: Path) -> None:
    if not (folder / RUNS).is_dir():
        study = open_study(folder, STUDY)
        (folder / RUNS).mkdir()
        for name, content in made_up_runs(study):
            (folder / RUNS / f"{name}.parquet").write_bytes(content)
    size = sum(file.stat().st_size for file in (folder / RUNS).iterdir())
    print(f"{STUDY.runs} files, {size / 1e6:.0f} MB")
    for _ in range(2):
        table = timed("load_study", lambda: load_study(folder))
    print(f"{len(table)} runs, {table['reached'].mean():.0%} reached the target")
    page = timed("write_report", lambda: write_report(folder))
    print(f"{page.name}: {page.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    if sys.argv[1:]:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made) / "study")
