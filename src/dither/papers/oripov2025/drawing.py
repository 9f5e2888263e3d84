"""How this paper's rows are made and its figures drawn."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dither.laws import Interval
from dither.papers.drawing import GREY, PALETTE, laws, picture, points
from dither.papers.paper import Row

__all__ = ["GREY", "PALETTE", "from_paper", "laws", "picture", "points", "row_of"]


def from_paper(
    axes: Any,
    axis: str,
    rows: list[Row],
    colour: str,
    marker: str,
    label: str,
    aside: float = 1.0,
) -> None:
    """What was published as open markers, with two standard deviations either way where known.

    `aside` is a factor on where it is drawn, so that it does not cover what was measured.
    """
    known = [row for row in rows if row.published is not None]
    x = np.array([row.point[axis] for row in known], float)
    y = np.array([row.published for row in known], float)
    spread = 2 * np.array([row.published_sd for row in known], float)
    axes.errorbar(
        x * aside, y, [np.minimum(spread, 0.9 * y), spread], fmt=marker, markersize=5.5,
        markerfacecolor="none", linewidth=0.8, color=colour, label=label, capsize=2,
    )  # fmt: skip


def row_of(
    figure: str,
    method: str,
    point: Mapping[str, float | int],
    quantity: str,
    unit: str,
    measured: Interval | None,
    runs: int,
    **beside: Any,
) -> Row:
    """A row; one that is not run has nothing measured and says so."""
    if measured is None:
        beside |= {"criterion": "not run"}
        return Row(figure, method, point, quantity, unit, None, **beside)
    return Row(figure, method, point, quantity, unit, *measured, runs, **beside)
