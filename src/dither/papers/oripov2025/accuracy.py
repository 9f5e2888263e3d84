"""Figure 4: test accuracy against iterations."""

import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dither.laws import normalised_slowdown
from dither.laws.angle import squares_and_sizes
from dither.networks import CNN
from dither.papers.drawing import GREY, PALETTE, picture
from dither.papers.oripov2025.angle import exactly, network_of
from dither.papers.oripov2025.rows import AN_ITERATION, rows_of
from dither.papers.paper import Made, Observe, Row, known, median
from dither.papers.scale import Scale

if TYPE_CHECKING:
    import pandas as pd

ACCURACIES = (0.2, 0.4, 0.6, 0.8)
METHODS = ("backprop", "node", "weight")


@cache
def slowdown(method: str, network: CNN, seeds: int) -> float:
    """The law: the iterations relative to backpropagation, at the initial weights."""
    nodes = np.array([math.prod(layer.nodes) for layer in network.layers])
    found = []
    for seed in range(seeds):
        squared, parameters = squares_and_sizes(exactly(network, seed)[1])
        found.append(normalised_slowdown(squared, nodes if method == "node" else parameters))
    return float(np.mean(found))


class AccuracyCurves:
    """The evaluations of all trainings, and the accuracies to which they were run.

    Attributes: `table`, one line per evaluation; `run_to`, the accuracy to which each method and
    size is run; `every`, the iterations between its evaluations.
    """

    def __init__(self, scale: Scale, observe: Observe) -> None:
        study = scale.study("training")
        self.table: pd.DataFrame = scale.run(study, observe, curves=True)
        each = self.table["method"].map(AN_ITERATION)
        self.table["iterations"] = self.table["measurements"] / each
        self.run_to: dict[tuple[str, int], float] = {}
        self.every: dict[str, int] = {}
        for cell in study.cells:
            method, run = cell.labels["method"], cell.specification
            self.run_to[method, cell.labels["d"]] = run.until.score or 0.0
            self.every[method] = (run.score_every or 1) // AN_ITERATION[method]

    def of(self, method: str, d: int) -> list["pd.DataFrame"]:
        """The evaluations of each training."""
        mine = self.table[(self.table["method"] == method) & (self.table["d"] == d)]
        return [run for _, run in mine.groupby("seed")]

    def first(self, method: str, d: int, accuracy: float) -> list[float]:
        """The iterations of each training's first record at an accuracy; None if not run."""
        if self.run_to.get((method, d), 0.0) < accuracy:
            return []
        reached = [run["iterations"][run["score"] >= accuracy] for run in self.of(method, d)]
        return [float(records.min()) if len(records) else math.inf for records in reached]


def published(method: str, d: int, accuracy: float, what: str = "median") -> float | None:
    """The published iterations to an accuracy."""
    quantity = f"iterations to {100 * accuracy:.0f} % test accuracy"
    return known("oripov2025", what, figure="4", method=method, d=d, quantity=quantity)


def accuracies(scale: Scale, observe: Observe) -> Made:
    """Iterations and measurements to a test accuracy; cells that were not run have no value."""
    curves = AccuracyCurves(scale, observe)
    networks = {cell.labels["d"]: network_of(cell) for cell in scale.study("angles").cells}
    rows = [
        row
        for d in networks
        for method in METHODS
        for accuracy in ACCURACIES
        for row in _rows(method, d, accuracy, curves, networks, scale["laws"])
    ]
    return Made(rows, _draw(curves))


def _rows(
    method: str,
    d: int,
    accuracy: float,
    curves: AccuracyCurves,
    networks: Mapping[int, CNN],
    laws: int,
) -> list[Row]:
    found, law = curves.first(method, d, accuracy), None
    exact = curves.first("backprop", d, accuracy)
    base = median(np.array(exact)).value if exact else published("backprop", d, accuracy)
    there = published(method, d, accuracy) is not None
    if method != "backprop" and base is not None and (found or there):
        law = base * slowdown(method, networks[d], laws)
    return rows_of(
        "4", method, {"d": d}, f"to {100 * accuracy:.0f} % test accuracy",
        median(np.array(found)) if found else None, len(found), "median", law,
        criterion=f"first record at or above, every {curves.every.get(method)} iterations",
    )  # fmt: skip


def _draw(curves: AccuracyCurves) -> Any:
    shown = sorted({d for _, d in curves.run_to}) or [2]
    with picture(1.4 + 3.8 * len(shown), 3.8) as figure:
        panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
        for d, axes in zip(shown, panels):
            for method, colour, marker in zip(METHODS, (GREY, PALETTE[1], PALETTE[0]), "Dso"):
                runs = curves.of(method, d)
                for run in runs:
                    axes.plot(run["iterations"], run["score"], color=colour, linewidth=0.8)
                levels = [a for a in ACCURACIES if published(method, d, a) is not None]
                middle, spread = (
                    np.array([published(method, d, a, what) for a in levels], float)
                    for what in ("median", "sd")
                )
                axes.errorbar(
                    middle, levels, xerr=[np.minimum(2 * spread, 0.9 * middle), 2 * spread],
                    fmt=marker, markersize=5, markerfacecolor="none", linewidth=0.8, capsize=2,
                    color=colour, label=f"{method}, published",
                )  # fmt: skip
                if runs:
                    axes.plot([], [], color=colour, label=f"{method}, measured")
            axes.set(xscale="log", xlabel="iterations", title=f"d = {d}", ylim=(0, 1))
            axes.axhline(0.1, color=GREY, linewidth=0.6, linestyle=":")
        panels[0].set_ylabel("test accuracy")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
    return figure
