"""Papers run again: their rows, the curves they are made of, the shell's answer."""

import json
import math
from importlib.resources import files
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from typer.testing import CliRunner

from dither._errors import RequestError
from dither.cli import app
from dither.laws import bootstrapped_mean, bootstrapped_median, noisy_nmse
from dither.papers import PAPERS, Made, Row, find_paper
from dither.papers.andreoli2023.runs import descents
from dither.papers.andreoli2023.scaling import exponent
from dither.papers.scale import Scale
from dither.studies import read_study

SIZES = [25, 36, 49, 64]
TINY = Scale(
    "andreoli2023",
    {
        "studies": {
            "descents": {
                "seeds": 2,
                "axes": {
                    "neurons": {
                        "device.reservoir.neurons": SIZES,
                        "score_every": [1, 1, 2, 3],
                        "until.measurements": [1 + 10 * n for n in SIZES],
                    }
                },
            },
            "rules": {
                "seeds": 2,
                "only": {"noise": [0.0], "rule": ["greedy", "seen and solved"]},
                "base": {
                    "score_every": 1,
                    "device": {"reservoir": {"neurons": 25}},
                    "until": {"measurements": 376},
                },
            },
            "noise": {
                "seeds": 2,
                "only": {"noise": [0.2]},
                "base": {
                    "score_every": 1,
                    "device": {"reservoir": {"neurons": 25}},
                    "until": {"measurements": 501},
                },
            },
        }
    },
)


def silent(what: str, share: float) -> None:
    assert what
    assert 0 <= share <= 1 + 1e-9


@pytest.fixture(scope="module")
def made() -> dict[str, Made]:
    return {name: make(TINY, silent) for name, make in find_paper("andreoli2023").figures.items()}


def rows_of(made: Made, **wanted: object) -> list[Row]:
    return [row for row in made.rows if all(getattr(row, k) == v for k, v in wanted.items())]


def test_every_row_is_whole_and_plain_json(made: dict[str, Made]) -> None:
    for name, figure in made.items():
        assert figure.rows
        for row in figure.rows:
            assert row.figure == name
            assert row.unit
            entry = json.loads(json.dumps(row.as_json(), allow_nan=False))
            assert {"figure", "method", "quantity", "unit", "published", "published_sd", "law",
                    "measured", "measured_low", "measured_high", "runs"} <= set(entry)  # fmt: skip
            assert entry.items() >= dict(row.point).items()
            if row.measured_low is not None and math.isfinite(row.measured_high):
                assert row.measured_low <= row.measured <= row.measured_high


def test_the_law_stands_beside_what_it_predicts(made: dict[str, Made]) -> None:
    predicted = [
        *rows_of(made["curves"], quantity="final training NMSE"),
        *rows_of(made["curves"], quantity="last accepted flip"),
        *rows_of(made["constant"], quantity="convergence constant"),
        *rows_of(made["exponents"], criterion="within 2x of final"),
        *rows_of(made["noise"], method="keep"),
        *rows_of(made["noise"], method="remeasure"),
    ]
    assert len(predicted) == 4 + 4 + 4 + 5 + 2 + 2
    for row in predicted:
        # surrogates of 25 neurons are crude, but of the right size
        assert row.law is not None
        low, high = (-1, 3) if "exponent" in row.quantity else (row.measured / 5, row.measured * 5)
        assert low < row.law < high


def test_a_solved_readout_ends_no_higher_than_greedy(made: dict[str, Made]) -> None:
    quantity = "training NMSE at 15 N measurements"
    (greedy,) = rows_of(made["rules"], method="greedy", quantity=quantity)
    (solved,) = rows_of(made["rules"], method="seen and solved", quantity=quantity)
    assert solved.measured <= greedy.measured * 1.001


def test_curves_are_the_errors_of_the_weights_kept() -> None:
    neurons, seeds, most = 36, 2, 72
    sizes = {"device.reservoir.neurons": [neurons], "score_every": [1]}
    study = TINY.study(
        "descents",
        {
            "base": {"algorithm": {"selection": "cyclic"}},
            "axes": {"neurons": {**sizes, "until.measurements": [1 + most]}},
        },
    )
    curves = descents(study.cells[0], (0, 1), lambda _: None)
    assert curves.measurements.tolist() == list(range(1, most + 2))
    t = curves.target.astype(float)

    def nmse(run: int, w: np.ndarray) -> float:
        y = w @ curves.columns[run].astype(float)
        return float(np.mean(((y - y.mean()) / y.std() - (t - t.mean()) / t.std()) ** 2))

    for run in range(seeds):
        assert curves.errors[run, 0] == pytest.approx(nmse(run, curves.start[run]), rel=1e-3)
        assert curves.errors[run, -1] == pytest.approx(nmse(run, curves.weights[run]), rel=1e-3)
        # two full sweeps by hand: every recorded error is one that a single flip has led to
        w, reached = curves.start[run].astype(float), [nmse(run, curves.start[run])]
        for after in curves.errors[run, 1:]:
            if abs(after - reached[-1]) < 1e-6 * reached[-1]:
                continue
            flips = [nmse(run, np.where(np.arange(neurons) == i, 1 - w, w)) for i in range(neurons)]
            i = int(np.argmin(np.abs(np.array(flips) - after)))
            assert flips[i] == pytest.approx(after, rel=1e-3)
            w[i] = 1 - w[i]
            reached.append(flips[i])
        assert np.array_equal(w, curves.weights[run])
        assert np.all(np.diff(reached) < 0)
        falls = np.flatnonzero(np.diff(curves.errors[run]) < 0)
        assert curves.last_kept[run] == falls[-1] + 1


def test_the_error_with_noise_is_its_mean() -> None:
    rng = np.random.default_rng(0)
    t = rng.normal(size=200_000)
    y = t + 0.3 * rng.normal(size=t.size)
    noisy = y + 0.5 * y.std() * rng.normal(size=t.size)
    clean, measured = (2 * (1 - np.corrcoef(one, t)[0, 1]) for one in (y, noisy))
    # a correlation of 200 000 samples is known to 0.001 at worst
    assert noisy_nmse(np.array([clean]), 0.5)[0] == pytest.approx(measured, abs=0.006)


def test_intervals() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    found = bootstrapped_mean(values)
    assert found.low < 3.0 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    assert bootstrapped_median(np.array([1.0, 2.0, np.inf]))[0] == 2
    assert bootstrapped_median(np.array([1.0, np.inf, np.inf]))[0] == np.inf


def run(*words: str) -> tuple[int, str, str]:
    """Status, stdout and stderr of the shell, in this process, at a tiny scale."""
    with (
        mock.patch.object(Scale, "of", return_value=TINY),
        mock.patch("dither.cli.train.use_all_cores"),
    ):
        done = CliRunner().invoke(app, ["paper", *words], env={"COLUMNS": "200"})
    if isinstance(done.exception, RequestError):
        return 2, done.stdout, str(done.exception)
    assert done.exception is None, done.exception
    return done.exit_code, done.stdout, done.stderr


def test_the_shell_writes_and_prints_one_json_object(tmp_path: Path) -> None:
    out = tmp_path / "out"
    status, stdout, _ = run("andreoli2023", "constant", "--quick", "--json", "--out", str(out))
    assert status == 0
    told = json.loads(stdout)
    assert set(told) == {"rows"}
    assert [row["neurons"] for row in told["rows"] if "neurons" in row] == SIZES
    assert json.loads((out / "rows.json").read_text()) == told
    assert {path.name for path in out.iterdir()} == {"rows.json", "constant.png", "constant.svg"}
    status, _, sentence = run("andreoli2023", "constant", "--quick", "--out", str(out))
    assert status == 2
    assert "other files" in sentence


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["andreoli23"], "did you mean andreoli2023?"),
        (["andreoli2023", "exponent"], "did you mean exponents"),
    ],
)
def test_a_wrong_name_is_one_sentence(words: list[str], part: str, tmp_path: Path) -> None:
    status, stdout, sentence = run(*words, "--out", str(tmp_path / "out"))
    assert status == 2
    assert stdout == ""
    assert part in sentence
    assert not (tmp_path / "out").exists()


def test_quick_is_a_smaller_full() -> None:
    quick, full = (Scale.of("andreoli2023", q).study("descents") for q in (True, False))
    assert max(quick.labels("neurons")) < max(full.labels("neurons"))
    assert quick.seeds < full.seeds >= 10
    assert len(full.labels("neurons")) == 6


def test_too_few_sizes_tell_no_exponent(made: dict[str, Made]) -> None:
    values = [np.array([n, n], float) for n in SIZES]
    assert exponent(SIZES[:3], values[:3]) is None
    assert exponent(SIZES, values).value == pytest.approx(1)
    assert exponent(SIZES, [*values[:3], np.array([np.inf, 1.0])]) is None
    (row,) = rows_of(made["constant"], quantity="exponent of the constant against N")
    assert row.published == 1.0
    (row,) = rows_of(made["exponents"], criterion="within 2x of final", point={})
    assert row.expected == 0.97


@pytest.mark.parametrize("paper", sorted(PAPERS.keys() - {"skalli2025"}))  # a comparison
def test_every_study_is_one_that_the_shell_takes(paper: str) -> None:
    folder = files("dither.papers") / paper
    studies = [file for file in folder.iterdir() if file.name.endswith(".toml")]
    for file in studies:
        if file.name != "scales.toml":
            study = read_study(file)
            assert study.cells
            for quick in (True, False):
                assert Scale.of(paper, quick).study(file.name.removesuffix(".toml")).cells
    assert len(studies) > 3
