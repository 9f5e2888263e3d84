"""The results of a comparison: one line per pairing, the best methods, curves, a page."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dither._files import write_atomically
from dither._words import Plain, number, rounded
from dither.contract import AccessLevel
from dither.laws import Interval
from dither.studies.compare import SPECIFICATION, Compared, chosen_in_words
from dither.studies.comparison import Comparison
from dither.studies.learning_curves import on_one_grid
from dither.studies.outcome import SPENT, finite, median_of, outcome_of
from dither.studies.page import Page, html, versions
from dither.studies.parts import write_parts
from dither.studies.pictures import Picture
from dither.studies.store import read_curves
from dither.studies.tables import Table, median_in_words
from dither.tasks.scores import display_of
from dither.training.drawing import GREY, PALETTE, band, picture
from dither.training.history import quartiles

REPORT, PARTS = "report.html", "report"

COUNTED = ("samples", "device_seconds", "joules")
"""Quantities counted up to the target, in addition to measurements."""

NAMES = {**SPENT, "samples": "samples", "device_seconds": "seconds", "joules": "joules"}

DASHES: Any = ("-", "--", ":", "-.")


def rows_of(compared: Sequence[Compared]) -> list[dict[str, Any]]:
    """One row per pairing, as plain numbers or None."""
    return [_row(one) for one in compared]


def _row(one: Compared) -> dict[str, Any]:
    pairing, runs = one.pairing, one.runs
    row: dict[str, Any] = {
        "task": pairing.task, "device": pairing.device, "method": pairing.method,
        "why_not": one.why,
        "access": pairing.specification.algorithm.access_level.name.lower(),
        "twin": "twin" in type(pairing.specification.algorithm).model_fields,
    }  # fmt: skip
    if runs is None or one.needs is None:
        return row
    outcome = outcome_of(runs)
    median = median_of(runs, outcome)
    scores = runs["score"].to_numpy(float)
    row |= {
        "sources": one.needs.sources, "numbers_per_weight": rounded(one.needs.memory, 3),
        "runs": len(runs), "reached": int(runs["reached"].sum()), "quantity": outcome.column,
        **_interval("median", median),
        **{f"score_{k}": _plain(q) for k, q in
           zip(("low", "median", "high"), np.nanquantile(scores, [0, 0.5, 1]))},
        "failed": int((runs["stop_reason"].isin(["diverged", "failures"])).sum()),
        "chosen": one.chosen, "tuning_measurements": one.tuned,
    }  # fmt: skip
    for column in COUNTED:
        if outcome.counts and column in runs and (runs[column] > 0).any():
            found = median_of(runs, outcome._replace(column=column))
            row |= _interval(column, found)
    return row


def _interval(name: str, found: Interval | None) -> dict[str, float | None]:
    found = found or Interval(math.nan, math.nan, math.nan)
    return {name: _plain(found.value), f"{name}_low": _plain(found.low),
            f"{name}_high": _plain(found.high)}  # fmt: skip


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def best_of(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best method for every device and task at each access level.

    The best method has the lowest median of measurements or, if none reached the target in half of
    its runs, the highest median score.
    """
    found = []
    for task, device in dict.fromkeys((row["task"], row["device"]) for row in rows):
        mine = [r for r in rows if (r["task"], r["device"]) == (task, device) and "runs" in r]
        for level in AccessLevel:
            able = [r for r in mine if AccessLevel[r["access"].upper()] <= level]
            if any(AccessLevel[r["access"].upper()] == level for r in able):
                best = min(able, key=_rank)
                found.append({"task": task, "device": device, "access": level.name.lower(),
                              **{k: best[k] for k in ("method", "median", "median_low",
                                                      "median_high", "score_median")}})  # fmt: skip
    return found


def _rank(row: dict[str, Any]) -> tuple[float, float]:
    median = row["median"] if row["quantity"] == "measurements" else None
    return (math.inf if median is None else median, -(row["score_median"] or 0.0))


def tables_of(compared: Sequence[Compared]) -> list[Table]:
    """The tables: measurements to the target, requirements, best methods, impossible pairings."""
    rows = rows_of(compared)
    done = [(one, row) for one, row in zip(compared, rows) if "runs" in row]
    places = ("task", "device", "method")
    spent = [name for name in COUNTED if any(name in row for row in rows)]
    lines = [
        (*(row[p] for p in places), f"{row['reached']} of {row['runs']}",
         *median_in_words(_read(row)),
         *(_told(row, name) for name in spent),
         " – ".join(number(_to(row[f"score_{k}"], 3)) for k in ("low", "median", "high")),
         chosen_in_words(one), number(row["tuning_measurements"]))
        for one, row in done
    ]  # fmt: skip
    headings = (*places, "reached", "measurements to the target", "95 %",
                *(NAMES[name] for name in spent), "score: min, median, max", "chosen",
                "measurements of tuning")  # fmt: skip
    needs = {(row["method"], row["task"]): row for _, row in done}
    return [
        Table("cells", "Each method on each device and task", headings, 3, tuple(lines),
              pd.DataFrame([row for _, row in done]).drop(columns=["why_not"], errors="ignore")),
        _simple("best", "The best method at each access level", best_of(rows),
                {"task": "task", "device": "device", "access": "access up to", "method": "method",
                 "median": "measurements", "score_median": "median score"}),
        _simple("needs", "Requirements of each method on the chip", needs.values(),
                {"method": "method", "task": "task", "access": "access", "twin": "a twin",
                 "sources": "sources of perturbation", "numbers_per_weight":
                 "numbers stored per weight"}),
        _simple("cannot", "Impossible pairings", [row for row in rows if row["why_not"]],
                {**{p: p for p in places}, "why_not": "why"}),
    ]  # fmt: skip


def _simple(
    name: str, title: str, rows: Iterable[dict[str, Any]], columns: dict[str, str]
) -> Table:
    rows = list(rows)
    lines = tuple(tuple(_cell(row.get(key)) for key in columns) for row in rows)
    frame = pd.DataFrame([{key: row.get(key) for key in columns} for row in rows])
    return Table(name, title, tuple(columns.values()), 3 if name != "needs" else 2, lines, frame)


def _cell(value: Plain | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(_to(value, 4)) if isinstance(value, float) else number(value)


def _to(value: float | None, digits: int) -> float | None:
    return None if value is None else rounded(value, digits)


def _read(row: dict[str, Any], name: str = "median") -> Interval | None:
    value, low, high = (row[key] for key in (name, f"{name}_low", f"{name}_high"))
    if low is None:
        return None
    return Interval(*(math.inf if x is None else x for x in (value, low, high)))


def _told(row: dict[str, Any], name: str) -> str:
    found = _read(row, name) if name in row else None
    return "—" if found is None else median_in_words(found._replace(value=_to4(found.value)))[0]


def _to4(value: float) -> float:
    return rounded(value, 4) if math.isfinite(value) else value


def curves_of(compared: Sequence[Compared]) -> Picture:
    """The median score of every method against measurements, one panel per device and task."""
    done = [one for one in compared if one.runs is not None]
    panels = list(dict.fromkeys((one.pairing.task, one.pairing.device) for one in done))
    methods = list(dict.fromkeys(one.pairing.method for one in done))
    wide = min(2, len(panels))
    high = -(-len(panels) // wide)
    with picture(3.4 * wide + 1.8, 2.5 * high + 0.4) as figure:
        from matplotlib.lines import Line2D

        grid = figure.subplots(high, wide, squeeze=False).ravel()
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        for axes, place in zip(grid, panels):
            for one in done:
                if (one.pairing.task, one.pairing.device) == place:
                    _draw(axes, one, *_style(methods.index(one.pairing.method)))
            axes.set_title(f"{place[0]} on {place[1]}", fontsize=8)
            axes.set_xscale("log")
        figure.supxlabel("measurements", fontsize=9)
        figure.supylabel(_display(done[0]).quantity, fontsize=9)
        styles = [_style(k) for k in range(len(methods))]
        lines = [Line2D([], [], color=c, linestyle=dash) for c, dash in styles]
        figure.legend(lines, methods, loc="outside right upper")
    return Picture(
        "curves", "Score against measurements",
        "Lines: medians over the seeds; shaded: interquartile range; a run that has reached "
        "the target "
        "keeps its last value. Dashed: the target.", figure,
    )  # fmt: skip


def _display(one: Compared) -> Any:
    assert one.runs is not None
    scored = one.runs["score"].notna().any()
    return display_of(str(one.runs["score_name"].iloc[0]) if scored else None)


def _style(k: int) -> tuple[str, Any]:
    return PALETTE[k % len(PALETTE)], DASHES[k // len(PALETTE) % len(DASHES)]


def _draw(axes: Any, one: Compared, colour: str, dash: Any) -> None:
    assert one.folder is not None
    assert one.runs is not None
    display = _display(one)
    curves = read_curves(one.folder, one.runs["run"], display.column).values()
    known = [display.of(curve[curve.index > 0]) for curve in curves if curve.notna().any()]
    if known and len(table := on_one_grid(known)):
        band(axes, table.index, quartiles(table), colour, linestyle=dash, linewidth=1.3)
    target = one.runs["target"].iloc[0]
    if finite(target) == target:
        axes.axhline(display.of(target), color=GREY, linestyle="--", linewidth=0.8, zorder=1)


def write_page(asked: Comparison, compared: Sequence[Compared], out: Path) -> Path:
    """Write `report.html`, the figures as SVG and the tables as CSV."""
    page = comparison_page(asked, compared, out)
    write_parts(out / PARTS, ("svg", "csv"), page.pictures, page.tables)
    write_atomically(out / REPORT, html(page).encode())
    return out / REPORT


def comparison_page(asked: Comparison, compared: Sequence[Compared], out: Path) -> Page:
    """The page of the comparison in a folder."""
    done = [one for one in compared if one.runs is not None]
    tuning = asked.tuning
    budget = "with the measurements of a run" if tuning.measurements is None else (
        f"at most {number(tuning.measurements)} measurements")  # fmt: skip
    return Page(
        kind="comparison", title=asked.name, about=asked.about,
        facts=[
            ("methods", ", ".join(asked.methods)),
            ("devices", ", ".join(asked.devices)), ("tasks", ", ".join(asked.tasks)),
            ("seeds", f"{asked.seeds} in each cell"),
            ("tuning", f"{tuning.trials} settings per method and cell, {tuning.seeds} runs "
                       f"each on other seeds, {budget}"),
        ],
        notes=[
            "A measurement is a forward pass of one batch. Medians are Kaplan–Meier medians with "
            "95 % intervals: a run that was stopped before the target counts as one that "
            "needs more measurements.",
        ],
        findings=(), pictures=[curves_of(compared)] if done else [],
        tables=[one for one in tables_of(compared) if one.lines], made=versions(),
        command=f"dither compare {SPECIFICATION} --out {out.resolve().name}",
        file=SPECIFICATION, toml=(out / SPECIFICATION).read_text("utf-8"),
    )  # fmt: skip
