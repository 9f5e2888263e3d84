"""Sketched layer inputs: saved memory, added noise and the cost of this noise.

`python benchmarks/related/sketch.py` writes docs/results/sketch.json, sketch.md and sketch_time.md.
`... noise` or `... time` makes only one of the two tables.

The first table is for the network of Oripov2025 at d = 4. For each of its convolutions it has the
ratio of the variances of the sketched and the full estimate, for nine sets of initial weights, and
the law. Storing the full inputs has an exact alternative. A perturbation is known before its cost,
so `∂(s · z)/∂W` of each example can be accumulated as the inputs arrive, and multiplied by the
change in cost later.

For the second table a small convolutional network is trained on the digits, with full inputs and
with r probes. The learning rate is the best of four, spaced by a factor of 2, on three separate
seeds. Nine seeds are then run at this rate. The result is the Kaplan–Meier median of the
measurements to a score, with its 95 % interval.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import dither
from dither import CNN, SimulatedDevice, Until
from dither._words import number
from dither.algorithms import NodePerturbation, Optimizer
from dither.algorithms.sketch import held
from dither.studies import median_with_interval
from dither.tasks import Digits, FashionMNIST
from dither.testing.runs import collect, keys

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "sketch.json"
AT_4 = CNN(channels=(4, 8, 16), depth=2, padding="same", dense=(16, 16), activation="tanh")
SMALL = CNN(image=(8, 8, 1), channels=(4, 8), padding="same", activation="tanh")
PROBES = (8, 128)
DRAWS, BATCH = 48, 100

RATES = [2e-3 * 2**n for n in range(4)]
TUNED_BY, SEEDS, FIRST = 3, 9, 100
MEASUREMENTS, EVERY, SCORES = 6_000, 100, (0.8, 0.9)


def inputs_of(network: CNN) -> dict[str, tuple[int, ...]]:
    return {layer.name: network.sites()[f"{layer.name}/x"] for layer in network.layers}


def traces(network: CNN) -> dict[str, int]:
    """Numbers stored per example by the exact method: the smaller of input and trace."""
    shapes = {p.name: p.shape for p in SimulatedDevice(network=network).space.parameters}
    return {name: min(math.prod(shape), math.prod(shapes[f"{name}/weight"]))
            for name, shape in inputs_of(network).items()}  # fmt: skip


def memory(network: CNN, sketch: int | None) -> int:
    return sum(held(shape, sketch) for shape in inputs_of(network).values())


def variances(network: CNN, task: Any, sketch: int | None, seed: int) -> dict[str, float]:
    """The variance of the estimate at initial weights, summed over each layer's weights."""
    device = SimulatedDevice(network=network)
    rule = NodePerturbation(learning_rate=0.0, per_example=True, sketch=sketch)
    theta = device.initial(jax.random.key(seed))
    parts = [collect(rule, device, task, theta, some, 2)[1][:, -1]
             for some in keys(DRAWS, seed).reshape(-1, 4)]  # fmt: skip
    spread = device.space.unravel(np.concatenate(parts).var(axis=0))
    return {layer.name: float(np.sum(spread[f"{layer.name}/weight"])) for layer in network.layers}


def noise() -> dict[str, Any]:
    """The numbers stored per example, and the variances relative to those of the full inputs."""
    task = FashionMNIST(batch=BATCH, cost="smoothed_cross_entropy").load()
    whole = [variances(AT_4, task, None, seed) for seed in range(SEEDS)]
    shapes = {name: shape for name, shape in inputs_of(AT_4).items() if len(shape) > 1}
    layers: dict[str, Any] = {
        name: {"pixels": math.prod(shape[:-1])} for name, shape in shapes.items()
    }
    for r in PROBES:
        short = [variances(AT_4, task, r, seed) for seed in range(SEEDS)]
        for name, shape in shapes.items():
            sketched = held(shape, r) < math.prod(shape)
            ratios = [one[name] / full[name] for one, full in zip(short, whole)]
            law = 1 + math.prod(shape[:-1]) / r if sketched else 1.0
            layers[name][f"r = {r}"] = {"sketched": sketched, "ratios": ratios, "law": law}
            print(name, r, np.median(ratios), law, flush=True)
    stored = {"whole": memory(AT_4, None), "traces": sum(traces(AT_4).values())}
    stored |= {f"r = {r}": memory(AT_4, r) for r in PROBES}
    small = {"whole": memory(SMALL, None), "traces": sum(traces(SMALL).values()),
             "r = 8": memory(SMALL, 8)}  # fmt: skip
    return {"layers": layers, "stored": stored, "stored, digits": small}


def noise_table(found: dict[str, Any]) -> str:
    """Format the variances as a Markdown table."""
    heads = " | ".join(f"r = {r}: variance × | law" for r in PROBES)
    lines = [f"| layer | pixels | {heads} |", "|---|---|" + "---|---|" * len(PROBES)]
    for name, row in found["layers"].items():
        cells = [f"`{name}`", str(row["pixels"])]
        for r in PROBES:
            one = row[f"r = {r}"]
            values = *(f(one["ratios"]) for f in (np.median, min, max)), one["law"]
            middle, low, high, law = (number(float(f"{value:.2g}")) for value in values)
            told = f"{middle} ({low} – {high})"
            cells += [told, law] if one["sketched"] else ["1 (full)", "1"]
        lines.append("| " + " | ".join(cells) + " |")
    whole, stored = found["stored"]["whole"], []
    for r in PROBES:
        count = found["stored"][f"r = {r}"]
        stored += [f"{number(count)} ({count / whole:.0%})".replace("%", " %"), ""]
    lines.append(f"| numbers stored, of {number(whole)} | | " + " | ".join(stored) + " |")
    return "\n".join(lines) + "\n"


def first(
    rate: float, sketch: int | None, key: int, replicas: int, score: float
) -> dict[float, list[float]]:
    """The measurements of each seed to each score; NaN if not reached."""
    rule = NodePerturbation(
        learning_rate=rate, per_example=True, sketch=sketch, optimizer=Optimizer(name="adam")
    )
    run = dither.train(
        SimulatedDevice(network=SMALL), Digits(batch=BATCH), rule, key=key, replicas=replicas,
        score_every=EVERY, until=Until(measurements=MEASUREMENTS, score=score),
    )  # fmt: skip
    rows = [rows for _, rows in run.history.groupby("replica")]
    return {score: [float(rows["measurements"][rows["score"] >= score].min()) for rows in rows]
            for score in SCORES}  # fmt: skip


def training() -> dict[str, Any]:
    """The best rate and the measurements to each score, with full and with sketched inputs."""
    rows = {}
    for sketch in (None, 8):
        name = "in full" if sketch is None else f"sketch = {sketch}"
        tried = {}
        for rate in RATES:
            found = first(rate, sketch, FIRST, TUNED_BY, SCORES[0])[SCORES[0]]
            tried[rate] = float(np.median(np.nan_to_num(found, nan=math.inf)))
            print(name, rate, tried[rate], flush=True)
        best = min(tried, key=lambda rate: tried[rate])
        reached = first(best, sketch, 0, SEEDS, SCORES[-1])
        rows[name] = {
            "rate": best,
            "tried": {str(rate): took if took < math.inf else None for rate, took in tried.items()},
            "share": memory(SMALL, sketch) / memory(SMALL, None),
            "first": {str(score): [None if math.isnan(m) else m for m in counts]
                      for score, counts in reached.items()},
        }  # fmt: skip
    low = str(SCORES[0])
    return {"rows": rows, "ratio": ratio(*(row["first"][low] for row in rows.values()))}


def ratio(full: list[float | None], short: list[float | None]) -> list[float | None]:
    """The ratio of the medians with its 95 % bootstrap interval; None if infinite."""
    both = [np.array([math.inf if m is None else m for m in counts]) for counts in (full, short)]
    picks = np.random.default_rng(0).integers(SEEDS, size=(2, 10_000, SEEDS))
    drawn = [np.median(counts[rows], axis=1) for counts, rows in zip(both, picks)]
    ends = np.quantile(drawn[1] / drawn[0], [0.025, 0.975], method="nearest")
    values = [np.median(both[1]) / np.median(both[0]), *ends]
    return [float(value) if np.isfinite(value) else None for value in values]


def time_table(found: dict[str, Any]) -> str:
    """Format the measurements as a Markdown table."""
    scores = [f"measurements to {score:.0%}".replace("%", " %") for score in SCORES]
    lines = [f"| stored | share of the numbers | rate | {' | '.join(scores)} |"]
    lines.append("|---" * (3 + len(SCORES)) + "|")
    for name, row in found["rows"].items():
        cells = [name, f"{100 * row['share']:.0f} %", f"{row['rate']:g}"]
        for counts in row["first"].values():
            stopped = np.array([count is None for count in counts])
            known = np.array([MEASUREMENTS if count is None else count for count in counts])
            middle = median_with_interval(known, stopped)
            ends = [number(end) for end in (middle.value, middle.low, middle.high)]
            reached = f"{np.sum(~stopped)} of {SEEDS}"
            whole = f"{ends[0]} ({ends[1]} – {ends[2]}), {reached}"
            cells.append(reached if stopped.all() else whole)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(names: Sequence[str]) -> None:
    """Make the named tables, or both."""
    for name in names or ("noise", "time"):
        made = noise() if name == "noise" else training()
        told = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps({**told, name: made}, indent=1) + "\n", "utf-8")
        if name == "noise":
            RESULTS.with_suffix(".md").write_text(noise_table(made), "utf-8")
        else:
            RESULTS.with_name("sketch_time.md").write_text(time_table(made), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
