"""Figures 5 and 6: the time between updates, and the learning rate, of weight perturbation."""

from functools import partial
from typing import Any

import numpy as np

from dither.papers.drawing import PALETTE, from_paper, picture, points
from dither.papers.oripov2025.rows import AN_ITERATION, LAYERS, MEASURED
from dither.papers.paper import Made, Observe, Row, table
from dither.papers.scale import Scale

SLOW = 1000
"""tau_theta of figure 6."""


def sweep(figure: str, axis: str, unit: str, length: int, scale: Scale, observe: Observe) -> Made:
    """Every published setting; where the sweeps are not run its measured values stay empty.

    Arguments: `unit`, what is counted beside measurements, `length` iterations each.
    """
    everything = table("oripov2025")
    numbers: Any = everything[everything["figure"] == figure].to_dict("records")
    settings = dict.fromkeys((row["setting"], row["value"], row["d"]) for row in numbers)
    runs = None
    if scale["sweeps"]:
        runs = scale.run(scale.study(axis.replace("_", "-").replace(" ", "-")), observe)
    rows: list[Row] = []
    for setting, value, d in settings:
        optimizer = "adam" if setting.endswith("adam") else "none"
        times = [
            row["median"] for row in numbers
            if (row["setting"], row["value"]) == (setting, value)
            and row["quantity"] == f"{unit} to 80 % test accuracy"
        ]  # fmt: skip
        took: float | None = None
        if runs is not None:
            point = f"{value:g}" if figure == "5" else f"{optimizer}, {value:g}"
            run = runs[runs["point"] == point].iloc[0]
            took = run["measurements"] / AN_ITERATION["weight"] if run["reached"] else np.inf
        method = "weight" if optimizer == "none" else f"weight, {optimizer}"
        for name, factor in ((unit, 1.0), ("measurements", float(MEASURED * LAYERS * length))):
            rows.append(
                Row(figure, method, {"d": d, axis: float(value)},
                    f"{name} to 80 % test accuracy", name,
                    None if took is None else took / length * factor,
                    runs=None if took is None else 1,
                    published=times[0] * factor if times else None,
                    criterion="not run" if took is None else "first record")
            )  # fmt: skip
    return Made(rows, _draw(rows, axis, unit))


tau_theta = partial(sweep, "5", "tau_theta", "iterations", 1)
learning_rate = partial(sweep, "6", "learning rate", "updates", SLOW)


def _draw(rows: list[Row], axis: str, unit: str) -> Any:
    with picture(4.6, 3.4) as figure:
        axes = figure.subplots()
        for method, colour, marker in zip(dict.fromkeys(r.method for r in rows), PALETTE, "os"):
            mine = [row for row in rows if row.method == method and row.unit == unit]
            from_paper(axes, axis, mine, colour, marker, f"{method}, published")
            if any(row.measured is not None for row in mine):
                points(axes, axis, mine, colour, marker, f"{method}, measured")
        not_run = " (simulation not run)" if all(row.measured is None for row in rows) else ""
        axes.set(xscale="log", yscale="log", xlabel=axis, title=f"d = 24{not_run}",
                 ylabel=f"{unit} to 80 % test accuracy")  # fmt: skip
        axes.legend()
    return figure
