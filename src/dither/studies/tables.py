"""The tables of a report, formatted and as plain numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from dither._words import Plain, estimate, number, rounded, text_of
from dither.laws import Interval
from dither.studies.axes import axis_words, words_of
from dither.studies.fitted import Fitted
from dither.studies.outcome import SPENT, Outcome, Summary, median_of, spent_in
from dither.studies.study import Study


@dataclass(frozen=True, eq=False)
class Table:
    """A table: a short name for its file, a title, its lines, formatted and as numbers.

    Attributes: `name`, `title`; `headings`; `leading`, the number of first columns that identify a
    line; `lines`; `numbers`, the same as plain numbers.
    """

    name: str
    title: str
    headings: tuple[str, ...]
    leading: int
    lines: tuple[tuple[str, ...], ...]
    numbers: pd.DataFrame

    @property
    def in_words(self) -> pd.DataFrame:
        """The formatted lines with their headings."""
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
    predicted: Sequence[tuple[Summary, float]],
) -> Table:
    """One line per cell of the grid: the results of its runs and their costs."""
    seeds, axes, words = len(study.seed_list), list(study.axes), axis_words(study)
    beforehand = [value for _, value in predicted] or [math.nan] * len(cells)
    spent = spent_in(pd.concat([cell.runs for cell in cells]))
    if not outcome.counts:
        spent = ["measurements", *spent]
    headings = [*(words[axis] for axis in axes), "runs", *(["reached"] if outcome.counts else [])]
    headings += [f"median {outcome.name}", "95 %"]
    headings += [SPENT.get(name, name) for name in spent]
    if outcome.counts:
        headings += ["final score", "score of those that missed"]
    if study.law is not None:
        headings.append("predicted")
    if study.search is not None:
        headings += [f"chosen {words_of(study.search.key, {})}", "search's measurements"]
    lines, rows = [], []
    for cell, prediction in zip(cells, beforehand):
        n = len(cell.runs)
        line = [*(text_of(cell.labels[axis]) for axis in axes)]
        line.append(f"{n}" if n == seeds else f"{n} of {seeds}")
        line += [f"{cell.reached}"] if outcome.counts else []
        line += median_in_words(cell.median)
        medians = {name: _median(cell, outcome._replace(column=name)) for name in spent}
        line += [_in_words(value) for value in medians.values()]
        scores = {"score": cell.score_of(False), "score_of_those_that_missed": cell.score_of(True)}
        line += [number(value) for value in scores.values()] if outcome.counts else []
        if study.law is not None:
            line.append("never" if math.isinf(prediction) else number(rounded(prediction, 4)))
        if study.search is not None:
            line += [number(cell.chosen), number(cell.searched)]
        lines.append(tuple(line))
        median = cell.median or Interval(math.nan, math.nan, math.nan)
        rows.append(
            {
                **cell.labels, "runs": n, "reached": cell.reached, "quantity": outcome.name,
                "median": median.value, "low": median.low, "high": median.high,
                **medians, **(scores if outcome.counts else {}),
                **({"predicted": prediction} if study.law is not None else {}),
                **({"chosen": cell.chosen, "searched": cell.searched} if study.search else {}),
            }
        )  # fmt: skip
    title = f"Each cell of the grid: {outcome.name}"
    return Table("cells", title, tuple(headings), len(axes), tuple(lines), pd.DataFrame(rows))


def _in_words(median: float) -> str:
    return "not reached" if math.isinf(median) else number(rounded(median, 4))


def _median(cell: Summary, outcome: Outcome) -> float:
    """The median cost of a cell's runs, counted like their measurements."""
    found = median_of(cell.runs, outcome)
    return math.nan if found is None else found.value


def fit_table(name: str, fits: Sequence[Fitted]) -> Table:
    """One line per curve of a fit: its parameters with their intervals."""
    asked, made = fits[0].asked, [one for one in fits if one.fit is not None]
    parameters = list(dict.fromkeys(p for one in made if one.fit for p in one.fit.parameters))
    by = [] if asked.by is None else [fits[0].by]
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
    title = f"{asked.form} of {fits[0].outcome.name} against {fits[0].x}: parameters (95 %)"
    return Table(name, title, tuple(headings), len(by), tuple(lines), pd.DataFrame(rows))


def failures_table(study: Study, cells: Sequence[Summary]) -> Table:
    """One line per cell with failed runs."""
    axes = list(study.axes)
    broken = [(cell, reason, n) for cell in cells for reason, n in cell.failed.items()]
    lines = tuple(
        (*(text_of(cell.labels[axis]) for axis in axes), reason, f"{n} of {len(cell.runs)}")
        for cell, reason, n in broken
    )
    rows = [{**cell.labels, "reason": reason, "runs": n} for cell, reason, n in broken]
    words = axis_words(study)
    headings = (*(words[axis] for axis in axes), "why", "runs")
    title = "Runs that diverged, and runs whose device failed"
    return Table("failures", title, headings, len(axes), lines, pd.DataFrame(rows))
