"""Compare rules that see outputs and layer inputs: measurements to 80 % and 85 %.

`feedback.py [NETWORK ...]` runs the cells that are missing from docs/results/feedback.json, then
writes the tables and the figure. A cell is a network, a mismatch of the chip's weights and a
method.

All methods are tuned in the same way in each cell. Three learning rates, spaced by a factor of 3,
are tried on a separate seed. Further rates are added while the best rate is the lowest or the
highest. The best rate is the one with the highest test accuracy, averaged over the tuning run. The
reported runs use the same seeds for all methods. The test set is scored every `every` measurements;
scoring is not counted.
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

    `every` is the number of measurements between evaluations. `tuning` and `budget` are the
    measurements of a tuning run and of a reported run. A run ends when it reaches the last target.
    """

    network: AbstractNetwork
    every: int
    tuning: int
    budget: int
    targets: tuple[float, ...] = (0.8, 0.85)


NETWORKS = {
    "784-32-10": Setting(MLP(widths=(784, 32, 10)), 20, 400, 1600),
    "784-128-64-10": Setting(MLP(widths=(784, 128, 64, 10)), 20, 300, 800),
    "cnn-4": Setting(
        CNN(
            channels=(4, 8, 16), depth=2, padding="same", dense=(16, 16), activation="tanh"
        ),
        25, 75, 300, (0.8,),
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
    # node perturbation takes more than 14 000 measurements there: see docs/neurons.md
    "cnn-4": (9, [(0.0, one) for one in IDEAL if one != "whitened-node-perturbation"]),
    "784-128-64-10": (9, [(0.0, one) for one in IDEAL]),
}
"""By network: the number of reported seeds, and the cells as pairs of mismatch and method."""


def runs(network: str, gain: float, made: Any, seed: int, count: int, most: int) -> Any:
    """The history of `count` seeds, stopped at the last target."""
    setting = NETWORKS[network]
    spread = [{"kind": "mismatch", "gain": gain}] if gain else []
    chip = SimulatedDevice(network=setting.network, imperfections=spread)
    until = Until(measurements=most, score=setting.targets[-1])
    task = FashionMNIST(batch=100)
    more = {"key": seed, "replicas": count, "until": until, "score_every": setting.every}
    return dither.train(chip, task, made, **more).history


def tuned(network: str, gain: float, method: str, known: dict[str, float]) -> dict[str, float]:
    """The mean test accuracy over a tuning run, by rate.

    A run that reaches the last target early keeps its final accuracy.
    """
    make, middle = METHODS[method]
    setting, found = NETWORKS[network], dict(known)
    looks = setting.tuning // setting.every
    waiting = [] if known else [middle / 3, middle, middle * 3]
    while waiting or not settled(found):
        rate = waiting.pop() if waiting else beyond(found)
        history = runs(network, gain, make(rate), TUNED, 1, setting.tuning)
        scores = history.score.to_numpy()
        scores = np.append(scores, np.full(max(looks + 1 - len(scores), 0), scores[-1]))
        found[f"{rate:.2g}"] = float(np.mean(scores))
    return found


def best(found: dict[str, float]) -> float:
    """The rate with the highest accuracy."""
    return float(max(found, key=lambda one: found[one]))


def settled(found: dict[str, float]) -> bool:
    """Whether the best rate is an interior one, or `MOST_RATES` rates have been tried."""
    rates = sorted(float(one) for one in found)
    return rates[0] < best(found) < rates[-1] or len(rates) >= MOST_RATES


def beyond(found: dict[str, float]) -> float:
    """The next rate beyond the best rate, which is the lowest or the highest so far."""
    highest = best(found) == max(float(one) for one in found)
    return best(found) * 3 if highest else best(found) / 3


def cell(
    network: str, gain: float, method: str, seeds: int, known: dict[str, Any]
) -> dict[str, Any]:
    """Tune the rate and run the reported seeds at it.

    `reached` holds the measurements of each seed to each target, None if not reached.
    """
    started = time.time()
    rates = tuned(network, gain, method, known.get("rates", {}))
    rate = best(rates)
    if rate == known.get("rate"):
        return {**known, "rates": rates}
    budget, targets = NETWORKS[network].budget, NETWORKS[network].targets
    history = runs(network, gain, METHODS[method][0](rate), REPORTED, seeds, budget)
    reached: dict[str, list[int | None]] = {f"{target:g}": [] for target in targets}
    curve = []
    for _, run in history.groupby("replica"):
        for target in targets:
            there = run.measurements[run.score >= target]
            reached[f"{target:g}"].append(int(there.min()) if len(there) else None)
        curve.append([[int(m), round(float(s), 4)] for m, s in zip(run.measurements, run.score)])
    return {
        "rates": rates, "rate": rate, "budget": budget, "reached": reached,
        "best": [max(s for _, s in run) for run in curve], "curve": curve[0],
        "minutes": round((time.time() - started) / 60, 1),
    }  # fmt: skip


def shown(found: dict[str, Any], target: str) -> str:
    """Format the median and the range over seeds; a seed that missed counts as above the budget."""
    if target not in found["reached"]:
        return "not run"
    counts = sorted(np.inf if one is None else one for one in found["reached"][target])
    middle, low, high = (counts[i] for i in (len(counts) // 2, 0, -1))

    def told(count: float) -> str:
        return f"> {found['budget']}" if np.isinf(count) else f"{count:.0f}"

    return told(middle) if low == high else f"{told(middle)} ({told(low)} – {told(high)})"


def write_table(cells: dict[str, Any]) -> None:
    """Write the Markdown tables."""
    lines = ["| network | rule | rate | to 80 % | to 85 % | seeds |", "|---|---|---|---|---|---|"]
    swept = [
        "| weights off by | rule | rate | to 80 % | to 85 % | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for network, (_, some) in CELLS.items():
        missing: dict[str, list[str]] = {}
        for gain, method in some:
            first = network if gain == 0 else f"{100 * gain:.0f} %"
            if not (found := cells.get(f"{network} | {gain:g} | {method}")):
                missing.setdefault(first, []).append(method)
                continue
            counts = " | ".join(shown(found, target) for target in ("0.8", "0.85"))
            seeds, rate = len(found["best"]), found["rate"]
            row = f"| {first} | {method} | {rate:g} | {counts} | {seeds} |"
            (lines if gain == 0 else swept).append(row)
        for first, methods in missing.items():
            row = f"| {first} | not run: {'; '.join(methods)} | | | | |"
            (swept if first.endswith("%") else lines).append(row)
    (RESULTS.parent / "feedback.md").write_text("\n".join(lines) + "\n", "utf-8")
    (RESULTS.parent / "feedback_mismatch.md").write_text("\n".join(swept) + "\n", "utf-8")


def draw(cells: dict[str, Any]) -> None:
    """Draw one run of each method on the ideal chips."""
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
            known = cells.get(name, {})
            if (known and settled(known["rates"])) or (chosen and network not in chosen):
                continue
            cells[name] = cell(network, gain, method, seeds, known)
            RESULTS.write_text(json.dumps(cells, indent=1) + "\n", "utf-8")
            print(name, cells[name]["rates"], cells[name]["reached"], cells[name]["minutes"])
    write_table(cells)
    draw(cells)


if __name__ == "__main__":
    main(sys.argv[1:])
