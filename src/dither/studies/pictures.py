"""The figures of a study's report."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

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
"""The longest axis value that is written, in characters."""

MOST_POINTS = 2000
"""Single runs drawn in a figure, at most."""

APART = 4.0
"""The horizontal offset of single runs from their size, and between curves, in points."""

LETTER = 0.013
"""The width of a character of a label, as a share of the axis."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure: a short name for its file, a title, a caption."""

    name: str
    title: str
    caption: str
    figure: "Figure"


def spaced(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` items, evenly spaced, including the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(k * (len(items) - 1) / (most - 1))] for k in range(most)]


def fit_picture(
    name: str, fits: Sequence[Fitted], predicted: Sequence[tuple[Summary, float]]
) -> Picture:
    """Draw medians with intervals, single runs, curves with their bands, and predictions.

    Arguments: the file's name; the curves of one fit; each cell's prediction, empty if none.
    """
    asked, outcome = fits[0].asked, fits[0].outcome
    drawn = spaced(fits, len(PALETTE))
    rng = np.random.default_rng(0)
    thinned = sum(len(one.runs) for one in drawn) > MOST_POINTS
    with picture(7.2, 4.4) as figure:
        axes = figure.subplots()
        for k, one in enumerate(drawn):
            aside = _aside(axes, APART * (k + 1.5))
            _draw_fit(axes, one, aside, PALETTE[k], MARKERS[k], MOST_POINTS // len(drawn), rng)
            _draw_predicted(axes, one, predicted, PALETTE[k])
        _scales(
            axes, asked.form, [float(size) for one in drawn for size in one.runs[asked.x].unique()]
        )
        axes.set(xlabel=fits[0].x, ylabel=outcome.name)
        if asked.by is not None or predicted:
            figure.legend(loc="outside right upper", title=fits[0].by or None)
    caption = (
        "Points: Kaplan–Meier medians of the runs with 95 % intervals, with an arrow if the "
        "interval has no upper end; lines: fits with 95 % bootstrap bands; small dots: "
        "single runs, and open triangles for runs stopped before the target."
    )
    if not outcome.counts:
        caption = caption.replace("Kaplan–Meier medians", "medians").split(", and open")[0] + "."
    if predicted:
        caption += " Dashed: predictions made before the runs."
    if thinned:
        caption += f" {MOST_POINTS} randomly chosen single runs are drawn."
    if len(drawn) < len(fits):
        caption += f" {len(drawn)} of {len(fits)} values of {fits[0].by} are drawn, evenly spaced."
    by = f", by {fits[0].by}" if fits[0].by else ""
    return Picture(name, f"{outcome.name} against {fits[0].x}{by}: {asked.form}", caption, figure)


def _draw_fit(
    axes: Any, one: Fitted, aside: Any, colour: str, marker: str, most: int, rng: Any
) -> None:
    if not len(one.runs):
        return
    label = None if one.value is None else text_of(one.value, LETTERS)
    x, runs = one.asked.x, one.runs
    few = runs.iloc[np.sort(rng.permutation(len(runs))[:most])]
    few = few if one.outcome.counts else few[few[one.outcome.column].notna()]
    y, stopped = one.outcome.of(few)
    at = few[x].to_numpy(float)
    dots: dict[str, Any] = {"color": colour, "transform": aside, "clip_on": False}
    axes.update_datalim(
        np.column_stack((at, y))
    )  # points with their own transform are not included automatically
    axes.plot(at[~stopped], y[~stopped], ".", alpha=0.45, markersize=4, **dots)
    axes.plot(at[stopped], y[stopped], "^", alpha=0.7, markersize=5, fillstyle="none", **dots)
    for size in sorted(map(float, runs[x].unique())):
        m = median_of(runs[runs[x] == size], one.outcome)
        if m is None or not np.isfinite(m.value):
            continue
        endless = not np.isfinite(m.high)
        above = m.value if endless else m.high - m.value
        below = m.value - m.low if np.isfinite(m.low) else 0.0
        axes.errorbar(
            size, m.value, [[0.0 if endless else below], [above]], lolims=endless,
            fmt=marker, color=colour, markersize=5, capsize=2, linewidth=1,
        )  # fmt: skip
        if endless:
            axes.plot([size] * 2, [m.value - below, m.value], color=colour, linewidth=1)
    if one.fit is None:
        axes.plot([], [], marker, color=colour, label=f"{label} (no fit)" if label else "no fit")
        return
    sizes = runs[x].to_numpy(float)
    grid = np.geomspace(sizes.min(), sizes.max(), 100)
    curve = one.fit.curve(grid)
    high = np.where(np.isfinite(curve.high), curve.high, np.nan)
    axes.fill_between(grid, curve.low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(grid, curve.value, color=colour, marker=marker, markevery=[], label=label or "fit")


def _aside(axes: Any, points: float) -> Any:
    """Data coordinates, shifted to the right by some points."""
    from matplotlib.transforms import ScaledTranslation

    return axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)


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
    there = sorted(set(sizes))
    if len(there) <= 12:
        axes.set_xticks(there, labels_apart(there, form == "power law"))
    if form != "saturating":
        logarithmic(axes)


def labels_apart(sizes: Sequence[float], log: bool) -> list[str]:
    """The labels at some sizes, in order; empty if a label would touch its neighbour."""
    at = np.log(sizes) if log else np.asarray(sizes, float)
    at = (at - at[0]) / (np.ptp(at) or 1.0)
    labels, end = [], -math.inf
    for place, size in zip(at, sizes):
        text = short(size)
        half = LETTER * (len(text) + 1) / 2
        free = place - half >= end
        labels.append(text if free else "")
        end = place + half if free else end
    return labels


def heat_map(study: Study, cells: Sequence[Summary], outcome: Outcome) -> Picture:
    """The median over the first two axes, with the runs of all other axes combined."""
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
    wide = bool(outcome.counts and some.size > 0 and some.min() > 0)
    width, height = min(2.6 + 0.72 * len(columns), 9.0), min(1.4 + 0.36 * len(rows), 9.0)
    with picture(width, height, **{"axes.grid": False}) as figure:
        from matplotlib.colors import LogNorm, Normalize

        axes = figure.subplots()
        axes.set_facecolor("#e8e8e8")
        norm = (LogNorm if wide else Normalize)(*_range(some, wide))
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
        if some.size:
            bar = figure.colorbar(image, ax=axes, label=textwrap.fill(outcome.name, 18))
            if wide:
                number_decades(bar.ax)
    caption = (
        f"The {'Kaplan–Meier ' if outcome.counts else ''}median in each cell; grey if half of "
        "the runs did not reach the target, or if none is finished."
    )
    if not outcome.counts:
        caption = "The median in each cell; grey if no run is finished."
    if others:
        left = ", ".join(words[axis] for axis in others)
        caption += f" Runs of all values of {left} are combined."
    title = f"{outcome.name} over {words[first]} and {words[second]}"
    return Picture("heat-map", title, caption, figure)


def _range(some: Float[np.ndarray, " N"], log: bool) -> tuple[float, float]:
    """The range of a colour bar, also if all values are equal."""
    if not some.size:
        return 0.0, 1.0
    low, high = float(some.min()), float(some.max())
    if log:
        return (low, high) if high > 1.5 * low else (low / 1.5, high * 1.5)
    spread = max(high - low, 0.02 * max(abs(low), abs(high)), 1e-9)
    return (low, high) if high - low >= spread else (low - spread, high + spread)


def _numbers(
    axes: Any, values: Any, found: Any, rows: Sequence[Any], columns: Sequence[Any], image: Any
) -> None:
    for r, c in np.ndindex(values.shape):
        value, known = values[r, c], found[rows[r], columns[c]]
        light = not np.isfinite(value) or image.norm(value) > 0.55
        text = short(value) if np.isfinite(value) else ("not\nreached" if known else "")
        axes.text(c, r, text, ha="center", va="center", fontsize=7, color="k" if light else "w")
