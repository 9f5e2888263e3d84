"""How this paper's figures are drawn."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from dither.papers.paper import Row
from dither.training.figure import GREY, STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#6b6b6b")
"""Okabe and Ito's colours, told apart by colour-blind readers."""

__all__ = ["GREY", "PALETTE", "laws", "picture", "points"]


@contextmanager
def picture(width: float, height: float) -> Iterator["Figure"]:
    """A figure of a size in inches, to be drawn inside in dither's style."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def points(axes: Any, axis: str, rows: list[Row], colour: str, marker: str, label: str) -> None:
    """Rows as points with their intervals; what is not finite is left out."""
    x = [row.point[axis] for row in rows]
    values = np.array([[row.measured, row.measured_low, row.measured_high] for row in rows], float)
    middle, low, high = np.where(np.isfinite(values), values, np.nan).T
    axes.errorbar(
        x, middle, [middle - low, high - middle], fmt=marker, markersize=4.5, linewidth=1,
        color=colour, label=label, capsize=2,
    )  # fmt: skip


def laws(rows: list[Row]) -> list[float]:
    """What the law predicts for rows, NaN where it does not."""
    return [np.nan if row.law is None else row.law for row in rows]
