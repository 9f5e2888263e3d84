"""The driver of the gradient rules: its timetable, its updates, and what every rule has from it."""

import itertools
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither.algorithms import ALGORITHMS, AbstractGradientRule, Backpropagation, WeightMGD
from dither.algorithms.calibration import START, TRIAL, on_trial
from dither.algorithms.timetable import Timetable
from dither.algorithms.updates import Extrapolated
from dither.contract import Clock, Measurement, Parameter, Problem, Space
from dither.tasks import Parity

RULES = sorted(kind for kind, rule in ALGORITHMS.items() if issubclass(rule, AbstractGradientRule))
DEVICE = dither.SimulatedDevice(network=dither.MLP(widths=(3, 4, 1)))


def rule(kind, **settings):
    needed = {"a": 0.5} if kind == "spsa" else {"learning_rate": 0.05}
    return ALGORITHMS[kind].model_validate({"kind": kind, **needed, **settings})


def moment(tick, part):
    return Clock(tick=jnp.int32(tick), part=jnp.int32(part))


def tables():
    for turns, central, tries in itertools.product((1, 3), (False, True), (False, True)):
        for tau_x, tau_theta in ((1, 1), (2, 6), (4, 3)):
            yield Timetable(turns, central, False, tau_x, tau_theta, tries)
    yield Timetable(1, False, True, 2, 5, False)


@pytest.mark.parametrize("times", list(tables()), ids=str)
def test_lookahead_ends_where_an_update_or_a_trial_is_due(times):
    """Counted by walking the clock: what is asked in one block rests on nothing told in it."""
    clock, after = moment(0, 0), jax.jit(times.after)
    for _ in range(60):
        tick, part = int(clock.tick), int(clock.part)
        walked, now = 0, clock
        while True:
            walked += 1
            t, p = int(now.tick), int(now.part)
            closes = (t + 1) % times.tau_theta == 0
            if closes and p in (times.last_perturbed, times.last_perturbed + TRIAL):
                break
            now = after(now)
        assert times.lookahead(clock) == walked, (tick, part)
        clock = after(clock)


@pytest.mark.parametrize("times", list(tables()), ids=str)
def test_a_tick_measures_every_turn_and_what_it_is_compared_with(times):
    """By enumeration: the parts of 12 ticks, one after another."""
    clock, parts = moment(0, 0), {}
    while int(clock.tick) < 12:
        parts.setdefault(int(clock.tick), []).append(int(clock.part))
        clock = times.after(clock)
    for tick, seen in parts.items():
        trial = times.tries and bool(on_trial(jnp.int32(tick), times.tau_theta))
        asked = seen[: len(seen) - TRIAL * trial]
        moments = [tuple(map(int, times.perturbed(jnp.int32(part)))) for part in asked]
        pairs = [(turn, side) for turn in range(times.turns) for side in (1, -1)]
        if times.exact:
            assert asked == [0]
        elif times.central:
            assert moments == pairs
        else:
            fresh = tick % times.tau_x == 0 or tick % times.tau_theta == 0
            assert moments == [(0, 0)] * fresh + [(turn, 1) for turn in range(times.turns)]


@pytest.mark.usefixtures("x64")
def test_extrapolated_against_its_recursion():
    """`θ_{t+1} = θ_t − eta A (θ_t − gamma G_{t−1})` on the cost θᵀAθ/2, written out."""
    A = np.diag([1.0, 3.0, 0.3])
    eta, gamma = 0.2, 0.15
    problem = Problem(Space((Parameter("theta", (3,)),)))
    algorithm = Backpropagation(learning_rate=eta, update={"kind": "extrapolated", "gamma": gamma})
    theta, past = np.array([1.0, -2.0, 0.5]), np.zeros(3)
    state = algorithm.init(jax.random.key(0), jnp.asarray(theta), problem)
    for _ in range(20):
        probe, state = algorithm.ask(state)
        np.testing.assert_allclose(probe.theta, theta - gamma * past, atol=1e-12)
        g = jnp.asarray(A) @ probe.theta
        state, info = algorithm.tell(state, probe, Measurement(jnp.sum(g), None, None, g))
        past, theta = A @ (theta - gamma * past), theta - eta * A @ (theta - gamma * past)
        np.testing.assert_allclose(state.theta, theta, atol=1e-12)
        assert bool(info.updated)


@pytest.mark.usefixtures("x64")
def test_no_extrapolation_is_plain_descent():
    task, until = Parity(bits=3), dither.Until(measurements=200)
    plain = WeightMGD(learning_rate=0.2, delta=0.05, pairs="central", tau_theta=3)
    other = plain.model_copy(update={"update": Extrapolated(gamma=0.0)})
    one, two = (dither.train(DEVICE, task, a, until=until) for a in (plain, other))
    assert np.array_equal(one.parameters, two.parameters)


@pytest.mark.parametrize("kind", [kind for kind in RULES if kind not in ("spsa", "boolean-mgd")])
def test_every_rule_has_the_rate_auto(kind):
    """The first updates are only tried, the next one is made, and the cost falls."""
    auto = rule(kind, learning_rate="auto")
    task = Parity(bits=3)
    until = dither.Until(measurements=4000)
    result = dither.train(DEVICE, task, auto, until=until, replicas=5, score_every=1000)
    costs = result.history.groupby("replica")["test_cost"]
    assert np.isfinite(costs.last()).all()
    assert costs.last().median() < 0.9 * costs.first().max()
    assert START == 8


def test_spsa_has_no_rate_to_be_found():
    with pytest.raises(ValueError, match="Extra inputs"):
        rule("spsa", learning_rate="auto")


# the parameters of boolean-mgd have two settings and cannot be thrown further
@pytest.mark.long
@pytest.mark.parametrize("kind", [kind for kind in RULES if kind != "boolean-mgd"])
def test_every_rule_clips_outliers_or_says_why_not(kind):
    if ALGORITHMS[kind].exact:
        with pytest.raises(ValueError, match="does not measure"):
            rule(kind, outliers=5.0)
        return
    until = dither.Until(measurements=300)
    noisy = dither.SimulatedDevice(
        network=dither.MLP(widths=(3, 4, 1)),
        imperfections=({"kind": "bursts", "probability": 0.05, "sigma": 100.0, "on": "cost"},),
    )
    moved = {}
    for limit in (None, 3.0):
        settings = {} if limit is None else {"outliers": limit}
        result = dither.train(noisy, Parity(bits=3), rule(kind, **settings), until=until)
        moved[limit] = np.nan_to_num(np.abs(result.parameters), nan=np.inf).max()
    # a whitened step is divided by the size of the changes, outliers among them
    assert moved[3.0] < (2.0 if kind == "whitened-node-perturbation" else 0.5 * moved[None])


def test_training_by_hand():
    """`examples/by_hand.py` reads as it is meant to, runs, and solves its problem."""
    example = Path(__file__).parents[1] / "examples" / "by_hand.py"
    lines = example.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60
    ran = subprocess.run([sys.executable, example], capture_output=True, text=True, check=True)
    assert "XOR after" in ran.stdout
