"""The curves of a study's runs against measurements, cell by cell."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dither._words import short, text_of
from dither.studies.axes import axis_words
from dither.studies.outcome import Summary
from dither.studies.pictures import LETTERS, Picture, spaced
from dither.studies.store import read_curves
from dither.studies.study import Study
from dither.tasks.scores import Display, display_of
from dither.training.drawing import GREY, PALETTE, band, logarithmic, picture
from dither.training.history import quartiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS, LINES, SEEDS = 9, 8, 30
"""Limits of the figure: panels, lines per panel, runs per line."""

POINTS = 80
"""Points of a curve."""


def curves_picture(folder: Path, study: Study, cells: Sequence[Summary]) -> Picture | None:
    """The score (or cost) of each cell's runs: the median and the interquartile range.

    One panel for each combination of all axes but the last, one line for each value of the last.
    """
    *outer, last = study.axes or ("",)
    words = axis_words(study) | {"": ""}
    panels: dict[Any, list[Summary]] = {}
    for cell in cells:
        if len(cell.runs):
            panels.setdefault(cell.at(tuple(outer)), []).append(cell)
    if not panels:
        return None
    some = next(iter(panels.values()))[0].runs
    scored = some["score"].notna().any()
    display = display_of(str(some["score_name"].iloc[0]) if scored else None)
    shown = {place: spaced(panels[place], LINES) for place in spaced(list(panels), PANELS)}
    colours = {}
    if last:
        values = study.labels(last)
        kept = spaced(values, LINES)
        shown = {
            place: [cell for cell in panels[place] if cell.labels[last] in kept] for place in shown
        }
        colours = {value: PALETTE[k] for k, value in enumerate(kept)}
    figure, fewer = _draw(folder, shown, outer, words, last, colours, display)
    caption = (
        "Lines: medians over the seeds; shaded: interquartile range; a finished run keeps its last "
        "value."
    )
    targets = some["target"].dropna().unique()
    if scored and len(targets):
        caption += " Dashed: the target."
    if len(shown) < len(panels):
        caption += f" {len(shown)} of {len(panels)} panels are drawn, evenly spaced."
    if last and len(study.labels(last)) > LINES:
        caption += f" {LINES} of {len(study.labels(last))} values of {words[last]} are drawn."
    if fewer:
        caption += f" The first {SEEDS} runs of each cell are drawn."
    return Picture("curves", f"{display.quantity} against measurements", caption, figure)


def _draw(
    folder: Path,
    shown: dict[Any, list[Summary]],
    outer: Sequence[str],
    words: Mapping[str, str],
    last: str,
    colours: dict[Any, str],
    display: Display,
) -> "tuple[Figure, bool]":
    wide = min(3, len(shown))
    high = -(-len(shown) // wide)
    fewer = False
    with picture(max(2.9 * wide, 5.0) + 1.2, 2.3 * high + 0.6) as figure:
        from matplotlib.lines import Line2D

        grid = figure.subplots(high, wide, sharex=True, sharey=True, squeeze=False).ravel()
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
        for axes, (place, cells) in zip(grid, shown.items()):
            for cell in cells:
                fewer |= len(cell.runs) > SEEDS
                runs = read_curves(folder, cell.runs["run"].iloc[:SEEDS], display.column)
                known = [display.of(run) for run in runs.values() if run.notna().any()]
                if known:
                    colour = colours[cell.labels[last]] if last else PALETTE[0]
                    table = on_one_grid(known)
                    band(axes, table.index, quartiles(table), colour, linewidth=1.3)
                aim = display.of(cell.runs["target"].iloc[0])
                if (
                    display.column == "score"
                    and np.isfinite(aim)
                    and not (display.log and aim <= 0)
                ):
                    axes.axhline(aim, color=GREY, linestyle="--", linewidth=0.8, zorder=1)
            title = ", ".join(
                f"{words[axis]} = {text_of(value, LETTERS)}" for axis, value in zip(outer, place)
            )
            axes.set_title(textwrap.fill(title, 42), fontsize=8)
            axes.xaxis.set_major_formatter(lambda value, _: short(value))
            axes.xaxis.set_tick_params(labelbottom=True)
        if display.log:
            logarithmic(grid[0])
        figure.supxlabel("measurements of one device", fontsize=9)
        figure.supylabel(display.quantity, fontsize=9)
        if colours:
            lines = [Line2D([], [], color=colour) for colour in colours.values()]
            names = [text_of(value, LETTERS) for value in colours]
            figure.legend(lines, names, title=words[last], loc="outside right upper")
    return figure, fewer


def on_one_grid(runs: Sequence["pd.Series[float]"]) -> pd.DataFrame:
    """Runs on a common grid of measurements, starting where all have a value, as step functions."""
    table = pd.concat(runs, axis=1).sort_index().ffill().dropna()
    return table.iloc[spaced(range(len(table)), POINTS)]
