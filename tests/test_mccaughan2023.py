"""McCaughan2023 run again, at a tiny scale."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from dither.papers import Made, Row
from dither.papers.mccaughan2023.figures import TAU_P, hardware, solved, sweep
from dither.papers.scale import Scale
from dither.studies import load_study

SMALL = {
    "only": {"problem": ["xor"]},
    "axes": {"problem": {"until.measurements": [4_000]}},
    "search": {"values": [1.0, 3.0], "seeds": 2},
    "seeds": 4,
}
TINY = Scale(
    "mccaughan2023",
    {
        "studies": {
            "cost-noise": {
                **SMALL,
                "seeds": 8,
                "only": {"form": ["weight-mgd"], "problem": ["parity4"]},
                "axes": {
                    "problem": {
                        "label": ["xor"],
                        "task": [{"kind": "xor"}],
                        "device.network.widths": [[2, 2, 1]],
                        "until.measurements": [4_000],
                        "score_every": [200],
                    },
                    "sigma": {"device.imperfections.0.sigma": [0.0, 10.0]},
                },
            },
            "hardware": SMALL,
        }
    },
)


def silent(what: str, share: float) -> None:
    assert what
    assert 0 <= share <= 1 + 1e-9


def pick(made: Made, **wanted: object) -> Row:
    (row,) = (r for r in made.rows if all(getattr(r, k) == v for k, v in wanted.items()))
    return row


def test_a_solution_has_to_last(tmp_path: Path) -> None:
    """The first of ten evaluations in a row that show the score, by each run's own curve."""
    scale = Scale(TINY.paper, TINY.table, tmp_path)
    study = scale.study("hardware")
    (found,) = solved(scale, study, silent)
    curves = load_study(tmp_path / "trainings" / "hardware", curves=True)
    for run, (_, curve) in enumerate(curves[curves["role"] == "run"].groupby("seed")):
        right, at = curve["score"].to_numpy(float) >= 1.0, curve["measurements"].to_numpy(float)
        wanted = next((at[k] for k in range(len(at) - 9) if right[k : k + 10].all()), math.inf)
        assert found.measurements[run] == wanted
        assert found.seconds[run] == wanted  # a second a measurement
    assert np.isfinite(found.measurements).any()


def test_the_learning_rate_is_chosen_by_what_it_reaches() -> None:
    budget = {"axes": {"problem": {"until.measurements": [20_000]}}, "seeds": 16}
    search = {"search": {"values": [1e-4, 2.0]}}
    (found,) = solved(TINY, TINY.study("hardware", {**budget, **search}), silent)
    assert found.rate == 2.0
    assert found.measurements.size == 16
    # the documented median at this rate is 1 400 (800 - 3 000), over 32 seeds
    assert 400 <= np.median(found.measurements) <= 6000


@pytest.fixture(scope="module")
def noise() -> Made:
    return sweep("cost-noise", TINY, silent)


def test_noise_without_end_prevents_every_solution(noise: Made) -> None:
    share, took = "share solved, xor", "measurements to solve, xor"
    clean, drowned = {"sigma": 0.0}, {"sigma": 10.0}
    assert pick(noise, quantity=share, point=drowned).measured == 0
    assert pick(noise, quantity=took, point=drowned).measured == math.inf
    assert pick(noise, quantity=share, point=clean).measured >= 0.25
    low, high = (getattr(pick(noise, quantity=share, point=drowned), f"measured_{end}")
                 for end in ("low", "high"))  # fmt: skip
    # Wilson for 0 of 8: z² / (8 + z²)
    assert low == pytest.approx(0, abs=1e-12)
    assert high == pytest.approx(1.96**2 / (8 + 1.96**2), rel=1e-3)


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
    assert np.isinf(counts[0]) or counts[0] / 200 == pytest.approx(round(counts[0] / 200))
    for seconds in TAU_P.values():
        row = pick(made, method="CIFAR-10 CNN", point={"tau_p": seconds})
        assert row.measured is None
        assert row.criterion == "not run"
        # published as 2e7 tau_p each, to one or two digits
        assert row.published == pytest.approx(2e7 * seconds, rel=0.02)


def test_quick_is_a_smaller_full() -> None:
    quick, full = (Scale.of("mccaughan2023", q).study("cost-noise") for q in (True, False))
    assert len(quick.search.values) < len(full.search.values)
    assert quick.runs < full.runs
    assert full.seeds >= 32
