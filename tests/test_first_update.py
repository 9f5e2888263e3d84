"""A first update that a run does not come to is told before anything is measured."""

import itertools

import jax.numpy as jnp
import pytest

import dither
from dither import MLP, SimulatedDevice, Until
from dither.algorithms import FiniteDifferences, NodePerturbation, WeightMGD
from dither.algorithms.timetable import Timetable
from dither.algorithms.whitened import WhitenedNodePerturbation
from dither.contract import Clock
from dither.tasks import XOR
from dither.training.train import TrapWarning

CHIP = SimulatedDevice(network=MLP(widths=(2, 3, 1)), access="sites")


def counted(times: Timetable) -> int:
    """The measurements up to the first update, by walking through them."""
    clock, number = Clock(jnp.int32(0), jnp.int32(0)), 1
    first = 8 if times.tries else 0
    while not (times.closes(clock.tick) and int(clock.tick) // times.tau_theta == first
               and clock.part == times.last_perturbed):  # fmt: skip
        clock, number = times.after(clock), number + 1
    return number


@pytest.mark.parametrize("central", [False, True])
def test_the_measurements_until_the_first_update(central):
    for turns, tau_x, tau_theta in itertools.product((1, 3), (1, 2, 5), (1, 4)):
        times = Timetable(turns, central, False, tau_x, tau_theta, False)
        assert times.until_update() == counted(times)
    assert Timetable(1, False, True, 1, 7, False).until_update() == 7


@pytest.mark.parametrize("central", [False, True])
def test_updates_that_are_only_tried_come_first(central):
    times = Timetable(2, central, False, 4, 4, True)
    assert times.until_update() == counted(times)


@pytest.mark.parametrize(
    ("rule", "due"),
    [
        (WeightMGD(learning_rate=0.1, delta=0.1, tau_theta=60), 120),
        (WeightMGD(learning_rate=0.1, delta=0.1, tau_theta=51, pairs="central"), 102),
        (NodePerturbation(learning_rate=0.1, layers="each", tau_theta=40), 120),
        (WhitenedNodePerturbation(learning_rate=0.1, sets=150), 151),
        (FiniteDifferences(learning_rate=0.1, delta=0.1, tau_theta=9), 126),
    ],
)
def test_a_first_update_beyond_the_budget_is_a_trap(rule, due):
    with pytest.warns(TrapWarning, match=f"due after {due} measurements, but the run takes 100"):
        result = dither.train(CHIP, XOR(), rule, until=Until(measurements=100))
    assert any("nothing is trained" in trap for trap in result.warnings)


def test_a_first_update_within_the_budget_is_none(recwarn):
    rule = WeightMGD(learning_rate=0.1, delta=0.1, tau_theta=50)
    dither.train(CHIP, XOR(), rule, until=Until(measurements=100))
    assert not [w for w in recwarn if w.category is TrapWarning]


def test_periods_beyond_counting_are_a_trap_too():
    rule = FiniteDifferences(learning_rate=0.1, delta=0.1, tau_theta=2**31 - 1)
    with pytest.warns(TrapWarning, match="nothing is trained"):
        dither.train(CHIP, XOR(), rule, until=Until(measurements=20))
