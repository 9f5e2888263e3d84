"""McCaughan2023 run again, at a tiny scale; its trainings against `dither.train`."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import Until
from dither.devices.imperfections import CostNoise
from dither.papers import Made, Row, find_paper
from dither.papers.mccaughan2023.hardware import PUBLISHED_CIFAR10, TAU_P, hardware
from dither.papers.mccaughan2023.runs import (
    LASTING,
    PROBLEMS,
    Cell,
    Trials,
    lasting,
    method,
    scores,
    tuned,
)
from dither.papers.mccaughan2023.scale import FULL, QUICK, Scale
from dither.papers.mccaughan2023.sweeps import cost_noise

TINY = Scale(
    rates=(1.0, 3.0),
    tuning_seeds=2,
    budgets=(("xor", 4_000),),
    noisy=("xor",),
    cost_noises=(0.0, 10.0),
    update_noises=(0.0,),
    defects=(0.0,),
    codes=("rademacher",),
    periods=(1,),
    forms=("weight-mgd",),
)


def silent(what: str, share: float) -> None:
    assert what
    assert 0 <= share <= 1 + 1e-9


def pick(made: Made, **wanted: object) -> Row:
    (row,) = (r for r in made.rows if all(getattr(r, k) == v for k, v in wanted.items()))
    return row


@pytest.mark.parametrize("form", ["weight-mgd", "analog-mgd"])
@pytest.mark.usefixtures("x64")
def test_trainings_side_by_side_are_those_of_train(form: str) -> None:
    """A learning rate and a sigma that are traced give the run that a specification gives."""
    problem = PROBLEMS["xor"]
    cell = Cell(method(form), problem.device(CostNoise(sigma=0.0)), varied=True)
    trials = Trials(jnp.asarray([1.0, 3.0]), jnp.asarray([0.0, 0.02]), jnp.asarray([5, 7]))
    found = scores(cell, problem.task.load(), trials, 600, 20, lambda _: False, lambda _: None)
    result = dither.train(
        problem.device(CostNoise(sigma=0.02)),
        problem.task,
        method(form).model_copy(update={"learning_rate": 3.0}),
        key=7,
        until=Until(measurements=600),
        score_every=20,
    )
    assert np.array_equal(result.history["score"].to_numpy(), found[:, 1])
    assert len(np.unique(found[:, 1])) > 1
    assert not np.array_equal(found[:, 0], found[:, 1])


def test_a_solution_has_to_last() -> None:
    solved = np.zeros((40, 4), bool)
    solved[3:12, 0] = True  # nine in a row
    solved[20:30, 1] = True
    solved[5:, 2] = solved[30:, 3] = True
    wanted = [
        next((100 * (k + 1) for k in range(40 - LASTING + 1) if column[k : k + LASTING].all()),
             math.inf)
        for column in solved.T
    ]  # fmt: skip
    assert wanted == [math.inf, 2100, 600, 3100]
    assert lasting(solved.astype(float), 1.0, 100).tolist() == wanted
    assert np.all(np.isinf(lasting(solved[:5].astype(float), 1.0, 100)))


def test_the_learning_rate_is_chosen_by_what_it_reaches() -> None:
    problem = PROBLEMS["xor"]
    cell = Cell(method("weight-mgd"), problem.device())
    (found,) = tuned(problem, cell, (0.0,), (1e-4, 2.0), 2, 6000, lambda _: None)
    assert found.rate == 2.0
    assert found.measurements.size == 4
    # the documented median at this rate is 1 400 (800 - 3 000), over 32 seeds
    assert 400 <= np.median(found.measurements) <= 6000


@pytest.fixture(scope="module")
def noise() -> Made:
    return cost_noise(TINY, silent)


def test_noise_without_end_prevents_every_solution(noise: Made) -> None:
    share, took = "share solved, xor", "measurements to solve, xor"
    clean, drowned = {"sigma": 0.0}, {"sigma": 10.0}
    assert pick(noise, quantity=share, point=drowned).measured == 0
    assert pick(noise, quantity=took, point=drowned).measured == math.inf
    assert pick(noise, quantity=share, point=clean).measured >= 0.25
    low, high = (getattr(pick(noise, quantity=share, point=drowned), f"measured_{end}")
                 for end in ("low", "high"))  # fmt: skip
    # Wilson for 0 of 4: z² / (4 + z²)
    assert low == pytest.approx(0, abs=1e-12)
    assert high == pytest.approx(1.96**2 / (4 + 1.96**2), rel=1e-3)


def test_every_row_is_whole_and_plain_json(noise: Made) -> None:
    for row in noise.rows:
        assert row.figure == "cost-noise"
        entry = json.loads(json.dumps(row.as_json(), allow_nan=False))
        assert {"figure", "method", "quantity", "unit", "published", "measured"} <= set(entry)


def test_hardware_times_are_measurements_times_tau_p() -> None:
    made = hardware(TINY, silent)
    found = [pick(made, method="weight-mgd, xor", point={"tau_p": t}) for t in TAU_P.values()]
    counts = [row.measured / row.point["tau_p"] for row in found]
    assert np.allclose(counts, counts[0]) or np.all(np.isinf(counts))
    assert counts[0] % PROBLEMS["xor"].every == pytest.approx(0, abs=1e-6) or np.isinf(counts[0])
    for speed, seconds in TAU_P.items():
        row = pick(made, method="CIFAR-10 CNN", point={"tau_p": seconds})
        assert row.measured is None
        assert row.criterion == "not run"
        # published as 2e7 tau_p each, to one or two digits
        assert row.published == PUBLISHED_CIFAR10[speed] == pytest.approx(2e7 * seconds, rel=0.02)


def test_quick_is_a_smaller_full() -> None:
    paper = find_paper("mccaughan2023")
    assert (paper.full, paper.quick) == (FULL, QUICK)
    assert len(QUICK.rates) < len(FULL.rates)
    assert set(dict(FULL.budgets)) == set(PROBLEMS)
    assert FULL.seeds >= 32
