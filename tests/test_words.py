"""Numbers in words, how a score is shown, and why a run stopped: one home each."""

import math

import numpy as np
import pandas as pd
import pytest

from dither import MLP, RequestError, WeightMGD
from dither._words import count, duration, estimate, number, rounded, short, text_of
from dither.instruments.connection import LabDevice
from dither.tasks.scores import display_of
from dither.training import StopReason
from dither.training.history import held, quartiles
from dither.training.settings import setting, settings


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (number(None), "—"),
        (number(math.nan), "—"),
        (number(-math.inf), "−∞"),
        (number(0.70711), "0.7071"),
        (number(-12500.4), "−12\u202f500"),
        (count(1234567), "1 234 567"),
        (count(-1234), "−1 234"),
        (estimate(1.0234, 0.97, 1.08), "1.02 (0.97–1.08)"),
        (estimate(-0.5, -1.5, math.inf), "−0.50 (−1.50 to ∞)"),
        (short(950), "950"),
        (short(12_000), "12k"),
        (short(1e-5), "10⁻⁵"),
        (short(-2.5e-12), "−2.5·10⁻¹²"),
        (short(-0.2), "−0.2"),
        (text_of(1.0), "1"),
        (text_of("abcdef", 4), "abc…"),
        (duration(7500), "2 h 5 min"),
        (rounded(0.123456, 3), 0.123),
    ],
)
def test_numbers_read_the_same_everywhere(said: object, text: object) -> None:
    assert said == text


def test_each_stop_reason_says_how_to_go_on() -> None:
    assert {reason.value for reason in StopReason if reason.failed} == {"diverged", "failures"}
    for reason in StopReason:
        assert reason == StopReason(reason.value)
        assert f"{reason}" == reason.value
        assert reason.advice.endswith(".")
        assert reason.advice.count(".") <= 1 + reason.advice.count("until.")


def test_a_score_is_shown_as_what_it_lacks_where_that_says_more() -> None:
    nmse, accuracy, cost = display_of("1 - NMSE"), display_of("accuracy"), display_of(None)
    assert (nmse.quantity, nmse.log, nmse.of(0.75)) == ("test NMSE", True, 0.25)
    assert (accuracy.quantity, accuracy.of(0.75)) == ("test accuracy", 0.75)
    assert (cost.column, cost.quantity) == ("test_cost", "test cost")
    assert display_of("1 - SER").quantity == "test 1 - SER"


def test_a_replica_that_has_ended_keeps_its_last_value() -> None:
    lines = np.array([[1.0, 4.0, 7.0], [2.0, np.nan, 8.0], [3.0, np.nan, np.nan]])
    np.testing.assert_array_equal(held(lines), [[1, 4, 7], [2, 4, 8], [3, 4, 8]])
    np.testing.assert_array_equal(quartiles(pd.DataFrame(lines))[1], [4, 4, 4])


def test_settings_are_found_by_their_key_path() -> None:
    table = {"device": {"imperfections": [{"sigma": 0.1}]}, "seed": None}
    assert setting(table, "device.imperfections.0.sigma") == 0.1
    assert setting(table, "device.imperfections.1.sigma") is None
    assert settings({"algorithm": {"delta": 0.1}, "seed": None}) == {"algorithm.delta": "0.1"}


def test_an_offer_ends_with_its_question_mark():
    with pytest.raises(RequestError, match=r"did you mean .*adam.*\?$"):
        WeightMGD(learning_rate=0.1, delta=0.1, optimizer={"name": "adamm"})


def test_lists_and_tables_are_named_as_files_have_them():
    with pytest.raises(RequestError, match=r"^MLP: widths: must be a list \(given: 2\)\.$"):
        MLP(widths=2)
    with pytest.raises(RequestError, match=r"arguments: must be a table \(given: 3\)\.$"):
        LabDevice(object="lab.py:Chip", arguments=3)
