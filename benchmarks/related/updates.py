"""Compare update rules with plain descent: measurements to a score, on six tasks.

`updates.py FILE.json [TASK ...]` runs the cells that are missing from the file and prints the
table. A cell is a task and an update. All cells use weight MGD with central pairs, with a new batch
and an update after each pair.

The learning rate of a cell is the best of six, spaced by a factor of 2. If the best rate is at an
end of the range, two further rates are added there, at most three times. Each rate is tried on
three seeds that no reported run uses, until two runs of one rate have reached the score. The other
settings of an update are tied to its rate or left at their defaults, see `updates`.

Nine seeds are then run at the best rate. The result is the Kaplan–Meier median with its 95 %
interval; a run that has not reached the score is censored. The ratio is the median of plain descent
divided by the median of the update. It is above 1 if the update is better, and has a bootstrap
interval over both.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

from dither._files import write_atomically
from dither.studies import Study, median_with_interval, plan
from dither.studies.search import FIRST_SEED
from dither.studies.together import train_together

Row: TypeAlias = dict[str, Any]
RATES, ROUNDS, TUNED_BY, SEEDS = 6, 4, 3, 9


class Job(NamedTuple):
    """The table of a run without its update, and the settings of its search.

    `rate` is the middle rate of plain descent. `adaptive` is the middle rate of updates that divide
    by the size of the estimates. `batches` is the number m of batches.
    """

    base: Row
    rate: float
    adaptive: float
    batches: int
    noise: float = 1.5
    seeds: int = SEEDS


def run_of(
    task: Row, widths: list[int], score: float, measurements: int, every: int, **parts: Any
) -> Row:
    """The table of a run.

    `parts` are settings of the network, except `imperfections`, which belong to the device.
    """
    imperfections = parts.pop("imperfections", [])
    network = {"kind": "mlp", "widths": widths, **parts}
    return {
        "task": {"batch": 100, **task},
        "device": {"kind": "simulated", "network": network, "imperfections": imperfections},
        "algorithm": {"kind": "weight-mgd", "learning_rate": 0.1, "delta": 0.01,
                      "pairs": "central"},
        "until": {"score": score, "measurements": measurements},
        "score_every": every,
    }  # fmt: skip


def letters(*imperfections: Row, score: float = 0.97) -> Row:
    """NIST7x7 on a 49-4-4 network."""
    sigmoids = {"activation": "sigmoid", "output": "sigmoid"}
    task = {"kind": "nist7x7"}
    return run_of(task, [49, 4, 4], score, 10_000, 50, imperfections=imperfections, **sigmoids)


def heavy(alpha: float) -> Row:
    """Alpha-stable noise on each measured cost."""
    return {"kind": "bursts", "probability": 1.0, "sigma": 3e-4, "alpha": alpha, "on": "cost"}


DRIFT = {"kind": "drift", "of": "offsets", "form": "random-walk", "amount": 0.5, "over": 10_000}
CHIP = [
    {"kind": "dac", "bits": 8, "low": -1.0, "high": 1.0},
    {"kind": "output-noise", "sigma": 0.01},
]

TASKS = {
    "nist7x7": Job(letters(), 0.8, 0.016, 49),
    "heavy 1.5": Job(letters(heavy(1.5), score=0.9), 0.4, 0.008, 49),
    "heavy 1.2": Job(letters(heavy(1.2), score=0.9), 0.2, 0.004, 49, noise=1.2),
    "drift": Job(letters(DRIFT), 0.8, 0.016, 49),
    "digits": Job(
        run_of({"kind": "digits"}, [64, 32, 10], 0.9, 20_000, 100, imperfections=CHIP),
        6e-3, 2e-3, 15,
    ),
    "fashion-mnist": Job(
        run_of(
            {"kind": "fashion-mnist"}, [784, 32, 10], 0.75, 40_000, 500, imperfections=CHIP
        ),
        1e-3, 5e-4, 600,
    ),
}  # fmt: skip


def updates(job: Job) -> dict[str, tuple[Row, float, dict[str, float]]]:
    """By name: settings of the algorithm, its middle rate, and the settings tied to the rate."""
    gamma, step = "algorithm.update.gamma", "algorithm.update.prox_step"

    def update(kind: str, **settings: Any) -> Row:
        return {"update": {"kind": kind, **settings}}

    past = update("extrapolated", gamma=0.1)
    nesterov = update("extrapolated", gamma=0.1, momentum=0.9)
    fresh = update("extrapolated", gamma=0.1, along="fresh")
    noise = update("extrapolated", gamma=0.03, along="noise")
    shuffled = {"kind": "shuffled", "batches": job.batches}
    over_the_air = {"kind": "over-the-air", "alpha": job.noise}
    plain, adaptive = job.rate, job.adaptive
    return {
        "descent": ({}, plain, {}),
        "descent, outliers 5": ({"outliers": 5.0}, plain, {}),
        "descent, Optax momentum 0.9": (
            {"optimizer": {"name": "sgd", "settings": {"momentum": 0.9}}}, 0.1 * plain, {},
        ),
        "descent, Optax adam": ({"optimizer": "adam"}, adaptive, {}),
        "over-the-air, adagrad": ({"update": over_the_air}, 10 * adaptive, {}),
        "over-the-air, adam": ({"update": {**over_the_air, "norm": "adam"}}, adaptive, {}),
        "history": (update("history"), plain, {}),
        "extrapolated, past": (past, plain, {gamma: 1.0}),
        "extrapolated, past, momentum 0.9": (nesterov, 0.1 * plain, {gamma: 0.9}),
        "extrapolated, fresh": (fresh, plain, {gamma: 1.0}),
        "extrapolated, noise": (noise, plain, {}),
        "implicit": (update("implicit", prox_step=1.0, inner=5), plain, {step: 5.0}),
        "shuffled, svrg": ({"update": shuffled}, plain, {}),
        "shuffled, sarah": ({"update": {**shuffled, "form": "sarah"}}, plain, {}),
        "fast-slow": (update("fast-slow"), plain, {}),
    }  # fmt: skip


def runs_at(
    job: Job, name: str, rates: Sequence[float], seeds: Sequence[int], tuning: bool
) -> list[list[Row]]:
    """Train at each rate with each seed; return the results by rate."""
    settings, _, tied = updates(job)[name]
    base = {**job.base, "algorithm": {**job.base["algorithm"], **settings}}
    axis = {"algorithm.learning_rate": list(rates)}
    axis |= {key: [ratio * rate for rate in rates] for key, ratio in tied.items()}
    study = Study(base=base, axes={"rate": axis}, seeds=tuple(seeds))

    def enough(reasons: np.ndarray) -> bool:
        reached = np.reshape(reasons == "score", (len(rates), -1)).sum(axis=1)
        return bool(tuning and reached.max() > len(seeds) / 2)

    rows = []
    for together in plan(study):
        ends = train_together(together.runs, together.varied, enough=enough)
        for result, place in ends:
            one = result.replicas[place]
            rows.append(
                {
                    "measurements": one.ledger["measurements"],
                    "reached": str(one.stop_reason) == "score",
                    "score": one.score,
                    "why": str(one.stop_reason),
                }
            )
    jax.clear_caches()
    return [rows[k : k + len(seeds)] for k in range(0, len(rows), len(seeds))]


def worth(runs: list[Row], budget: int) -> float:
    """The median over seeds of the measurements to the score; lower is better."""
    each = [
        run["measurements"] if run["reached"] else budget * (2 - np.nan_to_num(run["score"]))
        for run in runs
    ]
    return float(np.median(each))


def tuned(job: Job, name: str) -> tuple[float, dict[float, float], int]:
    """Search for the best rate; return it, the result of each rate, and the measurements used."""
    budget = job.base["until"]["measurements"]
    middle = updates(job)[name][1]
    seeds = range(FIRST_SEED, FIRST_SEED + TUNED_BY)
    tried: dict[float, float] = {}
    taken = 0
    rates = [middle * 2.0**k for k in range(-3, RATES - 3)]
    for _ in range(ROUNDS):
        for rate, runs in zip(rates, runs_at(job, name, rates, seeds, tuning=True)):
            tried[rate] = worth(runs, budget)
            taken += sum(run["measurements"] for run in runs)
        best = min(tried, key=tried.__getitem__)
        if best not in (min(tried), max(tried)):
            break
        rates = [best * 2.0 ** (k if best == max(tried) else -k) for k in (1, 2)]
    return best, tried, taken


def cell(job: Job, name: str) -> Row:
    """Tune the rate, then run all seeds at it."""
    rate, tried, taken = tuned(job, name)
    (runs,) = runs_at(job, name, [rate], range(job.seeds), tuning=False)
    return {"rate": rate, "tried": {f"{r:g}": w for r, w in tried.items()}, "tuning": taken,
            "runs": runs}  # fmt: skip


def medians(runs: list[Row]) -> tuple[float, float, float]:
    """The median of the measurements to the score, and the limits of its interval."""
    median = median_with_interval(
        np.array([run["measurements"] for run in runs], float),
        np.array([not run["reached"] for run in runs]),
    )
    return median.value, median.low, median.high


def ratio(plain: list[Row], runs: list[Row]) -> tuple[float, float, float]:
    """The median of plain descent over that of an update, with its 95 % bootstrap interval."""
    draw = np.random.default_rng(0)

    def drawn(rows: list[Row]) -> float:
        return medians([rows[k] for k in draw.integers(len(rows), size=len(rows))])[0]

    def over(one: float, other: float) -> float:
        if math.isinf(one) and math.isinf(other):
            return math.nan
        return math.inf if math.isinf(one) else one / other

    every = [over(drawn(plain), drawn(runs)) for _ in range(500)]
    known = [value for value in every if not math.isnan(value)] or [math.nan]
    low, high = np.quantile(known, [0.025, 0.975], method="closest_observation")
    return over(medians(plain)[0], medians(runs)[0]), float(low), float(high)


def number(value: float) -> str:
    """Format a number of measurements."""
    return "never" if math.isinf(value) else f"{value:,.0f}".replace(",", " ")


def times(value: float) -> str:
    """Format a ratio; a dash if neither reaches the score."""
    return "–" if math.isnan(value) else "∞" if math.isinf(value) else f"{value:.2f}"


def table(found: dict[str, dict[str, Row]]) -> str:
    """Format the results in Markdown: one table per task, one row per update."""
    lines = []
    for task, cells in found.items():
        budget = TASKS[task].base["until"]
        lines += [
            f"**{task}**: to {budget['score']:.0%} in at most {budget['measurements']:,}",
            "",
            "| update | rate | reached | measurements | ratio to plain |",
            "| --- | --- | --- | --- | --- |",
        ]
        for name, one in cells.items():
            runs, (value, low, high) = one["runs"], medians(one["runs"])
            reached = sum(run["reached"] for run in runs)
            said = f"{number(value)} ({number(low)} – {number(high)})"
            ratios = [times(value) for value in ratio(cells["descent"]["runs"], runs)]
            lines.append(
                f"| {name} | {one['rate']:.3g} | {reached}/{len(runs)} | {said} "
                f"| {ratios[0]} ({ratios[1]} – {ratios[2]}) |"
            )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Run the missing cells and print the table."""
    file, *asked = sys.argv[1:]
    path = Path(file)
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    tasks = asked or list(TASKS)
    for name in updates(TASKS[tasks[0]]):
        for task in tasks:
            cells = found.setdefault(task, {})
            if name not in cells:
                cells[name] = cell(TASKS[task], name)
                write_atomically(path, json.dumps(found, indent=1).encode())
                print(task, name, cells[name]["rate"], medians(cells[name]["runs"]), flush=True)
    print(table(found))


if __name__ == "__main__":
    main()
