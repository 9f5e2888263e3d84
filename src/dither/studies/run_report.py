"""The report of a single run."""

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dither._files import is_file
from dither._seal import without_seal
from dither._words import number
from dither.studies.fits import median_with_interval
from dither.studies.outcome import SPENT
from dither.studies.page import Page, versions
from dither.studies.pictures import Picture
from dither.studies.tables import Table, median_in_words
from dither.training.figure import run_figure
from dither.training.folder import RESULT, SPECIFICATION
from dither.training.load import load_run, read_result
from dither.training.result import Result
from dither.training.specification import read_toml


def run_page(folder: Path) -> Page:
    """The page of a run's report, from its folder."""
    asked, text = read_toml(folder / SPECIFICATION)
    common: dict[str, Any] = {
        "kind": "run", "title": str(asked.get("name", folder.name)),
        "about": str(asked.get("about", "")), "file": SPECIFICATION, "findings": (),
        "toml": without_seal(text), "command": f"dither train {SPECIFICATION}",
    }  # fmt: skip
    if not is_file(folder / RESULT):
        notes = ["The run is not finished, so there are no results to show."]
        return Page(**common, facts=(), notes=notes, pictures=(), tables=(), made=versions())
    result = load_run(folder)
    target = asked.get("until", {}).get("score")
    ended = (folder / RESULT).stat().st_mtime
    made = read_result(folder / RESULT).made
    return Page(
        **common,
        facts=_facts(result, target),
        notes=[*result.warnings, *([result.failure] if result.failure else [])],
        pictures=_pictures(result, str(common["title"]), target),
        tables=[_replicas(result)],
        made=[
            *((name, str(value)) for name, value in made.items()),
            ("finished", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(ended))),
            *versions(),
        ],
    )


def _facts(result: Result, target: float | None) -> list[tuple[str, str]]:
    n = len(result.replicas)
    facts = []
    if result.score is not None:
        of = f", the median of {n} replicas" if n > 1 else ""
        facts.append((result.score_name, f"{number(result.score)}{of}"))
    facts.append(("stopped by", result.stop_reason))
    if target is not None and result.score is not None:
        stopped = np.array([not one.reached for one in result.replicas])
        measured = np.array([float(one.ledger["measurements"]) for one in result.replicas])
        facts.append((f"reached {target:g}", f"{int((~stopped).sum())} of {n}"))
        if n > 1:
            name = f"measurements to {result.score_name} {target:g}"
            median = median_with_interval(measured, stopped)
            middle, interval = median_in_words(median)
            facts.append((f"median {name}", f"{middle} (95 %: {interval})"))
        missed = [one.score for one in result.replicas if not one.reached and one.score is not None]
        if missed:
            facts.append(
                ("score of those that missed", f"{number(float(np.median(missed)))}, median")
            )
    if result.learning_rate is not None:
        facts.append(("last learning rate", number(result.learning_rate)))
    if result.start_from is not None:
        facts.append(("started from", f"{result.start_from}, whose ledger is not included"))
    for name, value in result.accounts.total().items():
        if value or name == "measurements":
            whose = " of all replicas" if n > 1 else ""
            facts.append((f"{name.replace('_', ' ')}{whose}", number(value)))
    return facts


def _pictures(result: Result, name: str, target: float | None) -> list[Picture]:
    if not len(result.history):
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # costs that were never measured
        figure = run_figure(result, name, target)
    caption = "Training cost, and results on the test set"
    many = len(result.replicas) > 1
    caption += "; thin: replicas; thick: median; shaded: interquartile range." if many else "."
    return [Picture("curves", "Cost and score against measurements", caption, figure)]


def _replicas(result: Result) -> Table:
    spent = [name for name, total in result.accounts.total().items() if total > 0 and name in SPENT]
    rated = result.learning_rate is not None
    headings = ("seed", "stopped by", result.score_name or "score", "test cost",
                *(["last learning rate"] if rated else []), "measurements",
                *(SPENT[name] for name in spent))  # fmt: skip
    rows = [
        (one.seed, one.stop_reason, one.score, one.test_cost,
         *([one.learning_rate] if rated else []),
         one.ledger["measurements"], *(one.ledger[name] for name in spent))
        for one in result.replicas
    ]  # fmt: skip
    lines = tuple(tuple(number(value) for value in row) for row in rows)
    return Table(
        "replicas", "Each replica", headings, 1, lines, pd.DataFrame(rows, columns=list(headings))
    )
