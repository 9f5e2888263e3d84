"""The figure of a run: cost and score against measurements."""

import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dither._words import count
from dither.tasks.scores import display_of
from dither.training.drawing import (
    BLUE,
    GREY,
    ORANGE,
    band,
    logarithmic,
    picture,
    save_figure,
    styled,
)
from dither.training.history import by_replica, quartiles
from dither.training.result import Result

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


SIZE = (8.0, 3.2)
"""The size in inches."""

LETTERS = 95
"""The longest line of a title, in characters."""


def run_figure(result: Result, name: str, target: float | None = None) -> "Figure":
    """Cost and score against measurements: replicas, their median and interquartile range.

    Arguments: the result; the run's name, for the title; the target score, if any.
    """
    with picture(*SIZE) as figure:
        draw_curves(figure, result, name, target)
    return figure


def draw_curves(figure: Any, result: Result, name: str, target: float | None) -> None:
    """Draw the two curves of `run_figure` into a figure or a part of one."""
    left, right = figure.subplots(1, 2, sharex=True)
    draw_cost(left, result.history)
    draw_score(right, result.history, None if result.score is None else result.score_name, target)
    many = f", {len(result.replicas)} replicas" if len(result.replicas) > 1 else ""
    title = textwrap.fill(f"{name}: {_ending(result)}{many}", LETTERS, break_long_words=True)
    figure.suptitle(title, fontsize=10)


def plot_result(result: Result, axes: Any = None) -> Any:
    """Draw a result for `Result.plot`. Returns: the axes of the score."""
    score_name = None if result.score is None else result.score_name
    with styled():
        if axes is not None:
            draw_score(axes, result.history, score_name, result.aim)
            return axes
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=SIZE, layout="constrained")
        draw_curves(figure, result, result.name, result.aim)
        return figure.axes[-1]


def draw_cost(axes: Any, history: "pd.DataFrame") -> None:
    """Draw the training cost into axes."""
    _curves(axes, history, "cost", ORANGE)
    axes.set(ylabel="cost measured")
    if _spans_decades(history["cost"]):
        logarithmic(axes)
    _count_measurements(axes)


def draw_score(
    axes: Any, history: "pd.DataFrame", score_name: str | None, target: float | None
) -> None:
    """Draw the test score, or the test cost if there is no score, into axes."""
    shown = display_of(score_name)
    told = history.assign(score=shown.of(history["score"]))
    _curves(axes, told, shown.column, BLUE)
    axes.set_ylabel(shown.quantity)
    if shown.limits is not None:  # setting None would freeze the present limits
        axes.set_ylim(shown.limits)
    if shown.log and _spans_decades(told[shown.column]):
        logarithmic(axes)
    if shown.column == "score" and target is not None:
        axes.axhline(shown.of(target), color=GREY, linestyle="--", linewidth=1, label="aim")
    _count_measurements(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right" if shown.log else "lower right")


def _count_measurements(axes: Any) -> None:
    from matplotlib.ticker import EngFormatter

    axes.set_xlabel("measurements of one device")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _spans_decades(values: "pd.Series[float]") -> bool:
    """Whether values suit a logarithmic axis: none is negative and not all are 0."""
    finite = values[np.isfinite(values)]
    return bool((finite >= 0).all() and (finite > 0).any())


def _ending(result: Result) -> str:
    measured = f"{count(result.ledger['measurements'])} measurements"
    last = result.learning_rate
    rate = "" if last is None else f", last learning rate {last:.3g}"
    if result.score is None:
        return measured + rate
    return f"{result.score_name} {result.score:.3f} after {measured}{rate}"


def _curves(axes: Any, history: "pd.DataFrame", column: str, colour: str) -> None:
    table = by_replica(history, column)
    if table.empty:  # never measured, or never finite
        return
    x = table.index.to_numpy(float)
    point = "o" if len(x) == 1 else ""  # a line through one evaluation is invisible
    if table.shape[1] == 1:
        axes.plot(x, table.iloc[:, 0], color=colour, marker=point, label="the device")
        return
    axes.plot(x, table.to_numpy(), color=colour, marker=point, alpha=0.15, linewidth=0.6)
    band(axes, x, quartiles(table), colour, label="median of replicas")


class DrawingWarning(UserWarning):
    """A figure could not be drawn; its data are kept."""


def draw_run(result: Result, name: str, out: Path, target: float | None = None) -> None:
    """Write `figure.png` and `figure.svg` of a run into its folder; warn if that fails."""
    if not len(result.history):
        return
    try:
        save_figure(run_figure(result, name, target), out / "figure")
    except Exception as error:  # any error of Matplotlib or the disk: the run must not be lost
        warnings.warn(
            f"The run is finished and saved, but its figure could not be drawn ({error}); "
            f"`dither report {out}` tries again.",
            DrawingWarning,
            stacklevel=2,
        )
