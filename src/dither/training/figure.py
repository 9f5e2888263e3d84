"""The figure of a run: cost and score against measurements."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dither.training.checkpoint import write_atomically
from dither.training.result import Result

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#6b6b6b"
"""From Okabe and Ito's palette, told apart by colour-blind readers."""

NEAR_ONE = "1 - NMSE"
"""The score that is drawn as its distance from 1, on a logarithmic axis."""

STYLE: Any = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "dither",
    "svg.fonttype": "none",
}


def run_figure(result: Result, name: str, target: float | None = None) -> "Figure":
    """Cost and score against measurements: each replica, their median, the middle half shaded.

    Arguments: the result; the run's name, for the title; the score that was aimed at, if any.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 3.2), layout="constrained")
        _draw_run(figure, result, name, target)
    return figure


def run_and_examples_figure(
    result: Result,
    name: str,
    target: float | None,
    images: np.ndarray,
    guesses: list[str],
    truths: list[str],
) -> "Figure":
    """The figure of a run above test images with what the trained device takes them for.

    Arguments: as for `run_figure`; n images of height × width; n guesses, of which wrong ones are
    written in orange; n right names.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 4.3), layout="constrained")
        halves: Any = figure.subfigures(2, 1, height_ratios=(3.2, 1.0))
        top, bottom = halves
        _draw_run(top, result, name, target)
        for axes, image, guess, truth in zip(
            bottom.subplots(1, len(images)), images, guesses, truths
        ):
            axes.imshow(image, cmap="gray_r")
            axes.set_axis_off()
            right = guess == truth
            axes.set_title(
                guess if right else f"{guess}\n(not {truth})",
                fontsize=7,
                color=BLUE if right else ORANGE,
            )
    return figure


def _draw_run(figure: Any, result: Result, name: str, target: float | None) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    left, right = figure.subplots(1, 2, sharex=True)
    _curves(left, result.history, "cost", ORANGE)
    left.set(ylabel="cost measured", yscale="log")
    low, high = left.get_ylim()
    fine = (1, 1.5, 2, 3, 5, 7) if high < 10 * low else (1, 2, 5) if high < 100 * low else (1,)
    left.yaxis.set_major_locator(LogLocator(subs=fine))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter(NullFormatter())
    near_one = result.score is not None and result.score_name == NEAR_ONE
    by_score = result.score is not None and not near_one
    _curves(right, result.history, "score" if by_score else "test_cost", BLUE)
    right.set(ylabel=f"test {result.score_name}" if by_score else "test cost")
    if near_one:
        right.set(ylabel="test NMSE", yscale="log")
        target = None if target is None else 1 - target
    if (by_score or near_one) and target is not None:
        right.axhline(target, color=GREY, linestyle="--", linewidth=1, label="aim")
    if by_score and result.score_name == "accuracy":
        right.set_ylim(0, 1.02)
    for axes in (left, right):
        axes.set_xlabel("measurements of one device")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    right.legend(loc="lower right" if by_score else "upper right")
    many = f", {len(result.replicas)} replicas" if len(result.replicas) > 1 else ""
    figure.suptitle(f"{name}: {_ending(result)}{many}", fontsize=10)


def _ending(result: Result) -> str:
    measured = f"{result.ledger['measurements']:,} measurements".replace(",", " ")
    if result.score is None:
        return measured
    return f"{result.score_name} {result.score:.3f} after {measured}"


def _curves(axes: Any, history: "pd.DataFrame", column: str, colour: str) -> None:
    table = history.pivot_table(index="measurements", columns="replica", values=column)
    if table.shape[1] == 1:
        axes.plot(table.index, table.iloc[:, 0], color=colour, label="the device")
        return
    axes.plot(table.index, table.to_numpy(), color=colour, alpha=0.15, linewidth=0.6)
    # a replica that is done keeps its last value, so that the median stays one over all of them
    filled = table.ffill()
    low, middle, high = np.nanpercentile(filled.to_numpy(), [25, 50, 75], axis=1)
    axes.fill_between(table.index, low, high, color=colour, alpha=0.25, label="middle half")
    axes.plot(table.index, middle, color=colour, label="median of replicas")


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG, for a look, and beside it as SVG, for print."""
    for ending in ("png", "svg"):
        buffer = BytesIO()
        extra: dict[str, Any] = {"metadata": {"Date": None}} if ending == "svg" else {"dpi": 150}
        figure.savefig(buffer, format=ending, **extra)
        write_atomically(path.with_suffix(f".{ending}"), buffer.getvalue())


def draw_run(result: Result, name: str, out: Path, target: float | None = None) -> None:
    """Write `figure.png` and `figure.svg` of a run into its folder."""
    if len(result.history):
        save_figure(run_figure(result, name, target), out / "figure")
