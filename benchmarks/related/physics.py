"""Compare adaptive collocation with uniform points, by perturbation and by backpropagation.

The task is Poisson's equation with a high-frequency wave packet as source: `poisson-1d` with
frequency 4 and width 0.15, solved by a 1-24-1 network. Each method is tuned over four settings on
three seeds, at the full budget. The setting with the best median is run on nine other seeds. All
methods measure the same number of residuals, with a batch of 16 points.

`physics.py FILE` stores each row in FILE as soon as it is computed, continues from the stored rows,
and prints the table.
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import dither
from dither import SimulatedDevice, Until
from dither.algorithms import Backpropagation, WeightMGD
from dither.networks import MLP
from dither.tasks import Adaptive, Poisson1D, Uniform

SEEDS, TUNING_SEEDS = 9, 3
TUNED_FROM = 1000
"""The first tuning seed; reported seeds start at 0."""

RULES = {"weight-mgd": 400_000, "backpropagation": 4_000}
"""The measurements of each rule."""

RATES = {"weight-mgd": (3e-3, 1e-2), "backpropagation": (1e-1, 3e-1)}
MORE_RATES = {"weight-mgd": (1e-3, 3e-3, 1e-2, 3e-2), "backpropagation": (1e-2, 3e-2, 1e-1, 3e-1)}
SAMPLERS = ("uniform", "residual", "gradient", "residual, unbiased")
PERIODS = (20, 200)
"""Resamplings per run; the cosine cycle restarts after five resamplings."""


def task_of(sampler: str, period: int) -> Poisson1D:
    """The equation with a sampler that resamples every `period` batches."""
    chosen: Any = Uniform()
    if sampler != "uniform":
        by, *unbiased = sampler.split(", ")
        chosen = Adaptive(by=by, every=period, unbiased=bool(unbiased), cycle=5, patience=10)
    differences = {"kind": "central-differences", "h": 0.01}
    return Poisson1D(
        frequency=4, width=0.15, batch=16, boundary=0.1, derivatives=differences, sampler=chosen
    )


def rule_of(rule: str, rate: float) -> Any:
    """A rule with Adam and cosine decay of the rate to 0 over the run."""
    updates = RULES[rule] // (2 if rule == "weight-mgd" else 1)
    schedule = {"name": "cosine_decay_schedule", "settings": {"decay_steps": updates}}
    optimizer = {"name": "adam", "schedule": schedule}
    if rule == "weight-mgd":
        return WeightMGD(learning_rate=rate, delta=0.01, pairs="central", optimizer=optimizer)
    return Backpropagation(learning_rate=rate, optimizer=optimizer)


DEVICE = SimulatedDevice(network=MLP(widths=(1, 24, 1), gain=6, bias=2))


def errors(rule: str, sampler: str, rate: float, resamplings: int, seed: int, n: int) -> Any:
    """The relative errors of n runs, and the full result."""
    batches = RULES[rule] // (2 if rule == "weight-mgd" else 1)
    task = task_of(sampler, max(batches // max(resamplings, 1), 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = dither.train(DEVICE, task, rule_of(rule, rate), key=seed, replicas=n,
                              until=Until(measurements=RULES[rule]))  # fmt: skip
    if result.stop_reason != "measurements":
        raise SystemExit(f"stopped by {result.stop_reason}")  # an interrupted run gives no row
    return [1 - one.score for one in result.replicas], result


def settings_of(rule: str, sampler: str) -> list[tuple[float, int]]:
    """Four settings: learning rates and, for an adaptive sampler, numbers of resamplings."""
    if sampler == "uniform":
        return [(rate, 0) for rate in MORE_RATES[rule]]
    return [(rate, many) for rate in RATES[rule] for many in PERIODS]


def interval(values: list[float]) -> tuple[float, float, float]:
    """The median and its 95 % bootstrap interval."""
    draws = np.random.default_rng(0).choice(values, (10_000, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return float(np.median(values)), float(low), float(high)


def run(file: Path) -> dict[str, Any]:
    """Compute all rows; rows that are stored in the file are reused."""
    rows: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}

    def row(*of: Any) -> list[float]:
        name = " | ".join(map(str, of))
        if name not in rows:
            begin = time.perf_counter()
            rows[name] = errors(*of)[0]
            file.write_text(json.dumps(rows, indent=1) + "\n")
            taken = time.perf_counter() - begin
            print(f"{name}: {np.round(rows[name], 4).tolist()}  {taken:.0f} s", flush=True)
        found: list[float] = rows[name]
        return found

    for rule in RULES:
        for sampler in SAMPLERS:
            tried = {one: np.median(row(rule, sampler, *one, TUNED_FROM, TUNING_SEEDS))
                     for one in settings_of(rule, sampler)}  # fmt: skip
            best = min(tried, key=tried.__getitem__)
            rows[f"{rule} | {sampler}"] = {
                "settings": best,
                "errors": row(rule, sampler, *best, 0, SEEDS),
            }
    file.write_text(json.dumps(rows, indent=1) + "\n")
    return rows


def table(rows: dict[str, Any]) -> str:
    """Format the rows as a Markdown table."""
    lines = [
        "| rule | points | learning rate | resamplings | relative error, median | 95 % interval | "
        "uniform / this error |",
        "|---|---|---|---|---|---|---|",
    ]
    for rule in RULES:
        plain = np.median(rows[f"{rule} | uniform"]["errors"])
        for sampler in SAMPLERS:
            if (found := rows.get(f"{rule} | {sampler}")) is None:
                continue
            (rate, many), (middle, low, high) = found["settings"], interval(found["errors"])
            lines.append(f"| `{rule}` | {sampler} | {rate:g} | {many or '–'} | {middle:.3f} | "
                         f"{low:.3f} to {high:.3f} | {plain / middle:.2f} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compute the missing rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    print(table(run(parser.parse_args().file)))


if __name__ == "__main__":
    main()
