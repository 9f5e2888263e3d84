"""Drawing functions for the papers' figures."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dither.papers.paper import Row
from dither.training.drawing import GREY, PALETTE, picture

__all__ = ["GREY", "PALETTE", "from_paper", "laws", "picture", "points"]


def points(
    axes: Any,
    axis: str,
    rows: list[Row],
    colour: str,
    marker: str,
    label: str,
    place: Callable[[float], float] = float,
) -> None:
    """Draw rows as points with intervals at their value on an axis.

    Values that are not finite are left out; an interval without an upper end is an arrow.
    """
    x = [place(row.point[axis]) for row in rows]
    values = np.array([[row.measured, row.measured_low, row.measured_high] for row in rows], float)
    middle, low, high = np.where(np.isfinite(values), values, np.nan).T
    style = {"color": colour, "linewidth": 1, "capsize": 2}
    axes.errorbar(
        x, middle, np.nan_to_num([middle - low, high - middle]), fmt=marker, markersize=4.5,
        label=label, **style,
    )  # fmt: skip
    endless = np.isfinite(low) & ~np.isfinite(high)
    if endless.any():
        at = np.array(x)[endless]
        axes.errorbar(at, middle[endless], middle[endless] / 2, fmt="none", lolims=True, **style)


def from_paper(
    axes: Any, axis: str, rows: list[Row], colour: str, marker: str, label: str, aside: float = 1.0
) -> None:
    """Draw published values as open markers, with ±2 standard deviations if known.

    `aside` is a factor on the position, so that they do not cover measured values.
    """
    there = [row for row in rows if row.published is not None]
    x = np.array([row.point[axis] for row in there], float)
    y = np.array([row.published for row in there], float)
    spread = 2 * np.array([row.published_sd for row in there], float)
    axes.errorbar(
        x * aside, y, [np.minimum(spread, 0.9 * y), spread], fmt=marker, markersize=5.5,
        markerfacecolor="none", linewidth=0.8, color=colour, label=label, capsize=2,
    )  # fmt: skip


def laws(rows: list[Row]) -> list[float]:
    """The law's predictions for rows, NaN without one."""
    return [np.nan if row.law is None else row.law for row in rows]
