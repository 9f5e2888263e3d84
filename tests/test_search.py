"""The search of a setting in each cell of a study."""

import json
from pathlib import Path

import numpy as np
import pytest

from dither import RequestError
from dither.studies import Search, run_study, store
from dither.training import Replica, StopReason, Until

STUDY = """
name = "searched"
base = "nist7x7"
seeds = 4

[set]
"until.measurements" = 4000
"until.score" = 0.9
score_every = 200

[axes]
"algorithm.delta" = [0.01, 0.03]

[search]
low = 0.001
high = 10.0
trials = 8
at_once = 4
seeds = 2
measurements = 4000
"""


def test_it_finds_the_bottom_of_a_valley() -> None:
    """Of 12 values over five decades, the best is within a factor of 2 of a known optimum."""
    search = Search(low=1e-3, high=1e2, trials=12, at_once=4)
    found = []
    for bottom in (0.003, 0.2, 40.0):
        tried: list[float] = []
        worth: list[float] = []
        while values := search.propose(tried, worth):
            tried += values
            worth += [np.log(value / bottom) ** 2 for value in values]
        assert len(tried) == 12
        found.append(tried[int(np.argmin(worth))] / bottom)
    assert np.all(np.abs(np.log2(found)) < 1.5), found


def test_what_a_trial_is_worth() -> None:
    search = Search(low=0.1, high=1.0, seeds=3)
    until = Until(score=0.9, measurements=1000)

    def run(reason: str, score: float | None, measurements: int) -> Replica:
        return Replica(0, StopReason(reason), score, None, {"measurements": measurements})

    reached = [run("score", 0.9, 100), run("score", 0.95, 300), run("score", 0.9, 200)]
    assert search.worth(reached, until) == 200
    short = [run("measurements", 0.5, 1000), *reached[:1], run("measurements", 0.7, 1000)]
    assert search.worth(short, until) == pytest.approx(1000 * 1.2)
    lost = [run("diverged", None, 10), run("diverged", 0.1, 10), *reached[:1]]
    assert search.worth(lost, until) == 10_000
    no_target = Until(measurements=1000)
    better = search.worth([run("measurements", 0.8, 1000)], no_target)
    assert better < search.worth([run("measurements", 0.7, 1000)], no_target)


def test_each_cell_is_searched_and_run_at_what_was_found(tmp_path: Path) -> None:
    file = tmp_path / "searched.toml"
    file.write_text(STUDY)
    table = run_study(file, tmp_path / "out")
    runs, trials = table[table["role"] == "run"], table[table["role"] == "trial"]
    assert len(runs) == 2 * 4
    assert len(trials) == 2 * 8 * 2
    assert not set(runs["seed"]) & set(trials["seed"])
    for delta, mine in runs.groupby("algorithm.delta"):
        tried = trials[trials["algorithm.delta"] == delta]
        assert (mine["searched"] == tried["measurements"].sum()).all()
        worth = {
            value: np.median(np.where(of["reached"], of["measurements"],
                                      4000 * (1 + np.maximum(0.9 - of["score"], 0))))
            for value, of in tried.groupby("algorithm.learning_rate")
        }  # fmt: skip
        chosen = mine["algorithm.learning_rate"].unique()
        assert len(chosen) == 1
        assert worth[chosen[0]] == min(worth.values())
        asked = json.loads(mine["specification"].iloc[0])
        assert asked["algorithm"]["learning_rate"] == chosen[0]


def test_a_search_that_was_cut_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "searched.toml"
    file.write_text(STUDY)
    whole = run_study(file, tmp_path / "out")
    kept = store.done(tmp_path / "out")
    runs = whole[whole["role"] == "run"]
    # a job is done again where one of its cell's runs is missing
    lost = {*runs.groupby("algorithm.delta")["run"].first(), *whole["run"][::3]}
    for name in lost:
        (tmp_path / "out" / "runs" / f"{name}.parquet").unlink()
    again = run_study(file, tmp_path / "out")
    assert store.done(tmp_path / "out") == kept
    columns = ["run", "seed", "score", "measurements", "algorithm.learning_rate"]
    assert again[columns].equals(whole[columns])


def test_ends_in_the_wrong_order_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "searched.toml"
    file.write_text(STUDY.replace("low = 0.001", "low = 100.0"))
    with pytest.raises(RequestError, match="low must be below high"):
        run_study(file, tmp_path / "out")
    file.write_text(STUDY.replace("[search]", '[search]\nkey = "algorithm.delta"'))
    with pytest.raises(RequestError, match="both an axis and searched"):
        run_study(file, tmp_path / "out")


def test_listed_values_are_one_round_that_ends_when_one_has_won() -> None:
    search = Search(values=(0.1, 1.0, 3.0), share=0.75, seeds=4)
    assert search.propose([], []) == [0.1, 1.0, 3.0]
    assert search.propose([0.1, 1.0, 3.0], [1.0, 2.0, 3.0]) == []
    until = Until(score=0.9, measurements=1000)
    took = [Replica(0, StopReason.SCORE, 0.9, 0.1, {"measurements": 100 * n}) for n in (1, 2, 3, 4)]
    assert search.worth(took, until) == 350  # three of four by 300, more than three by 400
    reasons = np.array(["score"] * 3 + [""] * 5 + ["score"] * 3 + ["measurements"])
    assert not search.decided(reasons)
    reasons[3] = "score"
    assert search.decided(reasons)
    several = Search(low=0.1, high=1.0, trials=8, at_once=4, seeds=4)
    assert not several.decided(np.array(["score"] * 16))
    with pytest.raises(ValueError, match="either low and high or a list"):
        Search(low=0.1, high=1.0, values=(0.1,))
    with pytest.raises(ValueError, match="either low and high or a list"):
        Search(low=0.1)
