"""What a study is said to take before it is begun."""

import math

import pytest

import dither.studies.forecast as forecasting
from dither.planning import Prediction
from dither.studies import Study
from dither.studies.forecast import forecast

BASE = {"task": "xor", "algorithm": {"kind": "weight-mgd", "learning_rate": 1.0},
        "device": {"kind": "simulated", "network": {"kind": "mlp", "widths": [2, 2, 1]}},
        "until": {"score": 1.0, "measurements": 900}}  # fmt: skip
RATES = {"algorithm.learning_rate": [1.0, 2.0, 3.0]}
TOLD = {
    1.0: Prediction(123.4, 61.0, 247.0, 1.0),
    2.0: Prediction(math.inf, 800.0, math.inf, 1.0, "not reached within 900 measurements"),
    3.0: Prediction(math.nan, math.nan, math.nan, 0.0, "there is no law"),
}


@pytest.fixture
def long(monkeypatch):
    """A study that takes long, of whose cells one is predicted, one not reached, one not known."""
    monkeypatch.setattr(forecasting, "_speed", lambda _: (2.0, 1.0))
    monkeypatch.setattr(
        forecasting, "predict_run", lambda run, **_: TOLD[run.algorithm.learning_rate]
    )


@pytest.mark.usefixtures("long")
def test_a_cell_is_predicted_or_has_its_budget_and_says_which(tmp_path):
    study = Study(base=BASE, axes=RATES, seeds=5)
    told = forecast(study, tmp_path / "none")
    assert [(row.by, row.measurements) for row in told.rows] == [
        ("prediction", 124), ("prediction", 900), ("budget", 900)
    ]  # fmt: skip
    assert told.measurements == 5 * (124 + 900 + 900)
    # one program: two seconds to compile, one for each measurement
    assert told.seconds == told.measurements + 2
    first, second, third = told.lines()[1:4]
    assert first == (
        "algorithm.learning_rate = 1.0: 5 runs of about 124 measurements (prediction; 90 %: 61 "
        "to 247)"
    )
    assert second.endswith("(prediction: not reached within 900 measurements)")
    assert third.endswith("(budget: there is no law)")
    assert told.lines()[4].startswith("at most about")


@pytest.mark.usefixtures("long")
def test_what_is_searched_has_its_budget(tmp_path):
    study = Study(base=BASE, seeds=4, search={"low": 0.1, "high": 9.0, "trials": 3, "seeds": 2})
    told = forecast(study, tmp_path / "none")
    assert [row.by for row in told.rows] == ["budget"]
    assert told.trials == 6
    assert told.measurements == (4 + 6) * 900


def test_a_short_study_pays_for_no_prediction(tmp_path, monkeypatch):
    monkeypatch.setattr(forecasting, "_speed", lambda _: (2.0, 1e-5))
    monkeypatch.delattr(forecasting, "predict_run")
    told = forecast(Study(base=BASE, axes=RATES, seeds=5), tmp_path / "none")
    assert {row.by for row in told.rows} == {"budget"}
    assert (
        told.lines()[1] == "at most 13 500 measurements; runs that reach their target end earlier"
    )
