"""The figures of a plan: time against score, and the effect of bits, noise and speed."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from dither._words import number, text_of
from dither.planning.plan import Plan, Row
from dither.planning.question import modelled
from dither.training.drawing import PALETTE, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKS = "osD^vPX*"

MOST_PANELS = 6

SPEEDS = np.geomspace(0.01, 100, 41)
"""The factors on the time of a write."""


def costs_picture(plan: Plan) -> "Figure":
    """The score against device time, or measurements, with one panel per point."""
    points = [list(rows) for _, rows in groupby(plan.rows, lambda row: row.point)][:MOST_PANELS]
    with picture(4.2 * min(3, len(points)), 3.2 * -(-len(points) // 3)) as figure:
        shape = -(-len(points) // 3), min(3, len(points))
        panels = figure.subplots(*shape, squeeze=False, sharex=True, sharey=True).ravel()
        for axes, rows in zip(panels, points):
            _costs(axes, rows, plan)
        for axes in panels[len(points) :]:
            axes.remove()
        _name_the_methods(panels[0])
        return figure


def _name_the_methods(axes: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)


def _costs(axes: Any, rows: Sequence[Row], plan: Plan) -> None:
    axes.axhline(plan.target, color="black", linewidth=0.8, linestyle=":")
    for place, row in enumerate(rows):
        if row.measurements is None:
            continue
        each = 1.0 if row.device_seconds is None else row.device_seconds / row.measurements
        style = {"color": PALETTE[place % len(PALETTE)], "label": row.label}
        if row.curve:
            reached, score = np.array(row.curve).T
            axes.plot(reached[reached > 0] * each, score[reached > 0], **style)
            style.pop("label")
        ends = [[row.measurements - (row.low or row.measurements)],
                [(row.high or row.measurements) - row.measurements]]  # fmt: skip
        axes.errorbar(row.measurements * each, plan.target, xerr=np.array(ends) * each,
                      marker=MARKS[place % len(MARKS)], capsize=3, **style)  # fmt: skip
    if rows[0].floor is not None:
        axes.axhline(rows[0].floor, color="black", linewidth=0.8, linestyle="--")
        axes.annotate("limit of bits and noise", (0.01, rows[0].floor), fontsize=7, va="bottom",
                      xycoords=("axes fraction", "data"))  # fmt: skip
    if any(row.measurements for row in rows):  # an empty logarithmic axis raises an error
        axes.set_xscale("log")
    timed = any(row.device_seconds is not None for row in rows)
    axes.set_xlabel("time on the device (s)" if timed else "measurements")
    axes.set_ylabel(plan.score_name)
    axes.set_title(", ".join(f"{k} = {text_of(v)}" for k, v in rows[0].point.items()), fontsize=8)


def sensitivity_picture(plan: Plan) -> "Figure":
    """Device time, or measurements, against each axis and against the time of a write."""
    drawn = [axis for axis in plan.rows[0].point if len(_values(plan, axis)) > 1]
    timed = [row for row in plan.rows if row.device_seconds and _first(plan, row, "")]
    panels = len(drawn) + bool(timed)
    with picture(4.2 * max(1, panels), 3.4) as figure:
        every = figure.subplots(1, max(1, panels), squeeze=False)[0]
        for axes, axis in zip(every, drawn):
            _along(axes, plan, axis)
        if timed:
            _speeds(every[-1], timed)
        _name_the_methods(every[0])
        return figure


def _values(plan: Plan, axis: str) -> list[Any]:
    return list(dict.fromkeys(row.point[axis] for row in plan.rows))


def _first(plan: Plan, row: Row, but: str) -> bool:
    """Whether a row has the first value of every axis but one."""
    first = plan.rows[0].point
    return all(row.point[axis] == first[axis] for axis in first if axis != but)


def _by_method(rows: Sequence[Row]) -> Iterator[tuple[int, str, list[Row]]]:
    labels = list(dict.fromkeys(row.label for row in rows))
    for place, label in enumerate(labels):
        yield place, label, [row for row in rows if row.label == label]


def _along(axes: Any, plan: Plan, axis: str) -> None:
    values = _values(plan, axis)
    rows = [row for row in plan.rows if _first(plan, row, axis)]
    timed = any(row.device_seconds is not None for row in rows)
    for place, label, mine in _by_method(rows):
        known = [row for row in mine if row.measurements is not None]
        x = [values.index(row.point[axis]) for row in known]
        y = [row.device_seconds if timed else row.measurements for row in known]
        axes.plot(x, y, color=PALETTE[place % len(PALETTE)], marker=MARKS[place % len(MARKS)],
                  label=label)  # fmt: skip
    axes.set_xticks(range(len(values)), [text_of(value) for value in values])
    if any(row.measurements for row in rows):
        axes.set_yscale("log")
    axes.set_xlabel(axis)
    axes.set_ylabel("time on the device (s)" if timed else "measurements")


def _speeds(axes: Any, rows: Sequence[Row]) -> None:
    """Draw device time against a scaled time of a write."""
    for place, label, mine in _by_method(rows):
        row = mine[0]
        assert row.measurements is not None
        assert row.device_seconds is not None
        write = modelled(row.run).write_seconds
        assert write is not None
        of_writes = row.acts.writes * row.measurements * write
        rest = row.device_seconds - of_writes
        axes.plot(SPEEDS, rest + SPEEDS * of_writes, color=PALETTE[place % len(PALETTE)],
                  label=label)  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    first = number(modelled(rows[0].run).write_seconds)
    axes.set_xlabel(f"time of a write, in units of {first} s")
    axes.set_ylabel("time on the device (s)")
