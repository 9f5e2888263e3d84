"""The curves of a study's runs against measurements, cell by cell."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from dither.studies.outcome import Summary
from dither.studies.pictures import PALETTE, STYLE, Picture, cut, logarithmic, short, spaced
from dither.studies.store import Curve, read_curves
from dither.studies.study import Study
from dither.training.figure import GREY, NEAR_ONE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS, LINES, SEEDS = 9, 8, 30
"""The most panels, lines in a panel and runs in a line that are drawn."""

POINTS = 80
"""Places along a curve."""


def curves_picture(folder: Path, study: Study, cells: Sequence[Summary]) -> Picture | None:
    """The score (or cost) of each cell's runs: their median, the middle half shaded.

    A panel for each combination of all axes but the last, a line for each value of the last.
    """
    *outer, last = study.axes or ("",)
    panels: dict[Any, list[Summary]] = {}
    for cell in cells:
        if len(cell.runs):
            panels.setdefault(cell.at(tuple(outer)), []).append(cell)
    if not panels:
        return None
    some = next(iter(panels.values()))[0].runs
    y = "score" if some["score"].notna().any() else "test_cost"
    name = str(some["score_name"].iloc[0]) if y == "score" else "test cost"
    shown = {place: spaced(panels[place], LINES) for place in spaced(list(panels), PANELS)}
    colours = {}
    if last:
        values = study.labels(last)
        kept = spaced(values, LINES)
        shown = {
            place: [cell for cell in panels[place] if cell.labels[last] in kept] for place in shown
        }
        colours = {value: PALETTE[k] for k, value in enumerate(kept)}
    figure, fewer = _draw(folder, shown, outer, last, colours, y, name)
    caption = (
        "The median over the seeds, the middle half shaded; a run that is done keeps its last "
        "value."
    )
    targets = some["target"].dropna().unique()
    if y == "score" and len(targets):
        caption += " Dashed: the target."
    if len(shown) < len(panels):
        caption += f" {len(shown)} of {len(panels)} panels are drawn, evenly spaced."
    if last and len(study.labels(last)) > LINES:
        caption += f" {LINES} of {len(study.labels(last))} values of {last} are drawn."
    if fewer:
        caption += f" Of each cell the first {SEEDS} runs are drawn."
    return Picture("curves", f"{name} against measurements", caption, figure)


def _draw(
    folder: Path,
    shown: dict[Any, list[Summary]],
    outer: Sequence[str],
    last: str,
    colours: dict[Any, str],
    y: str,
    name: str,
) -> tuple["Figure", bool]:
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    wide = min(3, len(shown))
    high = -(-len(shown) // wide)
    near_one, fewer = y == "score" and name == NEAR_ONE, False
    with mpl.rc_context(STYLE):
        size = (max(2.9 * wide, 5.0) + 1.2, 2.3 * high + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(high, wide, sharex=True, sharey=True, squeeze=False).ravel()
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
        for axes, (place, cells) in zip(grid, shown.items()):
            for cell in cells:
                fewer |= len(cell.runs) > SEEDS
                runs = read_curves(folder, cell.runs["run"].iloc[:SEEDS], y)
                drawn = [run for run in runs.values() if np.isfinite(run.values).any()]
                if drawn:
                    colour = colours[cell.labels[last]] if last else PALETTE[0]
                    _draw_cell(axes, drawn, near_one, colour)
                target = cell.runs["target"].iloc[0]
                if y == "score" and np.isfinite(target) and not (near_one and target >= 1):
                    aim = 1 - target if near_one else target
                    axes.axhline(aim, color=GREY, linestyle="--", linewidth=0.8, zorder=1)
            title = ", ".join(f"{axis} = {cut(value)}" for axis, value in zip(outer, place))
            axes.set_title("\n".join(_folded(title)), fontsize=8)
            axes.xaxis.set_major_formatter(lambda value, _: short(value))
            axes.xaxis.set_tick_params(labelbottom=True)
        if near_one or y == "test_cost":
            logarithmic(grid[0])
        figure.supxlabel("measurements of one device", fontsize=9)
        figure.supylabel("1 − score (NMSE)" if near_one else name, fontsize=9)
        if colours:
            lines = [Line2D([], [], color=colour) for colour in colours.values()]
            names = [cut(value) for value in colours]
            figure.legend(lines, names, title=last, loc="outside right upper")
    return figure, fewer


def _folded(title: str) -> list[str]:
    import textwrap

    return textwrap.wrap(title, 42) or [""]


def _draw_cell(axes: Any, runs: Sequence[Curve], near_one: bool, colour: str) -> None:
    x, values = on_one_grid(runs)
    values = 1 - values if near_one else values
    known = np.isfinite(values).any(axis=0)
    x, values = x[known], values[:, known]
    low, middle, high = np.nanpercentile(values, [25, 50, 75], axis=0)
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(x, middle, color=colour, linewidth=1.3)


def on_one_grid(
    runs: Sequence[Curve],
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, "runs points"]]:
    """Runs at the same measurements: each keeps its last value until the next, and to the end."""
    at = np.unique(np.concatenate([run.measurements for run in runs]))
    # from where on every run has been evaluated
    at = at[at >= max(run.measurements[0] for run in runs)]
    at = np.array(spaced(list(at), POINTS))
    places = [np.searchsorted(run.measurements, at, side="right") - 1 for run in runs]
    return at, np.stack([run.values[place] for run, place in zip(runs, places)])
