"""When a run will be at its target, by the curve of a run like it."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from dither import Specification
from dither._errors import RequestError
from dither._words import duration
from dither.cli import app
from dither.planning.left import Curve, End, curves_of, expected, expected_of, foreseer
from dither.training.folder import write_history
from dither.training.history import read_history
from dither.training.progress import ProgressBar
from dither.watch import RunWatch, watch_folder
from dither.watch.run import _time_left

FLOWS = {
    "exponential": lambda t: 1 - 0.9 * np.exp(-t),
    "power law": lambda t: 1 - 0.9 / (1 + t),
    "plateau first": lambda t: 1 - 0.9 / (1 + np.exp(2 * (t - 3))),
}
INVERSE = {
    "exponential": lambda s: np.log(0.9 / (1 - s)),
    "power law": lambda s: 0.9 / (1 - s) - 1,
    "plateau first": lambda s: 3 + np.log(0.9 / (1 - s) - 1) / 2,
}
TARGET = 0.8


def flow(name, tau, upto, noise=0.0, seed=0, n=100):
    """Scores at n evaluations of a law with the time scale tau."""
    m = np.linspace(upto / n, upto, n)
    scatter = noise * np.random.default_rng(seed).normal(size=n)
    return Curve(m, FLOWS[name](m / tau) + scatter)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("faster", [0.2, 1.0, 7.0])
def test_a_run_that_follows_the_same_law_at_another_speed_is_told_its_end(name, faster):
    slow, part = 1000.0, 0.4
    T = INVERSE[name](TARGET)
    like = flow(name, slow, T * slow)
    end = T * slow / faster
    told = expected(flow(name, slow / faster, part * end), [like])
    # the grid of stretches is 4 % wide; the curve is averaged over three of a hundred points
    assert told.measurements == pytest.approx(end, rel=0.1)


@pytest.mark.parametrize("name", FLOWS)
def test_noise_of_the_scores_averages_out(name):
    T = INVERSE[name](TARGET)
    ends = []
    for seed in range(40):
        like = [flow(name, 1000.0, T * 1000, 0.02, 100 * seed + k) for k in range(1, 4)]
        ends.append(expected(flow(name, 250.0, T * 125, 0.02, seed), like).measurements)
    logs = np.log(np.array(ends) / (250 * T))
    assert abs(np.median(logs)) < 0.05 + 4 * 1.25 * np.std(logs) / np.sqrt(len(logs))
    assert np.std(logs) < 0.2


def test_a_straight_line_is_wrong_where_the_law_is_right():
    T = INVERSE["power law"](TARGET) * 100
    m, s = flow("power law", 100.0, T / 10)
    slope, start = np.polyfit(m, s, 1)
    told = expected(Curve(m, s), [flow("power law", 1000.0, T * 10)])
    assert (TARGET - start) / slope < 0.5 * T
    assert told.measurements == pytest.approx(T, rel=0.1)


def test_single_curves_give_the_range_and_replicas_at_the_target_are_left_out():
    T = INVERSE["exponential"](TARGET)
    like = [flow("exponential", tau, T * tau) for tau in (100.0, 200.0, 400.0)]
    past = flow("exponential", 50.0, T * 25, n=20)
    one = expected(past, like)
    assert one.low <= one.measurements <= one.high
    frame = pd.DataFrame({"replica": 0, "measurements": past.measurements, "score": past.score})
    there = frame.assign(replica=1, score=0.9)
    assert expected_of(pd.concat([frame, there]), like, TARGET) == one
    assert expected_of(there, like, TARGET) is None
    assert expected(Curve(past.measurements[:2], past.score[:2]), like) is None


def test_a_curve_ends_where_the_target_is_first_reached():
    frame = pd.DataFrame({"replica": [0] * 5 + [1] * 5, "measurements": [*range(10, 60, 10)] * 2,
                          "score": [0.1, 0.5, 0.85, 0.7, 0.9, 0.1, 0.2, 0.3, 0.2,
                                    0.3]})  # fmt: skip
    (curve,) = curves_of(frame, TARGET)
    assert list(curve.measurements) == [10, 20, 30]


def run(**until):
    return Specification.model_validate({
        "task": {"kind": "nist7x7", "batch": 16}, "score_every": 8,
        "device": {"kind": "simulated", "network": {
            "kind": "mlp", "widths": [49, 4, 4], "activation": "sigmoid", "output": "sigmoid"}},
        "algorithm": {"kind": "node-perturbation", "learning_rate": 0.3},
        "until": {"measurements": 20_000, "score": 0.9, **until},
    })  # fmt: skip


def test_the_bar_and_the_page_tell_it_while_a_run_goes_on(tmp_path):
    like = tmp_path / "like"
    run().model_copy(update={"seed": 1}).train(like)
    curves = curves_of(read_history(like / "history.parquet"), 0.9)
    end, totals, ends = End(like, 0.9), [], []
    bar = ProgressBar("any", end)

    def look(now):
        bar(now)
        totals.append((len(now.history.rows), bar.bar.tasks[0].total))
        ends.append((len(now.history.rows), end(now)))

    result = run().train(tmp_path / "run", observers=[look])
    history = result.history
    for (n, total), (_, told) in zip(totals, ends):
        past = Curve(*history[["measurements", "score"]].to_numpy(float)[:n].T)
        due = expected(past, curves)
        assert told == (None if due is None else due.measurements)
        assert total == (20_000 if due is None else min(due.measurements, 20_000))
    assert any(told is not None for _, told in ends)
    # the page has read the history once it looks
    watch = RunWatch(tmp_path / "run", like)
    assert watch.look(0.0).head.mood == "ended"
    assert watch.expected is None  # at its target
    # one evaluation before
    write_history(tmp_path / "run", history[:-1])
    past = Curve(*history[["measurements", "score"]].to_numpy(float)[:-1].T)
    due = expected(past, curves)
    watch.look(0.0)
    assert watch.expected == due
    progress = {"measurements": 8, "rate": 4.0}
    tile = _time_left({**progress, "left_seconds": 1e9}, due)
    assert tile.value == duration((due.measurements - 8) / 4.0)
    assert _time_left({**progress, "left_seconds": 0.5}, due).value == duration(0.5)


def test_wrong_requests_are_told_in_a_sentence(tmp_path, monkeypatch):
    low = tmp_path / "low"
    run(score=0.4, measurements=40).train(low)
    with pytest.raises(RequestError, match=r"did not reach 0\.99"):
        foreseer(low, 0.99)
    with pytest.raises(RequestError, match=r"set until\.score"):
        foreseer(low, None)
    with pytest.raises(RequestError, match="none"):
        watch_folder(low, tmp_path / "none")
    monkeypatch.setattr(sys.modules["dither.cli.train"], "use_all_cores", lambda: None)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["train", "nist7x7", "--like", str(tmp_path / "none")])
    assert done.exit_code != 0
    assert isinstance(done.exception, RequestError)
    assert not (tmp_path / "runs").exists()


def plan_in(folder, name, tau, end):
    """A plan whose recommended row follows a law to the target at `end`, and goes on after it."""
    m, s = flow(name, tau, 1.2 * end)
    curve = [[0.0, 0.1], *zip(m.tolist(), s.tolist())]
    other = {"curve": [[1.0, 0.1]], "measurements": 7.0}
    rows = [other, {"curve": curve, "measurements": end}]
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps({"rows": rows, "best": 1, "target": TARGET}))


@pytest.mark.parametrize("name", FLOWS)
def test_a_plan_gives_the_end_as_a_run_of_its_law(name, tmp_path):
    """A run of the same law, 1.5 times as slow, ends after 1.5 times the predicted."""
    end = float(INVERSE[name](TARGET)) * 1000
    plan_in(tmp_path / "plan", name, 1000, end)
    m, s = flow(name, 1500, 0.6 * 1.5 * end, n=40)
    history = pd.DataFrame({"replica": 0, "measurements": m, "score": s})
    told = foreseer(tmp_path / "plan", TARGET)(history)
    # stretches are 4 % apart, and smoothing bends the curve
    assert told.measurements == pytest.approx(1.5 * end, rel=0.1)


@pytest.mark.parametrize("best", [0, None])
def test_a_plan_for_another_target_gives_no_end(best, tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps({"rows": [], "best": best, "target": 0.7}))
    with pytest.raises(RequestError, match=r"has no method that reaches 0\.8; plan for this score"):
        foreseer(tmp_path, TARGET)
