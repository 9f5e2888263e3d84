"""The report of a study or a run: one self-contained HTML file."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dither._errors import RequestError
from dither._files import is_file, make_folder, write_atomically
from dither._seal import without_seal
from dither._words import Plain, number, rounded, text_of
from dither.studies import compare as comparison
from dither.studies import store
from dither.studies.axes import axis_words, words_of
from dither.studies.compare_page import comparison_page
from dither.studies.comparison import read_comparison
from dither.studies.fitted import fits_of
from dither.studies.learning_curves import curves_picture
from dither.studies.outcome import SPENT, Outcome, Summary, outcome_of, spent_in, summaries
from dither.studies.page import Page, html, versions
from dither.studies.parts import check_formats, write_parts
from dither.studies.pictures import fit_picture, heat_map
from dither.studies.run_report import run_page
from dither.studies.study import PARAMETERS, Study, read_study
from dither.studies.tables import cells_table, failures_table, fit_table
from dither.training import folder as run_folder
from dither.training.specification import read_toml

REPORT = "report.html"
PARTS = "report"


def write_report(
    folder: str | Path, formats: Sequence[str] = (), out: str | Path | None = None
) -> Path:
    """Write the report of a study, a comparison or a run, finished or not, from its folder.

    Arguments:
        folder: the folder.
        formats: formats of its parts, which are written into `report/`: figures as `png`, `svg` or
            `pdf`, tables as `csv` or `latex`.
        out: the output folder, by default the folder itself.

    Returns: the file `report.html`.
    Errors: `RequestError` for any other folder, and for an unknown format.
    """
    folder = Path(folder)
    out = folder if out is None else Path(out)
    asked = check_formats(formats)
    if is_file(folder / store.SPECIFICATION):
        page = study_page(folder)
    elif is_file(folder / run_folder.SPECIFICATION):
        page = run_page(folder)
    elif is_file(folder / comparison.SPECIFICATION):
        compared = read_comparison(folder / comparison.SPECIFICATION)
        page = comparison_page(compared, comparison.so_far(compared, folder), folder)
    else:
        raise RequestError(
            f"The folder {folder} holds no study and no run: it has neither "
            f"{store.SPECIFICATION} nor "
            f"{run_folder.SPECIFICATION}."
        )
    make_folder(out)
    write_parts(out / PARTS, asked, page.pictures, page.tables)
    write_atomically(out / REPORT, html(page).encode())
    return out / REPORT


def study_page(folder: Path) -> Page:
    """The page of a study's report."""
    study = read_study(folder)
    table = store.load_study(folder)
    runs = table[table["role"] == "run"] if len(table) else table
    facts = [("runs", f"{number(len(runs))} of {number(study.runs)} are finished")]
    command = f"dither study {store.SPECIFICATION} --out {folder.resolve().name}"
    toml = without_seal(read_toml(folder / store.SPECIFICATION)[1])
    common = {"kind": "study", "title": study.name, "about": study.about, "command": command,
              "file": store.SPECIFICATION, "toml": toml}  # fmt: skip
    if not len(runs):
        notes = ["No run is finished yet, so there are no results to show."]
        return Page(**common, facts=facts, notes=notes, findings=(), pictures=(), tables=(),
                    made=versions())  # fmt: skip

    outcome = outcome_of(runs)
    cells = summaries(study, runs, outcome)
    predicted: list[tuple[Summary, float]] = []
    if study.law is not None:
        from dither.planning.run import predict_run

        predicted = [(cell, predict_run(asked.specification).measurements)
               for cell, asked in zip(cells, study.cells)]  # fmt: skip
    fits = fits_of(study, runs)
    pictures = [
        fit_picture(
            f"fit-{k}", curves, predicted if curves[0].outcome.column == "measurements" else []
        )
        for k, curves in enumerate(fits, start=1)
        if _is_number(study, curves[0].asked.x)
    ]
    if len(study.axes) > 1:
        pictures.append(heat_map(study, cells, outcome))
    curves = curves_picture(folder, study, cells)
    pictures += [] if curves is None else [curves]
    tables = [
        cells_table(study, cells, outcome, predicted),
        *(fit_table(f"fit-{k}", curves) for k, curves in enumerate(fits, start=1)),
        failures_table(study, cells),
    ]
    return Page(
        **common,
        facts=[*facts, *_facts(study, table, runs, outcome)],
        notes=_notes(study, runs, outcome),
        findings=[str(one) for curves in fits for one in curves],
        pictures=pictures,
        tables=[one for one in tables if one.lines],
        made=[*_made(table), *versions()],
    )


def _is_number(study: Study, x: str) -> bool:
    return x == PARAMETERS or not isinstance(study.labels(x)[0], str)


def _facts(
    study: Study, table: pd.DataFrame, runs: pd.DataFrame, outcome: Outcome
) -> list[tuple[str, str]]:
    facts = []
    if outcome.counts:
        reached = int(runs["reached"].sum())
        facts.append(("reached the target", f"{number(reached)} of {number(len(runs))}"))
    reasons = runs["stop_reason"].value_counts()
    facts.append(("stopped by", ", ".join(f"{why}: {number(n)}" for why, n in reasons.items())))
    for axis, words in axis_words(study).items():
        if axis in study.axes:
            facts.append((f"axis {words}", _values(study.labels(axis))))
    facts.append(("seeds", f"{len(study.seed_list)} in each cell"))
    measured, trials = int(runs["measurements"].sum()), table[table["role"] == "trial"]
    facts.append(("measurements", f"{number(measured)} in the runs"))
    for column in spent_in(runs):
        facts.append(
            (SPENT[column], f"{number(rounded(float(runs[column].sum()), 4))} in the runs")
        )
    if study.search is not None:
        search, more = study.search, int(trials["measurements"].sum())
        low, high = map(number, search.ends)
        facts.append(
            (
                f"search of {words_of(search.key, {})}",
                f"{search.number} values from {low} to {high} in each cell, {search.seeds} runs "
                f"each: {number(more)} additional measurements in {number(len(trials))} runs",
            )
        )
    return facts


def _values(labels: Sequence[Plain]) -> str:
    words = [text_of(value) for value in labels]
    if len(words) > 12:
        return f"{len(words)} values from {words[0]} to {words[-1]}"
    return ", ".join(words)


def _notes(study: Study, runs: pd.DataFrame, outcome: Outcome) -> list[str]:
    notes = []
    if len(runs) < study.runs:
        notes.append(f"The study is not finished: {len(runs)} of {study.runs} runs are complete.")
    if outcome.counts:
        notes.append(
            "Medians are Kaplan–Meier medians: a run that was stopped before the target counts as "
            "one that needs more measurements. A diverged run counts as stopped at the end of "
            "its budget."
        )
    elif runs[outcome.column].isna().any():
        n = int(runs[outcome.column].isna().sum())
        notes.append(
            f"{n} runs ended without a {outcome.name} and are not included in the medians."
        )
    if study.law is not None:
        notes.append("Predictions use each cell's specification only.")
    return notes


def _made(table: pd.DataFrame) -> list[tuple[str, str]]:
    def each(column: str) -> str:
        return ", ".join(sorted(set(table[column].dropna())))

    return [
        ("the runs", f"dither {each('dither')}, JAX {each('jax')}"),
        ("machines", each("machine")),
        ("finished", f"{table['finished'].min()} to {table['finished'].max()}"),
    ]
