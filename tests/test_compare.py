"""A comparison: equal tuning on other seeds, its studies' own numbers, what cannot be, resuming."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from dither import RequestError
from dither.cli import app
from dither.studies.compare import compare
from dither.studies.compare_page import best_of, rows_of, write_page
from dither.studies.comparison import Comparison, Method, read_comparison
from dither.studies.search import FIRST_SEED
from dither.studies.store import load_study

CHIP = {"kind": "simulated", "network": {"kind": "mlp", "widths": [49, 4]}}
ASKED = {
    "name": "tiny",
    "seeds": 3,
    "tuning": {"trials": 2, "seeds": 2},
    "tasks": {
        "letters": {
            "task": {"kind": "nist7x7", "batch": 16, "tests": 200},
            "device": CHIP,
            "until": {"measurements": 200, "score": 0.7},
        }
    },
    "devices": {
        "open": {"device": {**CHIP, "access": "gradients", "seconds_per_measurement": 0.5}},
        "shut": {"device": {**CHIP, "access": "cost"}},
    },
    "set": {"score_every": 20},
    "methods": {
        "exact": {
            "algorithm": {"kind": "backpropagation", "learning_rate": 0.1, "optimizer": "adam"},
            "tune": {"learning_rate": [1e-6, 0.02]},
        },
        "weights": {"algorithm": {"kind": "weight-mgd", "learning_rate": 0.1, "delta": 0.1}},
    },
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("compare") / "tiny"
    asked = Comparison.model_validate(ASKED)
    return asked, out, compare(asked, out)


def test_every_pairing_is_a_row_and_what_cannot_be_says_why(done):
    rows = rows_of(done[2])
    told = [(row["device"], row["method"], row["why_not"] is None) for row in rows]
    assert told == [
        ("open", "exact", True), ("open", "weights", True),
        ("shut", "exact", False), ("shut", "weights", True),
    ]  # fmt: skip
    assert "needs gradients, but the device shows only cost" in rows[2]["why_not"]
    assert "runs" not in rows[2]


def test_the_rate_that_learns_is_chosen_on_other_seeds(done):
    """A rate of 1e-6 moves nothing in 200 measurements."""
    _, _, compared = done
    one = compared[0]
    assert one.chosen == {"algorithm.learning_rate": 0.02}
    assert one.runs["reached"].all()
    tuning = load_study(one.folder.parent / "tuning")
    assert set(tuning["seed"]) == {FIRST_SEED, FIRST_SEED + 1}
    assert one.tuned == tuning["measurements"].sum()
    assert set(one.runs["seed"]) == {0, 1, 2}
    assert json.loads(one.runs["specification"][0])["algorithm"]["learning_rate"] == 0.02
    assert compared[1].tuned == 0


def test_the_numbers_are_those_of_the_runs(done):
    _, _, compared = done
    for one, row in zip(compared, rows_of(compared)):
        if one.why is not None:
            continue
        reached = one.runs["reached"].to_numpy(bool)
        assert row["reached"] == reached.sum()
        if reached.all():  # three runs: the middle one is the median
            assert row["median"] == np.median(one.runs["measurements"])
        if row["device"] == "open":
            assert row["device_seconds_low"] == pytest.approx(0.5 * row["median_low"])
        assert row["score_median"] == np.median(one.runs["score"])


def test_what_a_method_needs_of_the_chip(done):
    exact, weights, *_ = (one.needs for one in done[2])
    assert (exact.sources, weights.sources) == (0, 200)  # 49 · 4 weights and 4 biases
    # θ and the sum of estimates; Adam's two moments beside them
    assert 2 <= weights.memory < 2.2
    assert 4 <= exact.memory < 4.2


def test_the_best_method_at_each_access_level():
    row = {"task": "t", "device": "d", "runs": 9, "quantity": "measurements",
           "median_low": None, "median_high": None, "score_median": 0.5}  # fmt: skip
    rows = [
        {**row, "method": "a", "access": "cost", "median": 100.0},
        {**row, "method": "b", "access": "cost", "median": None},
        {**row, "method": "c", "access": "sites", "median": 200.0},
        {**row, "method": "d", "access": "gradients", "median": 10.0},
    ]
    best = [(one["access"], one["method"]) for one in best_of(rows)]
    assert best == [("cost", "a"), ("sites", "a"), ("gradients", "d")]
    rows = [{**row, "method": m, "access": "cost", "median": None, "score_median": s}
            for m, s in (("a", 0.5), ("b", 0.7))]  # fmt: skip
    assert best_of(rows)[0]["method"] == "b"


def test_the_page_has_a_vector_figure_and_tables_for_others(done):
    asked, out, compared = done
    text = write_page(asked, compared, out).read_text("utf-8")
    assert "<svg" in text
    assert "needs gradients" in text
    cells = pd.read_csv(out / "report/cells.csv")
    assert list(cells["method"]) == ["exact", "weights", "weights"]
    assert (out / "report/curves.svg").is_file()


def test_it_goes_on_with_what_is_there(done):
    asked, out, compared = done
    again = compare(asked, out)
    for one, other in zip(compared, again):
        if one.why is None:
            assert one.runs["finished"].equals(other.runs["finished"])  # nothing was run again
    fewer = asked.model_copy(update={"methods": {"weights": asked.methods["weights"]}})
    assert [one.pairing.method for one in compare(fewer, out)] == ["weights", "weights"]
    compare(asked, out)
    other = asked.model_copy(update={"seeds": 4})
    with pytest.raises(RequestError, match="holds another comparison"):
        compare(other, out)


@pytest.mark.long
def test_from_the_shell(done, tmp_path):
    _, out, _ = done
    file = out / "compare.toml"
    run = CliRunner().invoke(
        app, ["compare", str(file), "--out", str(out), "--resume", "--json"],
        catch_exceptions=False,
    )  # fmt: skip
    told = json.loads(run.stdout)
    assert [row["method"] for row in told["rows"]] == ["exact", "weights"] * 2
    assert told["best"]
    with pytest.raises(RequestError, match=r"holds no comparison to resume; leave out --resume"):
        CliRunner().invoke(
            app, ["compare", str(file), "--out", str(tmp_path / "no"), "--resume"],
            catch_exceptions=False,
        )  # fmt: skip


def test_candidates_are_as_many_for_every_method():
    rate = Method(algorithm={}, tune={"learning_rate": [0.01, 1.0]}).candidates(3)
    assert rate == [{"algorithm.learning_rate": x} for x in (0.01, 0.1, 1.0)]
    both = Method(algorithm={}, tune={"a": [0.01, 1.0], "population": [8, 32]}).candidates(8)
    assert len(both) == 8
    assert {one["algorithm.population"] for one in both} == {8, 32}
    assert all(0.01 <= one["algorithm.a"] <= 1.0 for one in both)
    only = Method(algorithm={}, tune={"population": [8, 16, 32]}).candidates(5)
    assert [one["algorithm.population"] for one in only] == [8, 16, 32]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"methods": {}}, "methods"),
        ({"devices": {"../x": "xor"}}, "devices"),
        ({"tasks": {"xor": "xorr"}}, "no preset 'xorr'; did you mean xor"),
        ({"methods": {"m": {"algorithm": {"kind": "weight-mgdd"}}}}, "did you mean weight-mgd"),
        ({"methods": {"m": {"algorithm": {"kind": "spsa", "a": 1.0}, "only": ["opn"]}}},
         "the device 'opn' is unknown; did you mean open"),
        ({"methods": {"m": {"algorithm": {"kind": "spsa", "a": 1.0}, "tune": {"a": [1.0, 0.1]}}}},
         "needs two ends, low < high"),
        ({"set": {"until.measurements": 0}}, "until.measurements"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_before_anything_runs(tmp_path, change, said):
    import tomlkit

    file = tmp_path / "wrong.toml"
    file.write_text(tomlkit.dumps({**ASKED, **change}))
    with pytest.raises(RequestError, match=said):
        compare(read_comparison(file), tmp_path / "out")
    assert not (tmp_path / "out").exists()
