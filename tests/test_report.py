"""Reports: what they say is what the runs say; pages that stand alone; parts; bad input."""

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.ticker import NullLocator

from dither import RequestError
from dither._seal import without_seal
from dither._words import short
from dither.contract import Space
from dither.planning import predict_run
from dither.studies import Study, load_study, store
from dither.studies.axes import axis_words, words_of
from dither.studies.fitted import fits_of
from dither.studies.job import row_of
from dither.studies.learning_curves import on_one_grid
from dither.studies.outcome import outcome_of, summaries
from dither.studies.pictures import MARKERS, fit_picture, heat_map, labels_apart
from dither.studies.plan import FIRST_SEED, planned
from dither.studies.report import write_report
from dither.studies.store import open_study, row_bytes, write_run
from dither.training import Ledger, Replica, Result, Specification, StopReason
from dither.training.drawing import figure_bytes, logarithmic, picture

BUDGET = 20_000
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Whole(HTMLParser):
    """Reads a page, holds that all its elements are closed in order, keeps what is asked about."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.names: list[str] = []
        self.links: list[str] = []
        self.lines: list[list[str]] = []
        self.text = ""
        self.feed(page.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.lines.append([])
        if tag in ("td", "th"):
            self.lines[-1].append("")
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name == "id":
                self.names.append(value or "")
            elif name in ("src", "href", "xlink:href", "action"):
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.lines[-1][-1] += data.replace("\u202f", "")


def stands_alone(page: Path) -> Whole:
    whole = Whole(page)
    assert "script" not in whole.tags
    assert len(whole.names) == len(set(whole.names))
    for link in whole.links:
        if link.startswith("data:image/png;base64,"):  # a colour bar
            continue
        assert link.startswith("#"), link
        assert link[1:] in whole.names
    source = page.read_text(encoding="utf-8")
    assert not re.search(r"@import|url\((?!#)", source)
    assert set(re.findall(r'xmlns[:\w]*="([^"]*)"', source)) <= {
        "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink",
    }  # fmt: skip
    return whole


def study_of(**changes: Any) -> Study:
    asked: dict[str, Any] = {
        "name": "made-up",
        "base": "parity4",
        "set": {"until.measurements": BUDGET},
        "axes": {
            "algorithm.learning_rate": [0.5, 1.0],
            "bits": {"task.bits": [2, 3, 4], "device.network.widths": [[2, 4, 1], [3, 6, 1],
                                                                       [4, 8, 1]]},
        },
        "seeds": 7,
        "fits": [{"x": "bits", "by": "algorithm.learning_rate"}],
    }  # fmt: skip
    return Study.model_validate(asked | changes)


def result_of(seed: int, needed: float | None, why: str | None = None) -> Result:
    """A run that needs so many measurements, or is stopped at its budget."""
    reached = needed is not None and needed <= BUDGET
    end = int(needed) if reached and needed is not None else BUDGET
    why = StopReason(why or ("score" if reached else "measurements"))
    at = np.linspace(end / 10, end, 10).astype(int)
    score = np.linspace(0.5, 1.0 if reached else 0.9, 10)
    columns = {"replica": 0, "seed": seed, "measurements": at, "wall_seconds": 1.0,
               "cost": 1 - score, "test_cost": 1 - score, "score": score}  # fmt: skip
    whole = np.array([end])
    ledger = Ledger(whole, whole, 4 * whole, 0 * whole, 0 * whole, np.zeros(1), np.zeros(1))
    last = Replica(seed, why, float(score[-1]), float(1 - score[-1]), ledger.replica(0))
    return Result(last.score, "accuracy", why, (last,), ledger, pd.DataFrame(columns),
                  np.zeros((1, 0)), Space(()), seed, None)  # fmt: skip


def make(
    folder: Path, study: Study, result: Callable[[Any, int], Result | None], searched: int = 0
) -> Path:
    """A study's folder with the runs that a function makes up, from their cell and seed."""
    study = open_study(folder, study)
    for cell in study.cells:
        for seed in study.seed_list:
            made = result(cell, seed)
            if made is not None:
                run = planned(cell, seed, search=study.search)
                if study.search is not None:
                    run = run.at(study.search.key, 1.5)
                row = row_of(run, made, 0) | {"job_seconds": 1.0, "searched": searched}
                write_run(folder, run.name, row_bytes(row))
    return folder


def grown(cell: Any, seed: int) -> Result:
    """Measurements that grow as bits², of which the slow ones are stopped."""
    bits, rate = cell.labels["bits"], cell.labels["algorithm.learning_rate"]
    spread = np.random.default_rng([seed, bits, round(10 * rate)]).lognormal(0, 0.7)
    return result_of(seed, round(1100 * bits**2 / rate * spread))


def kaplan_meier_median(ends: np.ndarray, stopped: np.ndarray) -> float:
    """Where the share still going, product of (1 − ended / at risk), first falls below a half."""
    going = 1.0
    for at in np.unique(ends[~stopped]):
        going *= 1 - np.sum((ends == at) & ~stopped) / np.sum(ends >= at)
        if going < 0.5:
            return float(at)
    return np.inf


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make(tmp_path_factory.mktemp("made-up") / "study", study_of(), grown)
    write_report(folder, ("png", "svg", "pdf", "csv", "latex"))
    return folder


def test_the_page_says_of_each_cell_what_its_runs_say(made_up: Path) -> None:
    page = stands_alone(made_up / "report.html")
    table = load_study(made_up)
    assert 0.1 < 1 - table["reached"].mean() < 0.6
    told = {tuple(line[:2]): line[2:] for line in page.lines if len(line) == 9}
    for (rate, bits), runs in table.groupby(["algorithm.learning_rate", "bits"]):
        ends, stopped = runs["measurements"].to_numpy(), ~runs["reached"].to_numpy()
        median = kaplan_meier_median(ends, stopped)
        runs_said, reached, said, _, writes, score, missed = told[f"{rate:g}", str(bits)]
        assert (runs_said, reached) == ("7", str((~stopped).sum()))
        assert said == ("not reached" if np.isinf(median) else f"{median:.0f}")
        assert writes == ("not reached" if np.isinf(median) else f"{float(f'{median:.4g}'):.0f}")
        assert score == f"{runs['score'].median():.4g}"
        assert missed == (f"{runs['score'][stopped].median():.4g}" if stopped.any() else "—")
    total = f"{table['measurements'].sum():,}".replace(",", "\u202f")
    assert f"{total} in the runs" in page.text
    assert "42 of 42 are finished" in page.text.replace("\u202f", "")


def test_the_page_holds_fits_figures_versions_and_what_repeats_it(made_up: Path) -> None:
    page = stands_alone(made_up / "report.html")
    for rate in ("0.5", "1"):
        told = rf"At learning rate = {rate}: exponent of measurements to accuracy 1 "
        assert re.search(told + r"against bits: [\d.]+ \([\d.]+–[\d.]+\), 21 runs", page.text)
    assert page.tags.count("svg") == page.tags.count("figure") == 3
    assert page.tags.count("h1") == 1
    row = load_study(made_up).iloc[0]
    for said in (row["dither"], row["jax"], row["machine"], "dither study study.toml",
                 without_seal((made_up / "study.toml").read_text())):  # fmt: skip
        assert said in page.text


def test_figures_draw_every_median_and_every_single_run(made_up: Path) -> None:
    source = (made_up / "report" / "fit-1.svg").read_text()
    table = load_study(made_up)
    dots = re.findall(r"<use [^>]*fill-opacity: 0.45", source)
    triangles = re.findall(r"<use [^>]*stroke-opacity: 0.7", source)
    assert len(dots) == table["reached"].sum()
    assert len(triangles) == (~table["reached"]).sum()


def test_parts_are_figures_and_tables_that_others_read(made_up: Path) -> None:
    parts = made_up / "report"
    pictures = [f"{name}.{end}" for name in ("fit-1", "heat-map", "curves")
                for end in ("png", "svg", "pdf")]  # fmt: skip
    tables = [f"{name}.{end}" for name in ("cells", "fit-1") for end in ("csv", "tex")]
    assert {path.name for path in parts.iterdir()} == {*pictures, *tables}
    assert (parts / "fit-1.png").read_bytes().startswith(b"\x89PNG")
    assert (parts / "fit-1.pdf").read_bytes().startswith(b"%PDF")
    cells = pd.read_csv(parts / "cells.csv")
    runs = load_study(made_up)
    assert cells["runs"].sum() == len(runs)
    assert cells["reached"].sum() == runs["reached"].sum()
    fits = pd.read_csv(parts / "fit-1.csv")
    assert np.all((fits["exponent_low"] < 2) & (fits["exponent_high"] > 2))
    latex = (parts / "cells.tex").read_text()
    assert "learning rate" in latex
    assert latex.count(r"\\") >= 7


def test_a_diverged_run_counts_as_stopped_at_the_end_of_its_budget(tmp_path: Path) -> None:
    def half_diverge(cell: Any, seed: int) -> Result:
        del cell
        return result_of(seed, 1000 + seed) if seed < 4 else result_of(seed, 10, "diverged")

    study = study_of(axes={"algorithm.learning_rate": [0.5]}, fits=[])
    page = stands_alone(write_report(make(tmp_path / "study", study, half_diverge)))
    # had the three been stopped at 10 measurements, the median would be that of the other four
    assert ["0.5", "7", "4", "1003"] in [line[:4] for line in page.lines]
    assert ["1003"] in [line[5:6] for line in page.lines]  # and so for their writes
    assert ["0.5", "diverged", "3 of 7"] in page.lines


def test_seconds_and_joules_are_told_of_each_cell_where_they_are_known(tmp_path: Path) -> None:
    def priced(cell: Any, seed: int) -> Result:
        result = grown(cell, seed)
        (one,) = result.replicas
        spent = {"device_seconds": 1e-3, "joules": 2e-6}
        ledger = one.ledger | {k: one.ledger["measurements"] * v for k, v in spent.items()}
        return replace(result, replicas=(replace(one, ledger=ledger),))

    folder = make(tmp_path / "priced", study_of(), priced)
    page = stands_alone(write_report(folder, ["csv"]))
    cells, runs = pd.read_csv(folder / "report" / "cells.csv"), load_study(folder)
    assert {"writes", "device_seconds", "joules", "score", "reached"} <= set(runs.columns)
    heading = next(line for line in page.lines if "joules" in line)
    assert "device seconds" in heading
    for _, cell in cells.iterrows():
        rate, bits = cell["algorithm.learning_rate"], cell["bits"]
        mine = runs[(runs["bits"] == bits) & (runs["algorithm.learning_rate"] == rate)]
        stopped = ~mine["reached"].to_numpy()
        for column in ("writes", "device_seconds", "joules"):
            median = kaplan_meier_median(mine[column].to_numpy(), stopped)
            assert cell[column] == pytest.approx(median)
        missed = mine["score"][stopped].median()
        assert cell["score_of_those_that_missed"] == pytest.approx(missed, nan_ok=True)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("device.imperfections.0.bits", "DAC bits"),
        ("device.imperfections.1.sigma", "cost noise sigma"),
        ("device.imperfections.2.bits", "ADC bits"),
        ("device.imperfections.0.kind", "imperfection"),
        ("device.network.widths", "layer widths"),
        ("device.network.kind", "network"),
        ("algorithm.learning_rate", "learning rate"),
        ("algorithm.kind", "algorithm"),
        ("algorithm.optimizer.name", "optimizer"),
        ("algorithm.delta", "perturbation amplitude delta"),
        ("until.measurements", "budget of measurements"),
        ("device.imperfections.7.bits", "bits"),
        ("seed", "seed"),
    ],
)
def test_axes_have_names_in_words(path: str, words: str) -> None:
    imperfections = [{"kind": "dac", "bits": 8}, {"kind": "cost-noise", "sigma": 0.1}, "adc"]
    assert words_of(path, {"device": {"imperfections": imperfections}}) == words


def test_axes_of_the_same_words_keep_their_paths() -> None:
    base = {
        "task": "xor", "until": {"measurements": 40},
        "device": {"kind": "simulated", "network": {"kind": "mlp", "widths": [2, 2, 1]},
                   "imperfections": [{"kind": "dac", "bits": 8, "low": -1, "high": 1},
                                     {"kind": "dac", "bits": 8, "low": -1, "high": 1}]},
        "algorithm": {"kind": "weight-mgd", "learning_rate": 0.05},
    }  # fmt: skip
    first, second = (f"device.imperfections.{k}.bits" for k in (0, 1))
    axes = {first: [4, 8], second: [4, 8], "size": {"algorithm.delta": [0.1, 0.2]}}
    words = axis_words(Study.model_validate({"base": base, "axes": axes}))
    assert (words[first], words[second], words["size"]) == (first, second, "size")
    del axes[second]
    assert axis_words(Study.model_validate({"base": base, "axes": axes}))[first] == "DAC bits"


def test_an_unfinished_study_and_one_without_a_run(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "part", study_of(),
        lambda cell, seed: grown(cell, seed) if cell.labels["bits"] == 2 and seed < 3 else None,
    )  # fmt: skip
    page = stands_alone(write_report(folder))
    assert "6 of 42 runs are" in page.text
    assert "no power law:" in page.text  # one size alone
    assert ["0.5", "3", "0", "0", "—", "—", "—", "—", "—"] in [
        [*line[:2], line[2].split(" of ")[0], *line[3:]] for line in page.lines
    ]
    empty = make(tmp_path / "none", study_of(), lambda *_: None)
    page = stands_alone(write_report(empty, ["csv", "png"]))
    assert "No run is finished yet" in page.text
    assert "0 of 42 are finished" in page.text


def test_what_users_write_is_text(tmp_path: Path) -> None:
    evil = '<b>&"$x_1$</b><script>alert(1)</script>'
    study = study_of(
        name=evil, about=evil, seeds=4,
        fits=[{"x": evil}, {"x": "algorithm.learning_rate"}],
        axes={evil: {"task.bits": [2, 3], "device.network.widths": [[2, 4, 1], [3, 6, 1]]},
              "algorithm.learning_rate": {"algorithm.learning_rate": [0.5, 1.0],
                                          "label": [evil, "slow"]}},
    )  # fmt: skip
    folder = make(
        tmp_path / "evil", study,
        lambda cell, seed: result_of(seed, 1000 * cell.labels[evil] + 10 * seed),
    )  # fmt: skip
    page = stands_alone(write_report(folder, ["latex", "csv"]))
    assert "b" not in page.tags
    assert evil in page.text
    assert "the values of the axis learning rate are not numbers" in page.text
    assert r"\$x\_1\$" in (folder / "report" / "cells.tex").read_text()


def test_a_search_is_told_with_its_cost(tmp_path: Path) -> None:
    study = study_of(
        axes={"task.bits": [4]}, fits=[], search={"low": 0.5, "high": 2.0, "trials": 4, "seeds": 1},
    )  # fmt: skip
    folder = make(tmp_path / "s", study, lambda _, seed: result_of(seed, 1000), searched=4321)
    assert study.search is not None
    cell = study.cells[0].at(study.search.key, 0.7)
    trial = planned(cell, FIRST_SEED, "trial", 0.7, study.search)
    row = row_of(trial, result_of(FIRST_SEED, 4321), 0) | {"job_seconds": 1.0, "searched": 0}
    write_run(folder, trial.name, row_bytes(row))
    page = stands_alone(write_report(folder))
    assert page.lines[1][:4] == ["4", "7", "7", "1000"]
    assert page.lines[1][-2:] == ["1.5", "4321"]
    assert "4321 additional measurements in 1 runs" in page.text.replace("\u202f", "")
    assert "7 of 7 are finished" in page.text


def test_without_a_target_the_score_is_told(tmp_path: Path) -> None:
    study = study_of(fits=[{"x": "bits", "y": "score", "form": "saturating"}])
    table = {k: v for k, v in study.base_table()["until"].items() if k != "score"}
    study = study.model_copy(update={"base": study.base_table() | {"until": table}})
    folder = make(tmp_path / "s", study, grown)
    page = stands_alone(write_report(folder))
    runs = load_study(folder)
    for (rate, bits), mine in runs.groupby(["algorithm.learning_rate", "bits"]):
        line = next(x for x in page.lines if x[:2] == [f"{rate:g}", str(bits)])
        assert line[2:4] == ["7", f"{mine['score'].median():.4g}"]
    assert "Ceiling of accuracy against bits" in page.text


def test_a_footer_tells_the_same_as_the_columns(made_up: Path) -> None:
    files = sorted((made_up / store.RUNS).glob("*.parquet"))
    from_footers = store._read(files, curves=False).to_pandas()
    columns = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    plain = columns[[name for name in columns if not name.startswith("curve_")]]
    pd.testing.assert_frame_equal(from_footers, plain)


def test_curves_keep_their_last_value() -> None:
    short = pd.Series([1.0, 2.0], [10, 20])
    long = pd.Series([7.0, 8.0, 9.0], [5, 15, 30])
    table = on_one_grid([short, long])
    np.testing.assert_array_equal(table.index, [10, 15, 20, 30])
    np.testing.assert_array_equal(table.T, [[1, 1, 2, 2], [7, 8, 8, 9]])


def run_folder(folder: Path, result: Result) -> None:
    from dither.training import read_specification
    from dither.training.folder import write_result, write_specification

    asked = read_specification("parity4", ["name=a<b", f"until.measurements={BUDGET}"])
    folder.mkdir()
    write_specification(folder, asked.model_dump(mode="json"))
    write_result(folder, result)


def test_a_run_has_a_report_too(tmp_path: Path) -> None:
    run_folder(tmp_path / "run", result_of(3, 1500))
    page = stands_alone(write_report(tmp_path / "run", ["csv", "svg"]))
    assert ["3", "score", "1", "0", "1500", "1500"] in page.lines
    made = json.loads((tmp_path / "run" / "result.json").read_text())["made"]
    for said in ("a<b", made["machine"], made["jax"], "dither train spec.toml"):
        assert said in page.text
    assert (tmp_path / "run" / "report" / "replicas.csv").is_file()
    (tmp_path / "run" / "result.json").unlink()
    assert "not finished" in stands_alone(write_report(tmp_path / "run")).text
    (tmp_path / "run" / "result.json").write_text("{")
    with pytest.raises(RequestError, match="has changed since it was written"):
        write_report(tmp_path / "run")


def test_requests_that_are_wrong(tmp_path: Path, made_up: Path) -> None:
    (tmp_path / "other").mkdir()
    for folder in (tmp_path / "other", tmp_path / "not-there"):
        with pytest.raises(RequestError, match="holds no study and no run"):
            write_report(folder)
        assert not (folder / "report.html").exists()
    with pytest.raises(RequestError, match="did you mean svg"):
        write_report(made_up, ["svgz"], tmp_path / "out")
    with pytest.raises(ValueError, match="'prediction' or 'boolean-coordinate-descent'"):
        study_of(law="boolean-coordinate-decent")


def test_the_shell(tmp_path: Path, made_up: Path) -> None:
    def report(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dither.cli", "report", *words], cwd=tmp_path,
            capture_output=True, text=True, timeout=300, env={**os.environ, "COLUMNS": "200"},
        )  # fmt: skip

    done = report(str(made_up), "--format", "csv, svg", "--out", "there")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "there" / "report.html").is_file()
    assert (tmp_path / "there" / "report" / "cells.csv").is_file()
    refused = report("nowhere")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert len(refused.stderr.strip().splitlines()) == 1


READOUT = {
    "score_every": 2,
    "task": {"kind": "series", "series": {"kind": "mackey-glass", "train": 200, "test": 50}},
    "device": {"kind": "readout", "reservoir": {"kind": "photonic", "neurons": 36},
               "weights": "boolean"},
    "algorithm": {"kind": "coordinate-descent", "selection": "cyclic"},
    "until": {"measurements": 300, "score": 0.8},
}  # fmt: skip


def test_the_prediction_over_runs() -> None:
    """The prediction lies inside the runs that it is about; more is asked by its own tests."""
    run = Specification.model_validate(READOUT)
    ends = [one.ledger["measurements"] for one in run.model_copy(update={"replicas": 16})
            .train().replicas]  # fmt: skip
    predicted = predict_run(run).measurements
    assert np.quantile(ends, 0.05) <= predicted <= np.quantile(ends, 0.95)
    # without a score to reach there is nothing to predict
    aimless = READOUT | {"until": {"measurements": 300}}
    assert np.isnan(predict_run(Specification.model_validate(aimless)).measurements)


# ------------------------------------------------------------------------------- what is drawn


def test_medians_stand_on_their_size_and_ticks_at_the_sizes(made_up: Path) -> None:
    study, table = study_of(), load_study(made_up)
    (curves,) = fits_of(study, table)
    axes = fit_picture("any", curves, []).figure.axes[0]
    marked = [line for line in axes.lines if str(line.get_marker()) in MARKERS]
    medians = [line for line in marked if len(line.get_xdata()) == 1]
    assert len(medians) >= 4
    assert {float(line.get_xdata()[0]) for line in medians} <= {2.0, 3.0, 4.0}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "3", "4"]
    assert axes.get_xlabel() == "bits"


def test_every_single_run_lies_within_the_axes(made_up: Path) -> None:
    table = load_study(made_up)
    far = table.index[table["role"] == "run"][:2]
    for factor in (100, 1 / 100):
        moved = table.assign(measurements=table["measurements"].astype(float))
        moved.loc[far, "measurements"] *= factor
        (curves,) = fits_of(study_of(), moved)
        low, high = fit_picture("any", curves, []).figure.axes[0].get_ylim()
        assert low <= moved.loc[far, "measurements"].min()
        assert high >= moved.loc[far, "measurements"].max()


@pytest.mark.parametrize("sizes", [[9.0, 10, 11, 12], [49.0, 961, 1000, 2500], [2.0, 4, 8, 16]])
def test_labels_of_sizes_do_not_touch(sizes: list[float]) -> None:
    sizes = [float(size) for size in sizes]
    with picture(7.2, 4.4) as figure:
        axes = figure.subplots()
        axes.plot(sizes, sizes)
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        labels = labels_apart(sizes, log=True)
        axes.set_xticks(sizes, labels)
        figure.canvas.draw()
        boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
    assert labels[0] == short(sizes[0])
    for left, right in itertools.pairwise(boxes):
        assert left.x1 < right.x0


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("values", [[1000.0] * 4, [1000.0, 1100.0, 1200.0, 1300.0], [0.0] * 4])
def test_a_colour_bar_has_a_range_with_numbers(
    tmp_path: Path, values: list[float], counts: bool
) -> None:
    axes = {"algorithm.learning_rate": [0.5, 1.0], "algorithm.delta": [0.01, 0.02]}
    study = study_of(axes=axes, fits=[])
    places = {
        tuple(cell.labels[axis] for axis in axes): value for cell, value in zip(study.cells, values)
    }
    make(
        tmp_path / "s", study,
        lambda cell, seed: result_of(
            seed, max(places[tuple(cell.labels[axis] for axis in axes)], 10.0)
        ),
    )  # fmt: skip
    runs = load_study(tmp_path / "s")
    outcome = outcome_of(runs, "measurements" if counts else "score")
    drawn = heat_map(study, summaries(study, runs, outcome), outcome).figure
    bar = drawn.axes[-1]
    low, high = bar.get_ylim()
    assert high > low
    drawn.canvas.draw()
    shown = [
        label.get_text() for tick, label in zip(bar.get_yticks(), bar.get_yticklabels())
        if low <= tick <= high and label.get_text()
    ]  # fmt: skip
    assert len(shown) >= 2
    assert not any("e" in text for text in shown)


@pytest.mark.parametrize(
    ("low", "high"), [(0.55, 0.9), (1.2e-4, 3e-4), (0.02, 0.9), (1e-7, 1e-2), (400.0, 90_000.0)]
)
def test_ticks_are_numbers_as_people_write_them(low: float, high: float) -> None:
    with picture(4.0, 3.0) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [low, high])
        logarithmic(axes)
        figure.canvas.draw()
        view = axes.get_ylim()
        written = [
            label.get_text() for tick, label in zip(axes.get_yticks(), axes.get_yticklabels())
            if view[0] <= tick <= view[1] and label.get_text()
        ]  # fmt: skip
    assert len(written) >= 2
    for text in written:
        assert re.fullmatch(r"[\d.]+[kMG]?|([\d.]+·)?10⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+", text), text


def test_no_axis_shows_the_signs_of_mathematics() -> None:
    """Names come from users, so that mathematics is off; Matplotlib's own ticks rely on it."""
    with picture(4.0, 3.0) as figure:
        axes = figure.subplots()
        axes.loglog([1, 10_000], [0.3, 0.9])
        axes.set_xlabel("a price in $ and $")
    source = figure_bytes(figure, "svg").decode()
    written = re.findall(r"<text[^>]*>([^<]*)</text>", source)
    assert "10k" in written
    assert "a price in $ and $" in written
    assert not any("mathdefault" in text for text in written)
