"""The figure of a run: cost and score against measurements."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dither._words import count
from dither.tasks.scores import display_of
from dither.training.drawing import BLUE, GREY, ORANGE, band, logarithmic, picture, save_figure
from dither.training.history import by_replica, quartiles
from dither.training.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run_figure(result: Result, name: str, target: float | None = None) -> "Figure":
    """Cost and score against measurements: each replica, their median, the middle half shaded.

    Arguments: the result; the run's name, for the title; the score that was aimed at, if any.
    """
    with picture(8.0, 3.2) as figure:
        draw_curves(figure, result, name, target)
    return figure


def draw_curves(figure: Any, result: Result, name: str, target: float | None) -> None:
    """Draw the two curves of `run_figure` into a figure or a part of one."""
    from matplotlib.ticker import EngFormatter

    left, right = figure.subplots(1, 2, sharex=True)
    _curves(left, result.history, "cost", ORANGE)
    left.set(ylabel="cost measured")
    if _spans_decades(result.history["cost"]):
        logarithmic(left)
    shown = display_of(None if result.score is None else result.score_name)
    history = result.history.assign(score=shown.of(result.history["score"]))
    _curves(right, history, shown.column, BLUE)
    log = shown.log and _spans_decades(history[shown.column])
    right.set(ylabel=shown.quantity, yscale="log" if log else "linear", ylim=shown.limits)
    if shown.column == "score" and target is not None:
        right.axhline(shown.of(target), color=GREY, linestyle="--", linewidth=1, label="aim")
    for axes in (left, right):
        axes.set_xlabel("measurements of one device")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if right.get_legend_handles_labels()[0]:
        right.legend(loc="upper right" if shown.log else "lower right")
    many = f", {len(result.replicas)} replicas" if len(result.replicas) > 1 else ""
    figure.suptitle(f"{name}: {_ending(result)}{many}", fontsize=10)


def _spans_decades(values: "pd.Series[float]") -> bool:
    """Whether a logarithmic axis can show values: none of them negative, not all of them 0."""
    finite = values[np.isfinite(values)]
    return bool((finite >= 0).all() and (finite > 0).any())


def _ending(result: Result) -> str:
    measured = f"{count(result.ledger['measurements'])} measurements"
    if result.score is None:
        return measured
    return f"{result.score_name} {result.score:.3f} after {measured}"


def _curves(axes: Any, history: pd.DataFrame, column: str, colour: str) -> None:
    table = by_replica(history, column)
    if table.empty:  # it was never seen, or never finite
        return
    x = table.index.to_numpy(float)
    if table.shape[1] == 1:
        axes.plot(x, table.iloc[:, 0], color=colour, label="the device")
        return
    axes.plot(x, table.to_numpy(), color=colour, alpha=0.15, linewidth=0.6)
    band(axes, x, quartiles(table), colour, label="median of replicas")


class DrawingWarning(UserWarning):
    """A figure could not be drawn; what it shows is kept."""


def draw_run(result: Result, name: str, out: Path, target: float | None = None) -> None:
    """Write `figure.png` and `figure.svg` of a run into its folder. Warns where that fails."""
    if not len(result.history):
        return
    try:
        save_figure(run_figure(result, name, target), out / "figure")
    except Exception as error:  # whatever Matplotlib or a full disk raises: the run is worth more
        warnings.warn(
            f"The run is done and kept, but its figure could not be drawn ({error}); "
            f"`dither report {out}` tries again.",
            DrawingWarning,
            stacklevel=2,
        )
