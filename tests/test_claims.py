"""README and docs say what their results hold, and say where these rest on few seeds."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("docs_claims", ROOT / "docs" / "claims.py")
assert _spec is not None
assert _spec.loader is not None
claims = sys.modules["docs_claims"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(claims)
CLAIMS = claims.read_claims()
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_page_says_what_its_result_holds(claim):
    assert list(claims.faults(claim)) == []


def test_each_claim_has_a_name_of_its_own():
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)


def test_readme_has_no_number_that_is_no_claim():
    assert claims.loose_numbers(README, CLAIMS) == []


@pytest.mark.parametrize(
    ("added", "loose"),
    [
        ("It takes 12 500 measurements.", ["12 500"]),
        ("It is 1.5 times as fast.", ["1.5"]),
        ("[3 seeds](docs/a1.md), `--seed 7`\n\n```sh\ntrain 9\n```\n", ["3"]),
    ],
)
def test_a_number_that_is_no_claim_is_found(added, loose):
    assert claims.loose_numbers(f"{README}\n## More\n\n{added}\n", CLAIMS) == loose


def test_a_claim_that_was_taken_out_leaves_its_numbers_loose():
    (taken,) = (claim for claim in CLAIMS if claim.id == "weights-or-neurons")
    left = [claim for claim in CLAIMS if claim is not taken]
    assert claims.loose_numbers(README, left) == ["10 000", *taken.stated()]


def altered(**changes):
    claim = next(claim for claim in CLAIMS if claim.id == "weights-or-neurons")
    return list(claims.faults(dataclasses.replace(claim, **changes)))


def test_what_is_wrong_with_a_claim_is_told():
    claim = next(claim for claim in CLAIMS if claim.id == "weights-or-neurons")
    first, *others = claim.stated()
    assert "does not say" in altered(says=claim.says.replace(f"{{{first}}}", "{99.5}"))[0]
    (fault,) = altered(value=f"[99.5, {', '.join(others)}]", interval="[[0, 100]]")
    assert "[99.5], which it does not state" in fault
    (fault,) = altered(value=f"[{first}]")
    assert "states 3 numbers and its result holds 1" in fault
    (fault,) = altered(interval=[[72, 73]])
    assert "outside its own interval" in fault


@pytest.mark.parametrize(("seeds", "one_run"), [(8, 0), (3, 0), (1, 0), (4, 11), (6, 9)])
def test_few_seeds_are_refused_where_the_page_does_not_tell_them(seeds, one_run):
    (fault,) = altered(seeds=seeds, one_run=one_run)
    assert f"rests on {seeds} seeds" in fault


@pytest.mark.parametrize(("seeds", "one_run"), [(0, 0), (9, 0), (32, 0), (5, 11)])
def test_enough_seeds_need_no_words(seeds, one_run):
    assert altered(seeds=seeds, one_run=one_run) == []


@pytest.mark.parametrize(
    ("stated", "value"),
    [("14 400", 14_400), ("12 300", 12_297), ("1.5k", 1_460), ("0.80", 0.804), ("71", 71.4),
     ("−0.04", -0.0412), ("∞", float("inf")), ("0", 0)],
)  # fmt: skip
def test_a_number_is_stated_to_its_decimals_or_three_digits(stated, value):
    assert claims.equal(stated, value)


@pytest.mark.parametrize(
    ("stated", "value"),
    [("14 400", 14_460), ("2 000", 1_968), ("0.80", 0.806), ("71", 71.6), ("−0.04", 0.04),
     ("∞", 1e9), ("17", 18)],
)  # fmt: skip
def test_a_number_that_is_off_is_not_the_one_stated(stated, value):
    assert not claims.equal(stated, value)


def test_a_fresh_run_outside_the_interval_is_counted(capsys):
    claim = dataclasses.replace(CLAIMS[0], value="data", interval=[[1, 3], [1, 3]])
    assert claims.compare([claim], [2.0, 2.0, 2.0], [3.0, 3.5, 99.0]) == (2, 1)
    assert capsys.readouterr().out.count("OUTSIDE") == 1
