"""Coordinate descent and Boolean least squares against plain NumPy, closed forms, brute force."""

import itertools
import math
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from jaxtyping import Array
from scipy.stats import binom, chi2

from dither import RequestError
from dither.algorithms import BooleanLeastSquares, CoordinateDescent
from dither.algorithms.boolean_search import solve
from dither.contract import Measurement, Outputs, Parameter, Problem, Space
from dither.devices import DAC, ReadoutDevice, SimulatedDevice
from dither.networks import MLP, PhotonicReservoir
from dither.tasks import MackeyGlass, SeriesTask, nmse, nmse_cost
from dither.training.fused import Tally, measure_once, replica_axes, start_all

SERIES = MackeyGlass(washout=20, train=60, test=40, skip=100.0)
T = 60


def mirrors(number, weights="boolean"):
    low, high, levels = {"boolean": (0.0, 1.0, 2), "ternary": (-1.0, 1.0, 3)}[weights]
    return Space((Parameter("readout", (number,), low, high, levels),))


# ------------------------------------------------------------------------- driven by made-up costs


class Seen(eqx.Module):
    """One measurement: what was written, what the device then held, what came back, what is kept
    after it.
    """

    places: Array
    values: Array
    updated: Array
    held: Array
    cost: Array
    theta: Array
    error: Array
    tests: Array
    kept: Array


@partial(jax.jit, static_argnums=(0, 2, 5))
def drive(algorithm, world, space, theta, keys, n):
    """n measurements from each key, of the cost `world(weights, tick, key)`: runs × n."""

    def run(key):
        learning, noise = jax.random.split(key)
        state = algorithm.init(learning, theta, Problem(space))

        def step(carry, tick):
            state, held = carry
            probe, asked = algorithm.ask(state)
            held = probe.parameters.into(held)
            cost = jnp.asarray(world(held, tick, jax.random.fold_in(noise, tick)), held.dtype)
            state, info = algorithm.tell(asked, probe, Measurement(cost))
            seen = Seen(
                probe.parameters.places, probe.parameters.values, probe.updated, held, cost,
                state.theta, state.error, state.tests, info.updated,
            )  # fmt: skip
            return (state, held), seen

        return jax.lax.scan(step, (state, algorithm.parameters(state)), jnp.arange(n))[1]

    return jax.vmap(run)(keys)


def driven(algorithm, world, space, theta, n, runs=1, seed=0):
    keys = jax.random.split(jax.random.key(seed), runs)
    world = world if isinstance(world, Partial) else Partial(world)
    seen = drive(algorithm, world, space, jnp.asarray(theta, float), keys, n)
    return jax.tree.map(np.asarray, seen)


def linear(seed, number, weights="boolean", samples=40):
    """A world of random columns, its exact cost in NumPy, and a start."""
    rng = np.random.default_rng(seed)
    X, t = rng.normal(size=(samples, number)), rng.normal(size=samples)
    levels = [0.0, 1.0] if weights == "boolean" else [-1.0, 0.0, 1.0]
    t = t + X @ rng.choice(levels, number)

    return made_up(X, t), lambda w: np.mean((t - w @ X.T) ** 2, axis=-1), rng.choice(levels, number)


def made_up(X, t, sigma=0.0, fall=0.0, rise=0.0):
    """A squared error, noise, less at every other measurement, more from the second one on."""
    return Partial(cost_of, *(jnp.asarray(part, float) for part in (X, t, sigma, fall, rise)))


def cost_of(X, t, sigma, fall, rise, weights, tick, key):
    noise = sigma * jax.random.normal(key)
    return jnp.mean((t - X @ weights) ** 2) + noise - fall * (tick % 2) + rise * (tick > 0)


def blind(first, number, **more):
    """The same, whatever the weights."""
    return made_up(np.zeros((40, number)), np.full(40, math.sqrt(first)), **more)


SELECTIONS = ["uniform", "greedy", "cyclic"]


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.usefixtures("x64")
def test_the_weights_kept_are_those_of_a_plain_descent(selection):
    N, n = 16, 122
    world, cost, w = linear(3, N)
    seen = driven(CoordinateDescent(selection=selection), world, mirrors(N), w, n, 400)
    error, kept = cost(w), 0
    assert np.array_equal(seen.held[0, 0], w)
    assert seen.cost[0, 0] == pytest.approx(error, rel=1e-12)
    for k in range(1, n):
        i = seen.places[0, k, 1]
        flipped = w.copy()
        flipped[i] = 1 - flipped[i]
        # the device holds what is kept and the one flip
        assert np.array_equal(seen.held[0, k], flipped)
        assert np.array_equal(seen.updated[0, k], seen.kept[0, k - 1])
        if cost(flipped) < error:
            w, error, kept = flipped, cost(flipped), kept + 1
        assert np.array_equal(seen.theta[0, k], w)
        assert seen.error[0, k] == pytest.approx(error, rel=1e-9)
        assert seen.tests[0, k] == k
    assert 4 < kept == seen.kept[0].sum()
    assert np.all(np.diff(seen.error[0]) <= 0)
    tested = seen.places[0, 1:, 1]
    assert set(tested) == set(range(N))
    if selection == "cyclic":
        sweeps = tested[: len(tested) // N * N].reshape(-1, N)
        assert np.array_equal(np.sort(sweeps), np.broadcast_to(np.arange(N), sweeps.shape))
        assert not np.array_equal(sweeps[0], sweeps[1])


@pytest.mark.usefixtures("x64")
def test_remeasuring_takes_two_measurements_a_test():
    N = 16
    world, cost, w = linear(3, N)
    seen = driven(CoordinateDescent(decision="remeasure"), world, mirrors(N), w, 122, 400)
    for k in range(0, 120, 2):
        assert np.array_equal(seen.held[0, k], w)
        assert seen.error[0, k] == pytest.approx(cost(w), rel=1e-9)
        assert seen.tests[0, k] == k // 2
        flipped = seen.held[0, k + 1]
        assert np.sum(flipped != w) == 1
        w = flipped if cost(flipped) < cost(w) else w
        assert np.array_equal(seen.theta[0, k + 1], w)
        assert seen.tests[0, k + 1] == k // 2 + 1
    # what is kept has changed only where a flip was kept, just before
    changed = np.any(seen.theta[0, 1:] != seen.theta[0, :-1], axis=1)
    assert np.array_equal(seen.updated[0, 2:], changed[:-1])
    assert changed.sum() > 4


@pytest.mark.usefixtures("x64")
def test_two_pairs_are_significant_without_noise():
    N = 16
    world, cost, w = linear(4, N)
    seen = driven(CoordinateDescent(decision="significant"), world, mirrors(N), w, 962, 100)
    for k in range(0, 120, 4):
        for j in (0, 2):
            assert np.array_equal(seen.held[0, k + j], w)
        flipped = seen.held[0, k + 1]
        assert np.sum(flipped != w) == 1
        assert np.array_equal(seen.held[0, k + 3], flipped)
        assert np.array_equal(seen.theta[0, k + 2], w)
        w = flipped if cost(flipped) < cost(w) else w
        assert np.array_equal(seen.theta[0, k + 3], w)
        assert seen.tests[0, k + 3] == k // 4 + 1


def sequential(rng, fall, sigma, repeats, significance, runs):
    """Pairs until the mean fall is clear: how many pairs, and whether the fall was positive."""
    falls = fall + sigma * math.sqrt(2) * rng.normal(size=(runs, repeats))
    pairs, kept = np.zeros(runs, int), np.zeros(runs, bool)
    for n in range(2, repeats + 1):
        mean, error = falls[:, :n].mean(axis=1), falls[:, :n].std(axis=1, ddof=1) / math.sqrt(n)
        now = (pairs == 0) & ((np.abs(mean) > significance * error) | (n == repeats))
        pairs[now], kept[now] = n, mean[now] > 0
    return pairs, kept


@pytest.mark.parametrize("fall", [-1.0, 0.0, 0.7])
@pytest.mark.usefixtures("x64")
def test_significant_decides_as_often_and_as_soon_as_its_rule_says(fall):
    """Made-up pairs of a known difference under noise: every test is one draw of the rule."""
    repeats, N, runs = 8, 16, 100
    world = blind(10.0, N, sigma=1.0, fall=fall)
    algorithm = CoordinateDescent(decision="significant")
    seen = driven(algorithm, world, mirrors(N), np.zeros(N), 962, runs)
    pairs, kept = [], []
    for run in range(runs):
        ends = np.flatnonzero(np.diff(seen.tests[run], prepend=0))
        assert np.all(ends % 2 == 1)
        pairs.extend(np.diff(ends, prepend=-1) // 2)
        kept.extend(seen.kept[run, ends])
    wanted_pairs, wanted_kept = sequential(
        np.random.default_rng(0), fall, 1.0, repeats, 2.0, 20_000
    )
    pairs, kept = np.array(pairs), np.array(kept)
    assert set(pairs) == set(range(2, 9))
    # of each run's 60 tests or more the last is cut off, the likelier the longer it is, which
    # biases the shares by less than 0.01
    assert len(pairs) > 6000
    for number in range(2, repeats + 1):
        share, wanted = np.mean(pairs == number), np.mean(wanted_pairs == number)
        error = math.sqrt(wanted * (1 - wanted) * (1 / len(pairs) + 1 / 20_000))
        assert abs(share - wanted) < 4.5 * error + 0.01
    share, wanted = np.mean(kept), np.mean(wanted_kept)
    error = math.sqrt(max(wanted * (1 - wanted), 0.01) * (1 / len(kept) + 1 / 20_000))
    assert abs(share - wanted) < 4.5 * error + 0.01


@pytest.mark.usefixtures("x64")
def test_careful_decisions_keep_fewer_wrong_flips_and_end_lower():
    """Under cost noise, after as many tests: kept flips that raised the true error, its end."""
    N, runs, tests = 16, 100, 60
    quiet, cost, start = linear(5, N)
    world = made_up(*quiet.args[:2], sigma=0.05 * cost(start))
    wrong, ends = {}, {}
    for decision, most in (("keep", 1), ("remeasure", 2), ("significant", 16)):
        algorithm = CoordinateDescent(decision=decision)
        n, many = (962, 100) if decision == "significant" else (122, 400)
        assert n > tests * most
        seen = driven(algorithm, world, mirrors(N), start, n, many)
        seen = jax.tree.map(lambda part: part[:runs], seen)
        true = cost(seen.theta)
        rises = np.diff(true, axis=1, prepend=cost(start)) > 0
        kept = seen.kept & (seen.tests <= tests)
        wrong[decision] = np.sum(rises & kept, axis=1) / np.sum(kept, axis=1)
        last = np.sum(seen.tests <= tests, axis=1) - 1
        ends[decision] = true[np.arange(runs), last]
    # an error that is kept is the lowest of the noise, too: it lets few flips pass, wrong or right
    for found, worse, better in (
        (wrong, "remeasure", "significant"),
        (wrong, "remeasure", "keep"),
        (ends, "remeasure", "significant"),
        (ends, "keep", "significant"),
    ):
        difference = found[worse] - found[better]
        assert difference.mean() > 4 * difference.std() / math.sqrt(runs)


@pytest.mark.usefixtures("x64")
def test_moves_of_many_flips_shrink_to_one():
    N, flips, cooling = 16, 5, 3.0
    algorithm = CoordinateDescent(flips=flips, cooling=cooling)
    start = np.random.default_rng(0).choice([0.0, 1.0], N)
    seen = driven(algorithm, blind(1.0, N, rise=1.0), mirrors(N), start, 202, 40)
    assert np.array_equal(seen.theta, np.broadcast_to(start, seen.theta.shape))
    for test in range(100):
        held = seen.held[:, test + 1]
        moved = np.sum(held != start, axis=1)
        # where a step is due, it may be put off by a rounding until the next test
        left = max(0.0, 1 - test / (cooling * N))
        most = 1 + math.ceil((flips - 1) * left + (1e-9 if left else 0))
        assert moved.min() >= 1
        assert moved.max() <= most
        here = seen.places[:, test + 1, flips:]
        assert np.array_equal(np.sum(here < N, axis=1), moved)
        for places in here:
            real = places[places < N]
            assert len(set(real)) == len(real)
    # coincidences among 5 of N leave on average N (1 − (1 − 1/N)⁵) different ones
    first = np.sum(seen.held[:, 1:4] != start, axis=2)
    assert abs(first.mean() - N * (1 - (1 - 1 / N) ** 5)) < 5 * first.std() / math.sqrt(first.size)
    assert np.all(np.sum(seen.held[:, 49:] != start, axis=2) == 1)


@pytest.mark.usefixtures("x64")
def test_a_move_of_many_flips_is_kept_or_undone_whole():
    N, n = 16, 202
    world, cost, w = linear(6, N)
    seen = driven(CoordinateDescent(flips=5, cooling=3.0), world, mirrors(N), w, n, 40)
    error, sizes = cost(w), []
    for k in range(1, n):
        moved = seen.held[0, k]
        if cost(moved) < error:
            sizes.append(np.sum(moved != w))
            w, error = moved, cost(moved)
        assert np.array_equal(seen.theta[0, k], w)
        assert 1 <= np.sum(moved != seen.theta[0, k - 1]) <= 5
        assert seen.error[0, k] == pytest.approx(error, rel=1e-9)
    assert max(sizes) > 1


@pytest.mark.usefixtures("x64")
def test_annealing_accepts_a_rise_as_metropolis_does():
    """P = exp(−d/τ), τ = temperature · first error · what is left of the cooling."""
    N, d, temperature, cooling, runs = 5, 0.4, 0.5, 8.0, 4000

    algorithm = CoordinateDescent(
        decision="remeasure", temperature=temperature, cooling=cooling
    )  # fmt: skip
    seen = driven(algorithm, blind(3.0, N, fall=-d), mirrors(N), np.zeros(N), 100, runs)
    kept = seen.kept[:, 1::2].sum(axis=0)
    left = 1 - np.arange(50) / (cooling * N)
    tau = temperature * 3.0 * np.maximum(left, 1e-12)
    chance = np.exp(-d / tau)
    assert not kept[40:].any()
    known = chance > 1e-3
    scatter = (kept - runs * chance)[known] ** 2 / (runs * chance * (1 - chance))[known]
    assert 30 < known.sum() < 40
    assert scatter.sum() < chi2.isf(1e-6, known.sum())
    assert np.all(kept[~known] <= binom.isf(1e-6, runs, 1e-3))

    seen = driven(algorithm, blind(3.0, N, fall=d), mirrors(N), np.zeros(N), 100, runs)
    assert seen.kept[:, 1::2].all()


@pytest.mark.usefixtures("x64")
def test_a_ternary_mirror_takes_its_two_other_settings_equally_often():
    N = 8
    start = np.array([-1.0, 0.0, 1.0, 0.0, 0.0, -1.0, 1.0, 1.0])
    world = blind(1.0, N, rise=1.0)
    seen = driven(CoordinateDescent(), world, mirrors(N, "ternary"), start, 401, 20)
    for mirror in range(N):
        tried = seen.held[:, 1:, mirror]
        tried = tried[tried != start[mirror]]
        assert len(tried) == 20 * 50
        others = sorted({-1.0, 0.0, 1.0} - {start[mirror]})
        assert sorted(set(tried)) == others
        share = np.mean(tried == others[0])
        assert abs(share - 0.5) < 5 * 0.5 / math.sqrt(len(tried))


@pytest.mark.usefixtures("x64")
def test_ternary_descent_is_a_plain_one_and_ends_where_no_setting_helps():
    N = 8
    world, cost, w = linear(7, N, "ternary")
    seen = driven(CoordinateDescent(), world, mirrors(N, "ternary"), w, 401, 20)
    error = cost(w)
    for k in range(1, 400):
        moved = seen.held[0, k]
        assert np.sum(moved != w) == 1
        if cost(moved) < error:
            w, error = moved, cost(moved)
        assert np.array_equal(seen.theta[0, k], w)
    for i, level in itertools.product(range(N), (-1.0, 0.0, 1.0)):
        other = w.copy()
        other[i] = level
        assert cost(other) >= error


@pytest.mark.parametrize("selection", ["uniform", "cyclic"])
@pytest.mark.usefixtures("x64")
def test_on_orthogonal_columns_the_mean_error_follows_its_law(selection):
    """(1 − 1/N)^k for random mirrors, 1 − k/N for a sweep without replacement."""
    N, n, runs = 16, 122, 400
    rng = np.random.default_rng(0)
    a2, best = rng.lognormal(size=N), rng.choice([0.0, 1.0], N)
    X = np.sqrt(40 * a2) * np.eye(40, N)
    algorithm = CoordinateDescent(selection=selection)
    seen = driven(algorithm, made_up(X, X @ best), mirrors(N), 1 - best, n, runs)
    k = np.arange(n)
    law = (1 - 1 / N) ** k if selection == "uniform" else np.maximum(1 - k / N, 0)
    share = seen.error / a2.sum()
    error = share.std(axis=0) / math.sqrt(runs)
    assert np.abs(share.mean(axis=0) - law)[0] < 1e-12
    assert np.all(np.abs(share.mean(axis=0) - law) < 5 * error + 1e-9)
    assert error.max() < 0.02


@pytest.mark.parametrize("weights", ["boolean", "ternary"])
def test_the_share_of_mirrors_that_start_on(weights):
    space, runs, N = mirrors(400, weights), 20, 400
    for on in (0.0, 0.05, 0.5, 1.0):
        algorithm = CoordinateDescent(on=on)
        start = jax.vmap(lambda key: algorithm.init(key, jnp.ones(N), Problem(space)).theta)  # noqa: B023
        theta = np.asarray(start(jax.random.split(jax.random.key(1), runs)))
        assert set(np.unique(theta)) <= {0.0, 1.0}
        error = math.sqrt(on * (1 - on) / (runs * N))
        assert abs(theta.mean() - on) <= 5 * error
        if 0 < on < 1:
            assert len({row.tobytes() for row in theta}) == runs
    own = np.random.default_rng(0).choice([0.0, 1.0], N)
    state = CoordinateDescent().init(jax.random.key(0), jnp.asarray(own, float), Problem(space))
    assert np.array_equal(state.theta, own)


@pytest.mark.parametrize(
    "settings",
    [{"flips": 2}, {"temperature": 0.1}, {"flips": 0}, {"repeats": 1}, {"on": 1.5},
     {"decision": "guess"}, {"selection": "gredy"}],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(RequestError):
        CoordinateDescent(**settings)


def test_what_it_can_train():
    chip = SimulatedDevice(network=MLP(widths=(2, 2, 1)))
    for algorithm in (CoordinateDescent(), BooleanLeastSquares()):
        with pytest.raises(RequestError, match="; use "):
            algorithm.check(Problem(chip.space))
        for weights in ("boolean", "ternary"):
            algorithm.check(Problem(mirrors(4, weights)))
    one_bit = (DAC(bits=1, low=-1.0, high=1.0),)
    chip = SimulatedDevice(network=MLP(widths=(2, 2, 1)), imperfections=one_bit)
    CoordinateDescent().check(Problem(chip.space))


# ------------------------------------------------------------------------------ on a real readout


class World(NamedTuple):
    """A readout, its task, one start of a run, and what its mirrors do."""

    device: ReadoutDevice
    task: object
    target: np.ndarray


@cache
def world_of(number, weights="boolean"):
    radius = 2 if number >= 25 else 1
    device = ReadoutDevice(
        reservoir=PhotonicReservoir(neurons=number, radius=radius),
        weights=weights,
    )
    series = SERIES.load()
    return World(device, SeriesTask(series=SERIES).load(), series.targets[series.train_part])


class Run(NamedTuple):
    """A run: at each measurement the weights held, the cost, the weights kept; columns, key."""

    held: np.ndarray
    cost: np.ndarray
    kept: np.ndarray
    columns: np.ndarray
    key: Array


@eqx.filter_jit
def follow(algorithm, device, task, carry, ticks):
    def step(carry, _):
        carry, _, _ = measure_once(algorithm, device, task, carry)
        seen = carry.device.weights, carry.tally.cost, algorithm.parameters(carry.algorithm)
        return replace(carry, tally=Tally.empty()), seen

    axes = replica_axes(carry, device)
    run = jax.vmap(lambda one: jax.lax.scan(step, one, ticks)[1], in_axes=(axes,))
    return run(carry)


def followed(algorithm, world, n, runs=1):
    """Runs of n measurements, side by side."""
    carry = start_all(algorithm, world.device, world.task, jnp.arange(runs))
    held, cost, kept = follow(algorithm, world.device, world.task, carry, jnp.arange(n))
    columns = np.asarray(carry.device.columns.train, float)
    keys = carry.algorithm.key
    return [
        Run(np.asarray(held[r]), np.asarray(cost[r]), np.asarray(kept[r]), columns[r], keys[r])
        for r in range(runs)
    ]


@pytest.mark.usefixtures("x64")
def test_descent_on_a_readout_is_a_plain_descent_on_its_columns():
    world = world_of(25)
    (run,) = followed(CoordinateDescent(selection="greedy"), world, 200)

    def cost(w):
        return nmse(w @ run.columns, world.target)

    w = run.held[0]
    error, kept = cost(w), 0
    for k in range(200):
        moved = run.held[k]
        assert run.cost[k] == pytest.approx(cost(moved), rel=1e-6)
        assert np.sum(moved != w) == (k > 0)
        if cost(moved) < error:
            w, error, kept = moved, cost(moved), kept + 1
        assert np.array_equal(run.kept[k], w)
    assert kept > 5


SOLVE = jax.jit(solve, static_argnames=("sweeps", "levels"))


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_least_squares_on_a_ternary_readout_finds_the_best_weights_of_all():
    """After its M patterns and one measurement more: against every setting there is."""
    N = 9
    world = world_of(N, "ternary")
    algorithm = BooleanLeastSquares(learn="flips", sweeps=50)
    M, settings = N + 1, (-1.0, 0.0, 1.0)
    assert algorithm.patterns(world.device.space) == M
    every = np.array(list(itertools.product(settings, repeat=N)))
    found = []
    for run in followed(algorithm, world, M + 6, runs=4):
        start = run.held[0]
        lowest = lowest_error(every @ run.columns, world.target)
        moved = np.sum(run.held[:M] != start, axis=1)
        assert moved[0] == 0
        assert np.all(moved[1:] == 1)
        assert len(np.unique(run.held[:M], axis=0)) == M
        # what was learned is off by rounding alone, so that the search is the one on true columns
        direct = SOLVE(
            run.key, jnp.asarray(run.columns), jnp.asarray(world.target), jnp.asarray(start),
            sweeps=50, levels=len(settings),
        )  # fmt: skip
        verified = run.cost[M]
        assert verified == pytest.approx(nmse(run.held[M] @ run.columns, world.target), rel=1e-6)
        expected = nmse(np.asarray(direct, float) @ run.columns, world.target)
        assert verified == pytest.approx(expected, rel=1e-6)
        assert lowest * (1 - 1e-6) <= verified < run.cost[0]
        assert np.array_equal(run.kept[M], run.held[M])
        assert np.array_equal(run.kept[M - 1], start)
        found.append(verified < lowest * (1 + 1e-6))
        # and coordinate descent goes on from there, first with the weights themselves
        assert np.array_equal(run.held[M + 1], run.held[M])
        assert np.all(np.sum(run.held[M + 2 :] != run.kept[M + 1 : -1], axis=1) == 1)
    assert sum(found) >= 3


def lowest_error(outputs, target):
    """The lowest NMSE among many outputs; constant ones count as 1."""
    y, t = outputs - outputs.mean(axis=1, keepdims=True), target - target.mean()
    length = np.linalg.norm(y, axis=1) * np.linalg.norm(t)
    correlation = np.divide(y @ t, length, out=np.full(len(y), 0.5), where=length > 1e-9)
    return 2 * (1 - correlation.max())


def check_verified(run, M, cost):
    """The solved weights are kept if they are better than the first, and a descent goes on; returns
    whether they were.
    """
    start = run.held[0]
    better = cost(run.held[M]) < cost(start)
    w = run.held[M] if better else start
    assert np.array_equal(run.kept[M - 1], start)
    assert np.array_equal(run.kept[M], w)
    assert np.array_equal(run.held[M + 1], w)
    error = cost(w)
    for moved, kept in zip(run.held[M + 2 :], run.kept[M + 2 :]):
        assert np.sum(moved != w) == 1
        if cost(moved) < error:
            w, error = moved, cost(moved)
        assert np.array_equal(kept, w)
    assert error <= cost(start)
    return better


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_least_squares_by_groups_in_a_linear_world_and_in_one_that_is_not():
    """y = Σ w_i x_i, where it ends at the best weights of all, and its square, as of a coherent
    readout, for columns of both signs, where it must often go back to its start.
    """
    N, M, samples, runs = 15, 16, 30, 40
    rng = np.random.default_rng(0)
    X, t = rng.normal(size=(N, samples)), rng.normal(size=samples)
    algorithm = BooleanLeastSquares(sweeps=50)
    columns, target = jnp.asarray(X), jnp.asarray(t)[None]
    problem = Problem(mirrors(N), outputs=samples)

    @jax.jit
    @partial(jax.vmap, in_axes=(0, 0, None))
    def run(key, start, power):
        state = algorithm.init(key, start, problem)

        def step(state, _):
            probe, asked = algorithm.ask(state)
            y = (probe.theta @ columns)[None]
            y = jnp.where(power == 2, y**2, y)
            cost = nmse_cost(y, target)[0]
            told, _ = algorithm.tell(asked, probe, Measurement(cost, Outputs(y, target, y)))
            return told, (probe.theta, cost, algorithm.parameters(told))

        return jax.lax.scan(step, state, length=M + 20)[1]

    starts = jnp.asarray(rng.choice([0.0, 1.0], (runs, N)))
    keys = jax.random.split(jax.random.key(0), runs)
    every = np.array(list(itertools.product((0.0, 1.0), repeat=N)))
    lowest = lowest_error(every @ X, t)
    better, best = {1: [], 2: []}, []
    for power in (1, 2):
        for one in zip(*run(keys, starts, power)):
            seen = Run(*map(np.asarray, one), X, None)
            better[power].append(check_verified(seen, M, lambda w: nmse((w @ X) ** power, t)))  # noqa: B023
            if power == 1:
                assert seen.cost[M] >= lowest * (1 - 1e-9)
                best.append(seen.cost[M] < lowest * (1 + 1e-9))
    assert np.mean(best) >= 0.9
    assert all(better[1])
    assert 5 < sum(better[2]) < runs - 5
