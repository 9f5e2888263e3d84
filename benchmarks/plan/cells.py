"""The accuracy of predictions: cells are predicted first, recorded, and trained afterwards.

`cells.py predict` adds the predictions that are missing from docs/results/plan_cells.json.
`cells.py measure` trains the cells that have a prediction. `cells.py report` writes the table and
the figure. The predictions of all cells were committed before `measure` was first run on them.

Each cell is trained with nine seeds that differ from those of the prediction. Computing time is
processor time without compilation. For a prediction, it covers all trajectories and all
evaluations of the test set. For a training, it is the time of one of the parallel trainings,
without evaluations.
"""

import json
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dither import Specification
from dither.planning import predict
from dither.tasks import Task
from dither.training.fused import FusedLoop
from dither.training.settings import change_setting

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = DOCS / "results" / "plan_cells.json"
SEEDS, KEY = 9, 1000
SMALL, MANY, FEW = 2_000, 9, 3
"""Up to `SMALL` parameters, a prediction follows `MANY` trajectories; beyond, it follows `FEW`."""
FINER = 40
"""The interval between evaluations is the elapsed measurements divided by this number."""

NIST = {"kind": "nist7x7"}
DIGITS = {"kind": "digits", "batch": 64}
FASHION = {"kind": "fashion-mnist", "batch": 100}
NOISE, COST_NOISE = {"kind": "output-noise", "sigma": 0.02}, {"kind": "cost-noise", "sigma": 0.0}


def dac(bits: int, reach: float) -> dict[str, Any]:
    """A DAC with the range −reach to reach."""
    return {"kind": "dac", "bits": bits, "low": -reach, "high": reach}


def sigmoid(*widths: int, bias: float = 0.0) -> dict[str, Any]:
    """The network type of the small presets."""
    return {"kind": "mlp", "widths": widths, "activation": "sigmoid", "output": "sigmoid",
            "bias": bias}  # fmt: skip


def tanh(*widths: int) -> dict[str, Any]:
    """The network type of the larger presets."""
    return {"kind": "mlp", "widths": widths, "activation": "tanh"}


def rule(kind: str, **settings: Any) -> dict[str, Any]:
    """The table of an algorithm."""
    return {"kind": kind, "learning_rate": 1.0, **settings}


WEIGHT = {"kind": "weight-mgd", "pairs": "central", "learning_rate": 1.0}
NODE = {"kind": "node-perturbation", "learning_rate": 1.0}
RATE, SIGMA = "algorithm.learning_rate", "device.imperfections.0.sigma"

GROUPS: list[tuple[str, dict[str, Any], dict[str, Any], list[Any], dict[str, Any], float, dict]] = [
    ("weight, small rate and large", NIST, sigmoid(49, 8, 4), [], WEIGHT | {"delta": 0.01}, 0.95,
     {RATE: [0.1, 0.3]}),
    ("weight, 8 bits, noise", NIST, sigmoid(49, 4, 4), [NOISE, dac(8, 4.0)],
     WEIGHT | {"delta": 0.1}, 0.95, {RATE: [0.1, 0.1], SIGMA: [0.01, 0.1]}),
    ("node", NIST | {"batch": 16}, sigmoid(49, 6, 4), [], NODE, 0.95, {RATE: [0.2, 0.5]}),
    ("weight, cost noise", DIGITS, tanh(64, 16, 10), [COST_NOISE], WEIGHT | {"delta": 1e-3}, 0.9,
     {RATE: [0.01, 0.005, 0.005], SIGMA: [0.0, 1e-3, 0.0]}),
    ("node", DIGITS, tanh(64, 24, 10), [], NODE, 0.9, {RATE: [0.01, 0.02, 0.05]}),
    ("backpropagation", DIGITS, tanh(64, 24, 10), [], rule("backpropagation"), 0.92,
     {RATE: [0.02, 0.05, 0.2]}),
    ("layer by layer", DIGITS, tanh(64, 20, 10), [],
     rule("layerwise-mgd", delta=1e-3), 0.9, {RATE: [0.005, 0.01, 0.015]}),
    ("weight, Adam", DIGITS, tanh(64, 48, 10), [],
     WEIGHT | {"delta": 1e-3, "optimizer": "adam"}, 0.9, {RATE: [5e-4, 1e-3, 3e-3]}),
    ("weight, 8 bits, noise", FASHION, tanh(784, 24, 10), [NOISE, dac(8, 1.0)],
     WEIGHT | {"delta": 8e-3}, 0.7, {RATE: [0.001, 0.002, 0.004], SIGMA: [0.02, 0.02, 0.02]}),
    ("node per example, Adam", FASHION, tanh(784, 24, 10), [],
     NODE | {"per_example": True, "optimizer": "adam"}, 0.75, {RATE: [5e-4, 2e-3]}),
    ("finite differences", NIST | {"batch": 16}, sigmoid(49, 4, 4), [],
     rule("finite-differences", delta=1e-2), 0.95, {RATE: [1.0, 3.0]}),
    ("weight", {"kind": "xor"}, sigmoid(2, 5, 1, bias=1.0), [], WEIGHT | {"delta": 0.05}, 1.0,
     {RATE: [0.5, 1.5]}),
    ("SPSA", NIST | {"batch": 16}, sigmoid(49, 4, 4), [],
     {"kind": "spsa", "a": 8.0, "c": 0.02}, 0.9, {"algorithm.a": [2.0, 4.0]}),
    ("weight, momentum", NIST | {"batch": 16}, sigmoid(49, 8, 4), [],
     WEIGHT | {"delta": 0.01, "optimizer": {"name": "sgd", "settings": {"momentum": 0.9}}}, 0.95,
     {RATE: [0.02, 0.05]}),
    ("weight", FASHION, tanh(784, 64, 10), [], WEIGHT | {"delta": 1e-3}, 0.8, {RATE: [0.001]}),
]  # fmt: skip
"""Name, task, network, imperfections, algorithm, target score, and the values of each cell."""

BUDGET = 300_000


def specifications() -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The table of each group, and the settings of its cells."""
    found = []
    for name, task, network, imperfections, algorithm, score, varied in GROUPS:
        access = "gradients"
        device = {"kind": "simulated", "network": network, "access": access,
                  "imperfections": imperfections}  # fmt: skip
        until = {"score": score, "measurements": BUDGET}
        table = {"name": name, "task": task, "device": device, "algorithm": algorithm,
                 "until": until}  # fmt: skip
        cells = [dict(zip(varied, values)) for values in zip(*varied.values())]
        found.append((table, cells))
    return found


def key_of(table: dict[str, Any], cell: dict[str, Any]) -> str:
    """The unique key of a cell."""
    task = table["task"]
    of = f"{task['kind']} ({task.get('batch', '1')})"
    widths = "-".join(map(str, table["device"]["network"]["widths"]))
    settings = ", ".join(f"{path.rpartition('.')[2]} {value:g}" for path, value in cell.items())
    return f"{of}, {widths}, {table['name']}, {settings}"


def with_settings(table: dict[str, Any], cell: dict[str, Any]) -> Specification:
    """The specification of a cell."""
    changed = deepcopy(table)
    for path, value in cell.items():
        change_setting(changed, path, value)
    return Specification.model_validate(changed)


def read() -> dict[str, Any]:
    """Read the stored cells by key."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def keep(key: str, **more: Any) -> None:
    """Add entries to a stored cell."""
    rows = read()
    rows[key] = rows.get(key, {}) | more
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


def finite(x: float) -> float | None:
    """The number if finite, else None, for JSON."""
    return float(x) if np.isfinite(x) else None


def load(task: dict[str, Any], specification: Specification, known: dict[str, Task]) -> Task:
    """Load the data of a task; each task is read once."""
    name = json.dumps(task)
    if name not in known:
        known[name] = specification.task.load()
    return known[name]


def foretell() -> None:
    """Compute the missing predictions."""
    known: dict[str, Task] = {}
    for table, cells in specifications():
        for cell in cells:
            key = key_of(table, cell)
            if "predicted" in read().get(key, {}):
                continue
            asked = with_settings(table, cell)
            task = load(table["task"], asked, known)
            n = MANY if asked.device.space.size <= SMALL else FEW
            what = asked.device, task, asked.algorithm, asked.until
            for _ in range(2):  # compile first, then time
                began = time.process_time()
                told = predict(*what, trajectories=n, key=KEY)
                seconds = time.process_time() - began
            keep(
                key, predicted=finite(told.measurements), low=finite(told.low),
                high=finite(told.high), passes=told.cost_of_prediction, seconds=seconds,
                trajectories=n, reason=told.reason, batch=task.batch, measured=None,
            )  # fmt: skip
            print(key, told, f"{seconds:.2f} s", flush=True)


def trained(table: dict[str, Any], cells: list[dict[str, Any]], task: Task) -> tuple[Any, float]:
    """Train cells in parallel.

    Returns the measurements to the target for each cell and seed, and the processor time per
    measurement of a single training.
    """
    base = with_settings(table, cells[0])
    seeds = list(range(SEEDS)) * len(cells)
    varied = {path: np.repeat([cell[path] for cell in cells], SEEDS) for path in cells[0]}
    loop = FusedLoop(base.algorithm, base.device, task, seeds, varied)
    found, after, paces = np.full(len(seeds), np.inf), 0, []
    most, goal = BUDGET, base.until.score
    while after < most and np.isinf(found).any():
        n = max(4, after // FINER // 4 * 4)
        began = time.process_time()
        loop.advance(n)
        paces.append((time.process_time() - began) / n / len(seeds))
        after += n
        found = np.where((loop.evaluate().score >= goal) & np.isinf(found), after, found)
        middles = np.median(found.reshape(len(cells), SEEDS), axis=1)
        if after > 3 * middles.max():  # the last seeds may never reach the target
            break
    late = paces[len(paces) // 2 :]
    return found.reshape(len(cells), SEEDS), float(np.median(late))


def measure() -> None:
    """Train the cells that are predicted but not yet measured."""
    known: dict[str, Task] = {}
    for table, cells in specifications():
        rows = read()
        due = [cell for cell in cells if (row := rows.get(key_of(table, cell)))
               and row["measured"] is None and "runs" not in row]  # fmt: skip
        if not due:
            continue
        task = load(table["task"], with_settings(table, due[0]), known)
        found, pace = trained(table, due, task)
        for cell, runs in zip(due, found):
            middle = float(np.median(runs))
            keep(key_of(table, cell), measured=finite(middle), pace=pace,
                 runs=[finite(run) for run in np.sort(runs)])  # fmt: skip
            print(key_of(table, cell), read()[key_of(table, cell)]["predicted"], middle, flush=True)


def judged(row: dict[str, Any]) -> dict[str, float]:
    """The ratio of predicted to measured, and the cost of the prediction relative to training."""
    both = row["predicted"] is not None and row.get("measured") is not None
    measured = row.get("measured") or np.nan
    return {
        "ratio": row["predicted"] / measured if both else np.nan,
        "time": row["seconds"] / (row.get("pace", np.nan) * measured),
        "passes": row["passes"] / measured,
    }


def within(rows: list[dict[str, Any]], factor: float) -> int:
    """The number of cells whose ratio is within a factor of 1."""
    ratios = np.array([judged(row)["ratio"] for row in rows])
    return int(np.sum(np.abs(np.log(ratios)) <= np.log(factor)))


def table(rows: dict[str, Any]) -> str:
    """Format the cells as a Markdown table, followed by a summary."""
    lines = ["| cell | predicted (90 %) | measured, median (range of 9) | ratio | "
             "prediction / training: time, passes |", "|---|---|---|---|---|"]  # fmt: skip

    def number(x: float | None) -> str:
        if x is None or not np.isfinite(x):
            return "not reached"
        return f"{float(f'{x:.3g}'):,.0f}".replace(",", " ")

    def plain(x: float) -> str:
        return f"{float(f'{x:.2g}'):g}"

    done = {key: row for key, row in rows.items() if "runs" in row}
    for key, row in done.items():
        told, runs = judged(row), row["runs"]
        ratio = "–" if np.isnan(told["ratio"]) else f"{told['ratio']:.2f}"
        cost = "–" if row["measured"] is None else f"{plain(told['time'])}, {plain(told['passes'])}"
        lines.append(
            f"| {key} | {number(row['predicted'])} ({number(row['low'])} – {number(row['high'])}) "
            f"| {number(row['measured'])} ({number(runs[0])} – {number(runs[-1])}) | {ratio} "
            f"| {cost} |"
        )
    known = [row for row in done.values() if np.isfinite(judged(row)["ratio"])]
    never = [row for row in done.values() if row["predicted"] is None and row["measured"] is None]
    ratios = np.abs(np.log([judged(row)["ratio"] for row in known]))
    runs = [(run or np.inf, row) for row in known for run in row["runs"]]
    inside = np.mean([row["low"] <= run <= (row["high"] or np.inf) for run, row in runs])
    times = np.sort([judged(row)["time"] for row in known])
    lines.append(
        f"\n{len(known)} of {len(done)} cells have both numbers; {len(never)} are rightly "
        f"predicted not to reach the target. The median ratio is off by a factor of "
        f"{np.exp(np.median(ratios)):.2f}; {within(known, 1.2)} of {len(known)} are within 1.2, "
        f"{within(known, 1.5)} within 1.5. The intervals contain {100 * inside:.0f} % of the "
        f"single trainings. A prediction takes {plain(np.median(times))} times the computing time "
        f"of a training in the median, from {plain(times[0])} to {plain(times[-1])}; "
        f"{np.sum(times <= 0.01)} take 1/100 of it or less."
    )
    return "\n".join(lines) + "\n"


def draw(rows: dict[str, Any]) -> None:
    """Draw predicted against measured."""
    known = [row for row in rows.values() if np.isfinite(judged(row)["ratio"])]
    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.subplots()
    for row in known:
        runs = [run or np.nan for run in row["runs"]]
        x, y = row["measured"], row["predicted"]
        across = [[x - np.nanmin(runs)], [np.nanmax(runs) - x]]
        high = row["high"] or y
        axes.errorbar(
            x, y, [[y - row["low"]], [high - y]], across, fmt="o", ms=4, lw=0.7, color="C0"
        )
    ends = np.array([min(r["measured"] for r in known) / 2, 2 * max(r["measured"] for r in known)])
    axes.plot(ends, ends, "k-", lw=0.8)
    axes.plot(ends, 1.5 * ends, "k:", ends, ends / 1.5, "k:", lw=0.8)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    axes.set(xlabel="measured measurements", ylabel="predicted measurements")
    figure.savefig(DOCS / "figures" / "plan_cells.svg", metadata={"Date": None})


def report() -> None:
    """Write the table and the figure."""
    rows = read()
    (DOCS / "results" / "plan_cells.md").write_text(table(rows))
    draw(rows)


if __name__ == "__main__":
    {"predict": foretell, "measure": measure, "report": report}[sys.argv[1]]()
