"""Figures 5 and 6: the time between updates, and the learning rate, of weight perturbation."""

from functools import partial
from typing import Any

import numpy as np

from dither.papers.drawing import PALETTE, from_paper, picture, points
from dither.papers.oripov2025.angle import network_of
from dither.papers.oripov2025.rows import AN_ITERATION, LAYERS, MEASURED
from dither.papers.paper import Made, Observe, Row, table
from dither.papers.scale import Scale

SLOW = 1000
"""tau_theta of figure 6."""

PUBLISHED = 24
"""The size of the published runs."""


def sweep(figure: str, axis: str, unit: str, length: int, scale: Scale, observe: Observe) -> Made:
    """All published settings; measured values are empty if the sweeps are not run.

    Arguments: `unit`, counted in addition to measurements, `length` iterations each.
    """
    everything = table("oripov2025")
    numbers: Any = everything[everything["figure"] == figure].to_dict("records")
    settings = dict.fromkeys((row["setting"], row["value"], row["d"]) for row in numbers)
    took = _iterations(axis, scale, observe) if scale["sweeps"] else {}
    rows: list[Row] = []
    for setting, value, d in settings:
        optimizer = "adam" if setting.endswith("adam") else "none"
        point = f"{value:g}" if figure == "5" else f"{optimizer}, {value:g}"
        times = [
            row["median"] for row in numbers
            if (row["setting"], row["value"]) == (setting, value)
            and row["quantity"] == f"{unit} to 80 % test accuracy"
        ]  # fmt: skip
        method = "weight" if optimizer == "none" else f"weight, {optimizer}"
        for size in sorted({d, *(size for where, size in took if where == point)}):
            found = took.get((point, size))
            for name, factor in ((unit, 1.0), ("measurements", float(MEASURED * LAYERS * length))):
                rows.append(
                    Row(figure, method, {"d": size, axis: float(value)},
                        f"{name} to 80 % test accuracy", name,
                        None if found is None else found / length * factor,
                        runs=None if found is None else 1,
                        published=times[0] * factor if times and size == d else None,
                        criterion="not run" if found is None else "first record")
                )  # fmt: skip
    return Made(rows, _draw(rows, axis, unit))


def _iterations(axis: str, scale: Scale, observe: Observe) -> dict[tuple[str, int], float]:
    """Iterations to the target, by the label of a setting and the network size."""
    study = scale.study(axis.replace("_", "-").replace(" ", "-"))
    size = network_of(study.cells[0]).channels[0]
    runs = scale.run(study, observe)
    return {
        (run["point"], size): (
            run["measurements"] / AN_ITERATION["weight"] if run["reached"] else np.inf
        )
        for run in runs.to_dict("records")
    }


tau_theta = partial(sweep, "5", "tau_theta", "iterations", 1)
learning_rate = partial(sweep, "6", "learning rate", "updates", SLOW)


def _draw(rows: list[Row], axis: str, unit: str) -> Any:
    with picture(4.6, 3.4) as figure:
        axes = figure.subplots()
        for method, colour, marker in zip(dict.fromkeys(r.method for r in rows), PALETTE, "os"):
            mine = [row for row in rows if row.method == method and row.unit == unit]
            from_paper(axes, axis, mine, colour, marker, f"{method}, published, d = {PUBLISHED}")
            ran = [row for row in mine if row.measured is not None]
            for size in sorted({row.point["d"] for row in ran}):
                there = [row for row in ran if row.point["d"] == size]
                points(axes, axis, there, colour, marker, f"{method}, measured, d = {size}")
        axes.set(xscale="log", yscale="log", xlabel=axis,
                 ylabel=f"{unit} to 80 % test accuracy")  # fmt: skip
        axes.legend()
    return figure
