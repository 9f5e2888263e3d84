"""The figures of a study's report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dither._words import short, text_of
from dither.studies.axes import axis_words
from dither.studies.fitted import Fitted
from dither.studies.outcome import Outcome, Summary, finite, median_of
from dither.studies.study import Study
from dither.training.drawing import GREY, PALETTE, logarithmic, number_decades, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "osDvP*Xh"

LETTERS = 24
"""The most of a value of an axis that is written."""

MOST_POINTS = 2000
"""Single runs drawn in a figure."""

APART = 0.03
"""The share of a size by which the points of neighbouring curves stand apart."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure: a short name for its file, a title, what is to be seen in it."""

    name: str
    title: str
    caption: str
    figure: "Figure"


def spaced(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of some items, evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(k * (len(items) - 1) / (most - 1))] for k in range(most)]


def fit_picture(
    name: str, fits: Sequence[Fitted], predicted: Sequence[tuple[Summary, float]]
) -> Picture:
    """Medians with intervals, the single runs, the curves with their bands, what was predicted.

    Arguments: the file's name; the curves of one fit; each cell's prediction, empty if none.
    """
    asked, outcome = fits[0].asked, fits[0].outcome
    drawn = spaced(fits, len(PALETTE))
    rng = np.random.default_rng(0)
    thinned = sum(len(one.runs) for one in drawn) > MOST_POINTS
    with picture(7.2, 4.4) as figure:
        axes = figure.subplots()
        for k, one in enumerate(drawn):
            factor = 1 + APART * (k - (len(drawn) - 1) / 2)
            _draw_fit(axes, one, factor, PALETTE[k], MARKERS[k], MOST_POINTS // len(drawn), rng)
            _draw_predicted(axes, one, predicted, PALETTE[k])
        _scales(
            axes, asked.form, [float(size) for one in drawn for size in one.runs[asked.x].unique()]
        )
        axes.set(xlabel=fits[0].x, ylabel=outcome.name)
        if asked.by is not None or predicted:
            figure.legend(loc="outside right upper", title=fits[0].by or None)
    caption = (
        "Points: Kaplan–Meier medians of the runs with their 95 % intervals, an arrow where the "
        "interval has no upper end; lines: the fits, with 95 % bands by bootstrap; small dots: "
        "single runs, and open triangles those that were stopped before the target."
    )
    if not outcome.counts:
        caption = caption.replace("Kaplan–Meier medians", "medians").split(", and open")[0] + "."
    if predicted:
        caption += " Dashed: what was predicted before the runs."
    if thinned:
        caption += f" {MOST_POINTS} of the single runs are drawn, taken at random."
    if len(drawn) < len(fits):
        caption += f" {len(drawn)} of {len(fits)} values of {fits[0].by} are drawn, evenly spaced."
    by = f", by {fits[0].by}" if fits[0].by else ""
    return Picture(name, f"{outcome.name} against {fits[0].x}{by}: {asked.form}", caption, figure)


def _draw_fit(
    axes: Any, one: Fitted, factor: float, colour: str, marker: str, most: int, rng: Any
) -> None:
    if not len(one.runs):
        return
    label = None if one.value is None else text_of(one.value, LETTERS)
    x, runs = one.asked.x, one.runs
    few = runs.iloc[np.sort(rng.permutation(len(runs))[:most])]
    few = few if one.outcome.counts else few[few[one.outcome.column].notna()]
    y, stopped = one.outcome.of(few)
    at = few[x].to_numpy(float) * factor * (1 + APART / 3)
    axes.plot(at[~stopped], y[~stopped], ".", color=colour, alpha=0.45, markersize=4)
    axes.plot(at[stopped], y[stopped], "^", color=colour, alpha=0.7, markersize=5, fillstyle="none")
    for size in sorted(map(float, runs[x].unique())):
        m = median_of(runs[runs[x] == size], one.outcome)
        if m is None or not np.isfinite(m.value):
            continue
        endless = not np.isfinite(m.high)
        above = m.value if endless else m.high - m.value
        below = m.value - m.low if np.isfinite(m.low) else 0.0
        axes.errorbar(
            size * factor, m.value, [[0.0 if endless else below], [above]], lolims=endless,
            fmt=marker, color=colour, markersize=5, capsize=2, linewidth=1,
        )  # fmt: skip
        if endless:
            axes.plot([size * factor] * 2, [m.value - below, m.value], color=colour, linewidth=1)
    if one.fit is None:
        axes.plot([], [], marker, color=colour, label=f"{label} (no fit)" if label else "no fit")
        return
    sizes = runs[x].to_numpy(float)
    grid = np.geomspace(sizes.min(), sizes.max(), 100)
    curve = one.fit.curve(grid)
    high = np.where(np.isfinite(curve.high), curve.high, np.nan)
    axes.fill_between(grid, curve.low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(grid, curve.value, color=colour, marker=marker, markevery=[], label=label or "fit")


def _draw_predicted(
    axes: Any, one: Fitted, told: Sequence[tuple[Summary, float]], colour: str
) -> None:
    """The prediction at each size: the median over the cells there."""
    asked = one.asked
    cells = [
        (float(cell.labels[asked.x]), predicted)
        for cell, predicted in told
        if np.isfinite(predicted) and (asked.by is None or cell.labels[asked.by] == one.value)
    ]
    if not cells or not len(one.runs):
        return
    sizes = sorted({size for size, _ in cells})
    middle = [np.median([p for size, p in cells if size == here]) for here in sizes]
    name = "predicted" if one.value is None else f"predicted, {text_of(one.value, LETTERS)}"
    axes.plot(sizes, middle, "--", color=GREY if one.value is None else colour, marker="x",
              markersize=5, linewidth=1.2, label=name)  # fmt: skip


def _scales(axes: Any, form: str, sizes: Sequence[float]) -> None:
    from matplotlib.ticker import NullLocator

    if form == "power law":
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        if len(sizes) <= 12:
            axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    if form != "saturating":
        logarithmic(axes)


def heat_map(study: Study, cells: Sequence[Summary], outcome: Outcome) -> Picture:
    """The median over the first two axes, of the runs of all others together."""
    first, second, *others = study.axes
    words = axis_words(study)
    rows, columns = study.labels(first), study.labels(second)
    together: dict[Any, list[Any]] = {}
    for cell in cells:
        together.setdefault(cell.at((first, second)), []).append(cell.runs)
    found = {
        place: median_of(pd.concat(runs), outcome) if any(map(len, runs)) else None
        for place, runs in together.items()
    }
    values = np.array(
        [[finite(m.value if (m := found[r, c]) else None) for c in columns] for r in rows]
    )
    some = values[np.isfinite(values)]
    wide = outcome.counts and some.size > 0 and some.min() > 0
    width, height = min(2.6 + 0.72 * len(columns), 9.0), min(1.4 + 0.36 * len(rows), 9.0)
    with picture(width, height, **{"axes.grid": False}) as figure:
        from matplotlib.colors import LogNorm

        axes = figure.subplots()
        axes.set_facecolor("#e8e8e8")
        norm = LogNorm(some.min(), max(some.max(), some.min() * 1.01)) if wide else None
        edges = (np.arange(len(many) + 1) - 0.5 for many in (columns, rows))
        image = axes.pcolormesh(*edges, values, cmap="cividis", norm=norm)
        axes.invert_yaxis()
        for axis, labels, name in (
            (axes.xaxis, columns, words[second]),
            (axes.yaxis, rows, words[first]),
        ):
            places = spaced(range(len(labels)), 24)
            axis.set_ticks(places, [text_of(labels[place], LETTERS) for place in places])
            axis.set_label_text(name)
        if len(rows) * len(columns) <= 150:
            _numbers(axes, values, found, rows, columns, image)
        bar = figure.colorbar(image, ax=axes, label=outcome.name)
        if wide:
            number_decades(bar.ax)
    caption = (
        f"The {'Kaplan–Meier ' if outcome.counts else ''}median in each cell; grey where half of "
        "the runs did not reach the target, or none is finished."
    )
    if not outcome.counts:
        caption = "The median in each cell; grey where no run is finished."
    if others:
        left = ", ".join(words[axis] for axis in others)
        caption += f" Runs of all values of {left} are taken together."
    title = f"{outcome.name} over {words[first]} and {words[second]}"
    return Picture("heat-map", title, caption, figure)


def _numbers(
    axes: Any, values: Any, found: Any, rows: Sequence[Any], columns: Sequence[Any], image: Any
) -> None:
    for r, c in np.ndindex(values.shape):
        value, known = values[r, c], found[rows[r], columns[c]]
        light = not np.isfinite(value) or image.norm(value) > 0.55
        text = short(value) if np.isfinite(value) else ("not\nreached" if known else "")
        axes.text(c, r, text, ha="center", va="center", fontsize=7, color="k" if light else "w")
