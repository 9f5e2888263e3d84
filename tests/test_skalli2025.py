"""The model-free comparison run again: its methods, its budgets, its rows."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dither.devices import AbstractDevice
from dither.papers import Made, find_paper
from dither.papers.paper import known, table
from dither.papers.scale import STUDIES, Scale
from dither.papers.skalli2025 import accuracy
from dither.studies.comparison import Comparison, read_comparison
from dither.studies.store import load_study
from dither.tasks import make_task
from dither.tasks.task import Task
from dither.training.fit import check_fit

NOT_RUN = {"CMA-ES", "FD, 10 directions", "FD, 1 direction"}
TINY = {
    "seeds": 2,
    "tuning": {"trials": 1},
    "tasks": {
        "digits": {
            "task": {"kind": "digits"},
            "device": {"kind": "simulated", "network": {"kind": "mlp", "widths": [64, 10]}},
            "until": {"measurements": 300},
            "score_every": 20,
        }
    },
    "devices": {"chip": {"device": {"kind": "simulated", "access": "gradients"}}},
    "methods": {
        "backpropagation": {
            "algorithm": {"kind": "backpropagation", "learning_rate": 0.01, "optimizer": "adam"},
            "set": {"until.measurements": 200},
        },
        "SPSA": {"algorithm": {"kind": "spsa", "a": 0.3}},
    },
}


@pytest.fixture(scope="module")
def pictures() -> Task:
    """Some noise of the pictures' size."""
    rng = np.random.default_rng(0)
    x, t = rng.uniform(size=(200, 784)), rng.integers(10, size=200)
    return make_task(x, t, x, t, batch=100)


@pytest.mark.parametrize("quick", [True, False])
def test_every_method_fits_the_network_and_is_tuned_by_as_many_trials(
    quick: bool, pictures: Task
) -> None:
    scale = Scale.of("skalli2025", quick)
    asked = accuracy.comparison(scale)
    assert asked.seeds == (2 if quick else 9)
    for pairing in asked.pairings():
        device, run = pairing.specification.device, pairing.specification
        assert isinstance(device, AbstractDevice)
        check_fit(device, device.deal(pictures), run.algorithm, run.until)
        # two convolutions of 3 × 3, two dense layers: biases, then weights
        assert device.space.size == (8 + 16 + 24 + 10) + (72 + 1152 + 400 * 24 + 240)
        assert run.task.batch == 100
        assert run.until.measurements in scale["budgets"]
        assert min(scale["budgets"]) % run.score_every == 0
        tried = asked.methods[pairing.method].candidates(asked.tuning.trials)
        assert len(tried) == asked.tuning.trials


def test_the_comparison_is_one_that_the_shell_takes() -> None:
    asked = accuracy.comparison(Scale.of("skalli2025", False))
    assert read_comparison(str(files("dither.papers") / "skalli2025/comparison.toml")) == asked


def test_what_was_published_is_run_or_told_not_to_be() -> None:
    methods = set(accuracy.comparison(Scale.of("skalli2025", False)).methods)
    assert set(table("skalli2025")["method"]) == methods - {"node-perturbation"} | NOT_RUN
    assert known("skalli2025", "published", method="PGPE") == 0.9796
    assert known("skalli2025", "published", method="node-perturbation") is None


def test_the_best_within_a_budget_counts_no_later_evaluation() -> None:
    nan = float("nan")
    runs = pd.DataFrame(
        {
            "seed": [0, 0, 0, 1, 1, 2],
            "measurements": [10, 20, 30, 10, 20, 10],
            "score": [0.3, 0.2, 0.9, 0.1, 0.4, nan],
        }
    )
    assert accuracy.best(runs, 20).tolist() == [0.3, 0.4, 0.0]
    assert accuracy.best(runs, 5).tolist() == [0.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Path, Callable[[], Made]]:
    folder = tmp_path_factory.mktemp("skalli")
    scale = Scale("skalli2025", {"budgets": [100, 200, 300]}, folder)
    told: list[float] = []

    def again() -> Made:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(accuracy, "comparison", lambda _: Comparison.model_validate(TINY))
            figures = find_paper("skalli2025").figures
            return figures["accuracy"](scale, lambda _, share: told.append(share))

    first = again()
    assert all(0 <= share <= 1 for share in told)
    return first, folder, again


def test_a_row_is_the_median_of_the_runs_best_evaluations(made) -> None:
    rows = {(row.method, row.quantity): row for row in made[0].rows}
    budgets = (100, 200, 300)
    for method in ("backpropagation", "SPSA"):
        folder = made[1] / STUDIES / "runs" / "digits" / "chip" / method / "runs"
        curves = load_study(folder, curves=True)
        for budget in budgets:
            row = rows[method, f"best test accuracy within {budget} measurements"]
            if method == "backpropagation" and budget == 300:
                assert row.measured is None
                assert row.criterion == "not run"
                continue
            best = [max(s for s, m in zip(run["score"], run["measurements"]) if m <= budget)
                    for _, run in curves.groupby("seed")]  # fmt: skip
            assert row.measured == max(best)  # the upper one of two
            assert (row.measured_low, row.measured_high, row.runs) == (min(best), max(best), 2)
    least = rows["backpropagation", "best test accuracy within 100 measurements"].measured
    assert least is not None
    assert least > 0.6  # a linear readout of digits learns


def test_published_numbers_stand_once_also_of_what_is_not_run(made) -> None:
    published = {row.method: row for row in made[0].rows if row.published is not None}
    assert set(published) == set(table("skalli2025")["method"])
    assert sum(row.published is not None for row in made[0].rows) == len(published)
    assert all(published[method].criterion == "not run" for method in NOT_RUN)
    assert published["SPSA"].published == 0.9158


def test_what_is_kept_is_not_run_again(made, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("dither.studies.job.train_together", refuse)
    assert made[2]().rows == made[0].rows
