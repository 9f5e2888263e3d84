"""The tables of a report, in words for people and as numbers for other programs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from dither._words import Plain, estimate, number, rounded, text_of
from dither.laws import Interval
from dither.studies.fitted import Fitted
from dither.studies.outcome import Outcome, Summary
from dither.studies.study import Study


@dataclass(frozen=True, eq=False)
class Table:
    """A table: a short name for its file, what it holds, its lines in words and as numbers.

    Attributes: `name`, `title`; `headings`, with how many of the first columns say of what a line
    is; `lines`; `numbers`, the same for other programs.
    """

    name: str
    title: str
    headings: tuple[str, ...]
    leading: int
    lines: tuple[tuple[str, ...], ...]
    numbers: pd.DataFrame

    @property
    def in_words(self) -> pd.DataFrame:
        """The lines under their headings."""
        return pd.DataFrame(list(self.lines), columns=list(self.headings))


def median_in_words(median: Interval | None) -> tuple[str, str]:
    """A median and its interval: 12 500, 11 000 – 14 000."""
    if median is None:
        return "—", "—"
    value = "not reached" if math.isinf(median.value) else number(median.value)
    return value, f"{number(median.low)} – {number(median.high)}"


def cells_table(
    study: Study,
    cells: Sequence[Summary],
    outcome: Outcome,
    law: Sequence[tuple[Summary, float]],
) -> Table:
    """A line for each cell of the grid: what its runs came to."""
    seeds, axes = len(study.seed_list), list(study.axes)
    predicted = [value for _, value in law] or [math.nan] * len(cells)
    headings = [*axes, "runs", *(["reached"] if outcome.counts else [])]
    headings += [f"median {outcome.name}", "95 %"]
    if study.law is not None:
        headings.append("law")
    if study.search is not None:
        headings += [f"chosen {study.search.key}", "search's measurements"]
    lines, rows = [], []
    for cell, beforehand in zip(cells, predicted):
        n = len(cell.runs)
        line = [*(text_of(cell.labels[axis]) for axis in axes)]
        line.append(f"{n}" if n == seeds else f"{n} of {seeds}")
        line += [f"{cell.reached}"] if outcome.counts else []
        line += median_in_words(cell.median)
        if study.law is not None:
            line.append("never" if math.isinf(beforehand) else number(rounded(beforehand, 4)))
        if study.search is not None:
            line += [number(cell.chosen), number(cell.searched)]
        lines.append(tuple(line))
        median = cell.median or Interval(math.nan, math.nan, math.nan)
        rows.append(
            {
                **cell.labels, "runs": n, "reached": cell.reached, "quantity": outcome.name,
                "median": median.value, "low": median.low, "high": median.high,
                **({"law": beforehand} if study.law is not None else {}),
                **({"chosen": cell.chosen, "searched": cell.searched} if study.search else {}),
            }
        )  # fmt: skip
    title = f"Each cell of the grid: {outcome.name}"
    return Table("cells", title, tuple(headings), len(axes), tuple(lines), pd.DataFrame(rows))


def fit_table(name: str, fits: Sequence[Fitted]) -> Table:
    """A line for each curve of a fit: its parameters with their intervals."""
    asked, made = fits[0].asked, [one for one in fits if one.fit is not None]
    parameters = list(dict.fromkeys(p for one in made if one.fit for p in one.fit.parameters))
    by = [] if asked.by is None else [asked.by]
    lines, rows = [], []
    for one in made:
        assert one.fit is not None
        known, fit = one.fit.parameters, one.fit
        values = [estimate(*known[p]) if p in known else "—" for p in parameters]
        line = [text_of(one.value)] if one.value is not None else []
        lines.append((*line, *values, number(fit.runs), number(fit.censored)))
        row: dict[str, Plain | None] = {asked.by: one.value} if asked.by is not None else {}
        for p in parameters:
            value = known.get(p, Interval(math.nan, math.nan, math.nan))
            row |= {p: value.value, f"{p}_low": value.low, f"{p}_high": value.high}
        rows.append(row | {"runs": fit.runs, "unfinished": fit.censored})
    headings = [*by, *(p.replace("_", " ") for p in parameters), "runs", "unfinished"]
    title = f"{asked.form} of {fits[0].outcome.name} against {asked.x}: parameters (95 %)"
    return Table(name, title, tuple(headings), len(by), tuple(lines), pd.DataFrame(rows))


def failures_table(study: Study, cells: Sequence[Summary]) -> Table:
    """A line for each cell in which runs broke down."""
    axes = list(study.axes)
    broken = [(cell, reason, n) for cell in cells for reason, n in cell.failed.items()]
    lines = tuple(
        (*(text_of(cell.labels[axis]) for axis in axes), reason, f"{n} of {len(cell.runs)}")
        for cell, reason, n in broken
    )
    rows = [{**cell.labels, "reason": reason, "runs": n} for cell, reason, n in broken]
    headings = (*axes, "why", "runs")
    title = "Runs that diverged or whose device failed"
    return Table("failures", title, headings, len(axes), lines, pd.DataFrame(rows))
