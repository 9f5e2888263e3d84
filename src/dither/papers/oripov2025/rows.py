"""The rows of this paper and its published numbers."""

from dither.laws import Interval
from dither.papers.paper import Row, known
from dither.papers.scale import Table

LAYERS = 9
MEASURED = 2
"""Measurements per layer and iteration: a baseline and a perturbed one.

dither measures the baseline once for all layers; the rows count as the paper does.
"""

AN_ITERATION = {"backprop": 1, "node": 1 + LAYERS, "weight": 1 + LAYERS}
"""The measurements per iteration in dither."""


def rows_of(
    figure: str,
    method: str,
    point: Table,
    quantity: str,
    measured: Interval | None,
    runs: int,
    statistic: str,
    law: float | None,
    criterion: str | None = None,
) -> list[Row]:
    """Rows in iterations and, except for backpropagation, in measurements.

    Arguments: their place; the text that follows `iterations` in their quantity; the measured
    iterations, None if not run; the published `statistic` for comparison, with its standard
    deviation.
    """
    where = {"figure": figure, "method": method, "d": point["d"]}
    where["quantity"] = f"iterations {quantity}"
    units = {"iterations": 1, "measurements": MEASURED * LAYERS}
    if method == "backprop":
        del units["measurements"]

    def times(factor: int, value: float | None) -> float | None:
        return None if value is None else factor * value

    return [
        Row(
            figure, method, point, f"{unit} {quantity}", unit, law=times(factor, law),
            published=times(factor, known("oripov2025", statistic, **where)),
            published_sd=times(factor, known("oripov2025", "sd", **where)),
            criterion="not run" if measured is None else criterion,
        ).with_measured(measured, runs, factor)
        for unit, factor in units.items()
    ]  # fmt: skip
