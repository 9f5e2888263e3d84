"""Figure 4: test accuracy against iterations."""

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dither.laws.angle import layers_of
from dither.papers.oripov2025.angle import exactly, first_batch
from dither.papers.oripov2025.drawing import GREY, PALETTE, picture, row_of
from dither.papers.oripov2025.network import examples_last, initial_weights, network_of
from dither.papers.oripov2025.published import published
from dither.papers.oripov2025.scale import METHODS, Cell, Scale
from dither.papers.oripov2025.simulation import MEASURED, Method, Scheme, sizes
from dither.papers.oripov2025.training import Curve, Goal, fashion_mnist, train
from dither.papers.paper import Made, Observe, Row, median

ACCURACIES = (0.2, 0.4, 0.6, 0.8)
EVERY: dict[Method, int] = {"backprop": 50, "node": 250, "weight": 250}
"""Iterations between two looks at all 10 000 test images."""

LONGEST = 4_000_000
"""Iterations after which a training is given up."""


@lru_cache(100)
def slowdown(method: Method, d: int, seeds: int) -> float:
    """The law: how many times the iterations of backpropagation at the same small learning rate.

    An iteration's step has the mean `eta g_l / √N_l` in layer l, so that to first order the cost
    falls by `eta Σ_l |g_l|² / √N_l` and not by `eta |g|²`; the noise of the step is left out.
    Evaluated at the initial weights. Source: derived here.
    """
    layers = examples_last(network_of(d))
    found = []
    for seed in range(seeds):
        parameters = initial_weights(d, jax.random.key(seed))
        gradient = exactly(d, parameters, *first_batch(fashion_mnist())).gradient
        squared = {
            layer: sum(float(np.sum(np.asarray(gradient[name]) ** 2)) for name in names)
            for layer, names in layers_of(parameters).items()
        }
        N = sizes(method, layers, parameters)
        slowed = sum(value / math.sqrt(N[layer]) for layer, value in squared.items())
        found.append(sum(squared.values()) / slowed)
    return float(np.mean(found))


def accuracies(scale: Scale, observe: Observe) -> Made:
    """Iterations, and measurements, to a test accuracy; cells that are not run have no value."""
    cells = scale.trainings
    curves: dict[tuple[Method, int], list[Curve]] = {}
    total = sum(cell.seeds for cell in cells)
    for cell in cells:
        for seed in range(cell.seeds):
            share = sum(map(len, curves.values())) / total
            curves.setdefault((cell.method, cell.d), []).append(
                _train(cell, seed, scale.folder, observe, share)
            )
    rows = [
        row
        for d in scale.angle_sizes
        for method in METHODS
        for row in _rows(method, d, curves, _reached(cells, method, d), scale)
    ]
    return Made(rows, _draw(curves))


def _reached(cells: tuple[Cell, ...], method: Method, d: int) -> float:
    """The accuracy that a cell is run to; 0 if it is not."""
    return max((c.accuracy for c in cells if (c.method, c.d) == (method, d)), default=0.0)


def _train(cell: Cell, seed: int, folder: Path | None, observe: Observe, share: float) -> Curve:
    def tell(curve: Curve) -> None:
        what = f"{cell.method}, d = {cell.d}, seed {seed}, iteration {curve.iterations[-1]}"
        observe(f"{what}, test accuracy {curve.accuracies[-1]:.3f}", share)

    name = f"{cell.method}-d{cell.d}-seed{seed}.npz"
    return train(
        Scheme(method=cell.method, d=cell.d), seed, fashion_mnist(),
        Goal(cell.accuracy, LONGEST), EVERY[cell.method],
        None if folder is None else folder / "trainings" / name, tell,
    )  # fmt: skip


def _rows(
    method: Method,
    d: int,
    curves: dict[tuple[Method, int], list[Curve]],
    run_to: float,
    scale: Scale,
) -> list[Row]:
    rows = []
    each = 0 if method == "backprop" else MEASURED * len(network_of(d).layers)
    for accuracy in ACCURACIES:
        quantity = f"to {100 * accuracy:.0f} % test accuracy"
        known = published("4", method, d, _named(accuracy))
        run = accuracy <= run_to
        found = [curve.first(accuracy) for curve in curves.get((method, d), [])] if run else []
        law = _law(method, d, accuracy, curves, scale) if run or known else None
        for unit, factor in (("iterations", 1), ("measurements", each)):
            if factor:
                rows.append(
                    row_of("4", method, {"d": d}, f"{unit} {quantity}", unit,
                           median(factor * np.array(found)) if found else None, len(found),
                           criterion=f"first record at or above, every {EVERY[method]} iterations",
                           law=None if law is None else factor * law,
                           published=None if known is None else factor * known.median,
                           published_sd=None if known is None else factor * known.sd)
                )  # fmt: skip
    return rows


def _law(
    method: Method,
    d: int,
    accuracy: float,
    curves: dict[tuple[Method, int], list[Curve]],
    scale: Scale,
) -> float | None:
    """The slowdown times the iterations of backpropagation: measured, or published if not run."""
    if method == "backprop":
        return None
    known = published("4", "backprop", d, _named(accuracy))
    exact = [curve.first(accuracy) for curve in curves.get(("backprop", d), [])]
    if _reached(scale.trainings, "backprop", d) >= accuracy and exact:
        base = median(np.array(exact)).value
    elif known is not None:
        base = known.median
    else:
        return None
    return base * slowdown(method, d, scale.angle_laws)


def _draw(curves: dict[tuple[Method, int], list[Curve]]) -> Any:
    shown = sorted({d for _, d in curves}) or [2]
    with picture(1.4 + 3.8 * len(shown), 3.8) as figure:
        panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
        for d, axes in zip(shown, panels):
            for method, colour, marker in zip(METHODS, (GREY, PALETTE[1], PALETTE[0]), "Dso"):
                for curve in curves.get((method, d), []):
                    axes.plot(curve.iterations, curve.accuracies, color=colour, linewidth=0.8)
                known = [
                    (accuracy, found)
                    for accuracy in ACCURACIES
                    if (found := published("4", method, d, _named(accuracy))) is not None
                ]
                middle = np.array([found.median for _, found in known])
                spread = 2 * np.array([found.sd for _, found in known])
                axes.errorbar(
                    middle, [a for a, _ in known], xerr=[np.minimum(spread, 0.9 * middle), spread],
                    fmt=marker, markersize=5, markerfacecolor="none", linewidth=0.8, capsize=2,
                    color=colour, label=f"{method}, published",
                )  # fmt: skip
                if (method, d) in curves:
                    axes.plot([], [], color=colour, label=f"{method}, measured")
            axes.set(xscale="log", xlabel="iterations", title=f"d = {d}", ylim=(0, 1))
            axes.axhline(0.1, color=GREY, linewidth=0.6, linestyle=":")
        panels[0].set_ylabel("test accuracy")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
    return figure


def _named(accuracy: float) -> str:
    return f"iterations to {100 * accuracy:.0f} % test accuracy"
