"""Compare rules that see outputs and layer inputs: measurements to 80 % and 85 %.

`feedback.py [NETWORK ...]` runs the cells that are missing from docs/results/feedback.json, then
writes the tables and the figure. A cell is a network, a mismatch of the chip's weights and a
method.

All methods are tuned in the same way in each cell, for each target separately. Three learning
rates, spaced by a factor of 3, are tried on separate seeds with the budget of the reported runs.
Further rates are added while the best rate is the lowest or the highest. The best rate has the
smallest median number of measurements to the target or, if the target is not reached, the highest
median accuracy. The reported runs use the same seeds for all methods. The test set is scored every
`every` measurements; scoring is not counted.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

import dither
from dither import CNN, MLP, SimulatedDevice, Until
from dither.algorithms import (
    AbstractAlgorithm,
    Backpropagation,
    DirectFeedbackAlignment,
    FeedbackAlignment,
    LearnedFeedback,
    PhysicsAware,
    WhitenedNodePerturbation,
)
from dither.networks import AbstractNetwork
from dither.tasks import FashionMNIST
from dither.training.drawing import PALETTE

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = DOCS / "results" / "feedback.json"
TUNED, REPORTED = 1000, 10
"""The first tuning seed and the first reported seed."""

MOST_RATES = 6
"""The maximum number of learning rates of a method in a cell."""


class Setting(NamedTuple):
    """A network with the settings of its runs.

    `every` is the number of measurements between evaluations, `budget` the most measurements of a
    run, `tuning` the number of tuning seeds. A run ends when it reaches the last target.
    """

    network: AbstractNetwork
    every: int
    budget: int
    tuning: int = 3


TARGETS = (0.8, 0.85)
NETWORKS = {
    "784-32-10": Setting(MLP(widths=(784, 32, 10)), 20, 1600),
    "784-128-64-10": Setting(MLP(widths=(784, 128, 64, 10)), 20, 800),
    "cnn-4": Setting(
        CNN(
            channels=(4, 8, 16), depth=2, padding="same", dense=(16, 16), activation="tanh"
        ),
        25, 1500, 1,
    ),
}  # fmt: skip

Made = Callable[[float], AbstractAlgorithm]
ADAM = dither.Optimizer(name="adam")


def adam(cls: Any, **more: Any) -> tuple[Made, float]:
    """A method with Adam, and the middle of its learning rates."""
    return lambda rate: cls(learning_rate=rate, optimizer=ADAM, **more), 0.003


METHODS: dict[str, tuple[Made, float]] = {
    "backpropagation": adam(Backpropagation),
    "learned-feedback, whitened": adam(LearnedFeedback, whitening=0.1),
    "learned-feedback": adam(LearnedFeedback),
    "programmed weights, whitened": adam(LearnedFeedback, whitening=0.1, learning=0.0),
    "physics-aware": adam(PhysicsAware),
    "physics-aware, whitened": adam(PhysicsAware, whitening=0.1),
    "physics-aware, twin off by 5 %": adam(PhysicsAware, mismatch=0.05),
    "physics-aware, twin off by 20 %": adam(PhysicsAware, mismatch=0.2),
    "direct-feedback-alignment": adam(DirectFeedbackAlignment),
    "feedback-alignment": adam(FeedbackAlignment),
    "whitened-node-perturbation": (
        lambda rate: WhitenedNodePerturbation(learning_rate=rate, known_output=True), 0.02,
    ),
}  # fmt: skip

IDEAL = [
    "learned-feedback, whitened", "direct-feedback-alignment", "physics-aware, twin off by 20 %",
    "backpropagation", "physics-aware", "whitened-node-perturbation", "learned-feedback",
    "feedback-alignment", "physics-aware, twin off by 5 %", "physics-aware, whitened",
]  # fmt: skip
OFF = [
    "physics-aware", "learned-feedback, whitened", "programmed weights, whitened",
    "direct-feedback-alignment", "backpropagation", "physics-aware, whitened",
]  # fmt: skip
CELLS = {
    "784-32-10": (
        9,
        [(0.0, one) for one in IDEAL] + [(e, one) for e in (1.0, 0.5, 0.2) for one in OFF],
    ),
    # whitened node perturbation on this network: benchmarks/whitened.py
    "cnn-4": (9, [(0.0, one) for one in IDEAL if one != "whitened-node-perturbation"]),
    "784-128-64-10": (9, [(0.0, one) for one in IDEAL]),
}
"""By network: the number of reported seeds, and the cells as pairs of mismatch and method."""


class Found(NamedTuple):
    """Runs at one rate: by target the measurements of each seed, None if missed, and the curves."""

    reached: dict[str, list[int | None]]
    best: list[float]
    curves: list[list[tuple[int, float]]]


def runs(network: str, gain: float, made: Any, seed: int, count: int) -> Found:
    """Run `count` seeds until they reach the last target."""
    setting = NETWORKS[network]
    spread = [{"kind": "mismatch", "gain": gain}] if gain else []
    chip = SimulatedDevice(network=setting.network, imperfections=spread)
    until = Until(measurements=setting.budget, score=TARGETS[-1])
    task = FashionMNIST(batch=100)
    more = {"key": seed, "replicas": count, "until": until, "score_every": setting.every}
    history = dither.train(chip, task, made, **more).history
    curves = [
        [(int(m), round(float(s), 4)) for m, s in zip(run.measurements, run.score)]
        for _, run in history.groupby("replica")
    ]
    reached = {
        f"{target:g}": [next((m for m, s in run if s >= target), None) for run in curves]
        for target in TARGETS
    }
    return Found(reached, [max(s for _, s in run) for run in curves], curves)


def median(counts: list[int | None]) -> float:
    """The median over seeds; a seed that missed its target is infinite."""
    return float(np.median([np.inf if one is None else one for one in counts]))


def tuned(network: str, gain: float, method: str) -> dict[str, dict[str, list[float]]]:
    """By target and rate: the median measurements on the tuning seeds, and minus the accuracy."""
    make, middle = METHODS[method]
    found: dict[str, dict[str, list[float]]] = {f"{target:g}": {} for target in TARGETS}
    waiting = [middle / 3, middle, middle * 3]
    while waiting or (waiting := beyond(found)):
        rate = waiting.pop()
        seen = runs(network, gain, make(rate), TUNED, NETWORKS[network].tuning)
        for target, counts in seen.reached.items():
            found[target][f"{rate:.2g}"] = [median(counts), -float(np.median(seen.best))]
    return found


def best(found: dict[str, list[float]]) -> float:
    """The rate with the fewest measurements, or with the highest accuracy if none arrives."""
    return float(min(found, key=lambda one: found[one]))


def beyond(found: dict[str, dict[str, list[float]]]) -> list[float]:
    """The next rate for a target whose best rate is the lowest or the highest so far."""
    for rates in found.values():
        tried, top = sorted(map(float, rates)), best(rates)
        if len(tried) < MOST_RATES and top in (tried[0], tried[-1]):
            return [top * 3 if top == tried[-1] else top / 3]
    return []


def middle(curves: list[list[tuple[int, float]]]) -> list[tuple[int, float]]:
    """The median curve; a run that has reached the last target keeps its accuracy."""
    longest = max(curves, key=len)
    padded = [[*(s for _, s in one), *[one[-1][1]] * (len(longest) - len(one))] for one in curves]
    return [(m, float(s)) for (m, _), s in zip(longest, np.median(padded, axis=0))]


def cell(network: str, gain: float, method: str, seeds: int) -> dict[str, Any]:
    """Tune the rate for each target and run the reported seeds.

    `reached` holds the measurements of each seed to each target, None if not reached.
    """
    started = time.process_time()
    rates = tuned(network, gain, method)
    rate = {target: best(tried) for target, tried in rates.items()}
    make = METHODS[method][0]
    seen = {one: runs(network, gain, make(one), REPORTED, seeds) for one in set(rate.values())}
    return {
        "rates": {t: {r: v if np.isfinite(v[0]) else [None, v[1]] for r, v in tried.items()}
                  for t, tried in rates.items()},
        "rate": rate,
        "budget": NETWORKS[network].budget,
        "reached": {target: seen[one].reached[target] for target, one in rate.items()},
        "best": seen[rate[f"{TARGETS[-1]:g}"]].best,
        "curve": middle(seen[rate[f"{TARGETS[-1]:g}"]].curves),
        "minutes": round((time.process_time() - started) / 60, 1),
    }  # fmt: skip


def shown(found: dict[str, Any], target: str) -> str:
    """Format rate, median and range over seeds; a seed that missed counts as above the budget."""
    if target not in found["reached"]:
        return "– | not run"
    counts = sorted(np.inf if one is None else one for one in found["reached"][target])
    middle, low, high = (counts[i] for i in (len(counts) // 2, 0, -1))

    def told(count: float) -> str:
        return f"> {found['budget']}" if np.isinf(count) else f"{count:.0f}"

    across = told(middle) if low == high else f"{told(middle)} ({told(low)} – {told(high)})"
    return f"{found['rate'][target]:g} | {across}"


def write_table(cells: dict[str, Any]) -> None:
    """Write the Markdown tables."""
    heading = "rule | rate | to 80 % | rate | to 85 % | seeds |\n|---|---|---|---|---|---|---|"
    lines, swept = [f"| network | {heading}"], [f"| weights off by | {heading}"]
    for network, (_, some) in CELLS.items():
        missing: dict[str, list[str]] = {}
        for gain, method in some:
            first = network if gain == 0 else f"{100 * gain:.0f} %"
            if not (found := cells.get(f"{network} | {gain:g} | {method}")):
                missing.setdefault(first, []).append(method)
                continue
            counts = " | ".join(shown(found, target) for target in ("0.8", "0.85"))
            row = f"| {first} | {method} | {counts} | {len(found['best'])} |"
            (lines if gain == 0 else swept).append(row)
        for first, methods in missing.items():
            row = f"| {first} | not run: {'; '.join(methods)} | | | | | |"
            (swept if first.endswith("%") else lines).append(row)
    (RESULTS.parent / "feedback.md").write_text("\n".join(lines) + "\n", "utf-8")
    (RESULTS.parent / "feedback_mismatch.md").write_text("\n".join(swept) + "\n", "utf-8")


def draw(cells: dict[str, Any]) -> None:
    """Draw the median run of each method on the ideal chips."""
    shown = [one for one in NETWORKS if any(name.startswith(f"{one} | 0 |") for name in cells)]
    figure, axes = plt.subplots(
        1, len(shown), figsize=(2 + 4 * len(shown), 3.6), sharey=True, squeeze=False
    )
    for axis, network in zip(axes[0], shown):
        for number, method in enumerate(METHODS):
            if found := cells.get(f"{network} | 0 | {method}"):
                measurements, scores = np.array(found["curve"]).T
                again, colour = divmod(number, len(PALETTE))
                style = {"color": PALETTE[colour], "linestyle": "-:"[again]}
                axis.plot(measurements, scores, label=method, **style)
        axis.set(title=network, xscale="log", xlabel="measurements", ylim=(0.5, 0.87))
        axis.xaxis.set(major_locator=LogLocator(subs=(1, 3)), major_formatter="{x:.0f}")
        axis.xaxis.set_minor_formatter(NullFormatter())
    axes[0, 0].set_ylabel("test accuracy")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 0.95)}
    figure.tight_layout()
    figure.legend(handles, labels, fontsize=7, frameon=False, **beside)
    figure.savefig(DOCS / "figures" / "feedback.svg", bbox_inches="tight")


def main(chosen: list[str]) -> None:
    """Run the missing cells and save the results after each cell."""
    warnings.filterwarnings("ignore")
    cells = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for network, (seeds, some) in CELLS.items():
        for gain, method in some:
            name = f"{network} | {gain:g} | {method}"
            if name in cells or (chosen and network not in chosen):
                continue
            cells[name] = cell(network, gain, method, seeds)
            RESULTS.write_text(json.dumps(cells, indent=1) + "\n", "utf-8")
            print(name, cells[name]["rates"], cells[name]["reached"], cells[name]["minutes"])
    write_table(cells)
    draw(cells)


if __name__ == "__main__":
    main(sys.argv[1:])
