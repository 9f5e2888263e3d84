"""Papers run again: their rows, the curves they are made of, the shell's answer."""

import json
import math
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from typer.testing import CliRunner

from dither._errors import RequestError
from dither.algorithms import CoordinateDescent
from dither.cli import app
from dither.devices import ReadoutDevice
from dither.networks import PhotonicReservoir
from dither.papers import PAPERS, Made, Paper, Row, find_paper
from dither.papers.andreoli2023.noise import with_noise
from dither.papers.andreoli2023.runs import descent_curves, mackey_glass
from dither.papers.andreoli2023.scale import FULL, QUICK, Scale
from dither.papers.paper import mean, median

TINY = Scale(
    sizes=(25, 36),
    seeds=2,
    tests=10,
    rules_neurons=25,
    rules_seeds=2,
    rules_noises=(0.0,),
    noise_neurons=25,
    noise_seeds=2,
    noise_levels=(0.2,),
    rules=("greedy", "seen and solved"),
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
    assert len(predicted) == 2 + 2 + 2 + 3 + 2 + 2
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
    device = ReadoutDevice(reservoir=PhotonicReservoir(neurons=neurons))
    curves = descent_curves(
        CoordinateDescent(selection="cyclic"), device, seeds, most, lambda _: None
    )
    assert curves.measurements.tolist() == list(range(1, most + 2))
    t = np.asarray(mackey_glass().targets[0], float)

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
    assert with_noise(np.array([clean]), 0.5)[0] == pytest.approx(measured, abs=0.006)


def test_intervals() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    found = mean(values)
    assert found.low < 3.0 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    assert median(np.array([1.0, 2.0, np.inf]))[0] == 2
    assert median(np.array([1.0, np.inf, np.inf]))[0] == np.inf


def run(*words: str) -> tuple[int, str, str]:
    """Status, stdout and stderr of the shell, in this process, at a tiny scale."""
    paper = PAPERS["andreoli2023"]
    tiny = Paper(paper.name, paper.about, paper.figures, full=FULL, quick=TINY)
    with (
        mock.patch.dict(PAPERS, {"andreoli2023": tiny}),
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
    assert [row["neurons"] for row in told["rows"] if "neurons" in row] == [25, 36]
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
    assert max(QUICK.sizes) < max(FULL.sizes)
    assert QUICK.seeds < FULL.seeds >= 10
    assert len(FULL.sizes) == 6
