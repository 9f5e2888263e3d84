"""The updates on quadratic costs with known answers, and in the battery with the estimators."""

import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import RequestError, Until
from dither.algorithms import (
    SPSA,
    Backpropagation,
    DecorrelatedNodePerturbation,
    FiniteDifferences,
    ForwardGradient,
    LayerwiseMGD,
    LocalLosses,
    NodePerturbation,
    WeightMGD,
)
from dither.algorithms.updates import UPDATES
from dither.contract import Clock, Measurement, Parameter, Problem, Space
from dither.testing import battery
from dither.testing.algorithm import AlgorithmBattery
from dither.testing.devices import NumpyDevice
from dither.testing.runs import DEVICE, SMALL_BATCH, collect, keys
from dither.training.fit import check_fit, problem_of
from dither.training.fused import measure_once, start

P = 4
ROOT = np.random.default_rng(0).standard_normal((P, P))
A = ROOT @ ROOT.T / P + 0.1 * np.eye(P)
START = np.array([1.0, -2.0, 0.5, 1.5])
PROBLEM = Problem(Space((Parameter("dense0/weight", (3,)), Parameter("dense1/weight", (1,)))))


def quadratic(theta, _):
    return 0.5 * theta @ A @ theta


def trained(rule, n, cost=quadratic, start=START, seeds=1):
    """θ after each of n measurements of a cost of θ and the batch, and the probes; by seed."""
    slope = jax.grad(cost)

    def step(state, _):
        probe, state = rule.ask(state)
        theta, batch = probe.theta, probe.batch_index
        measured = Measurement(cost(theta, batch), None, None, slope(theta, batch))
        state, info = rule.tell(state, probe, measured)
        return state, (state.theta, probe, info.updated)

    def run(key):
        state = rule.init(key, jnp.asarray(start), PROBLEM)
        return jax.lax.scan(step, state, length=n)[1]

    thetas, probes, updated = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(1), seeds))
    return np.asarray(thetas), probes, np.asarray(updated)


def exact(rate, kind, **settings):
    return Backpropagation(learning_rate=rate, update={"kind": kind, **settings})


def steps(matrix, n, start=START):
    return np.stack([np.linalg.matrix_power(matrix, k) @ start for k in range(1, n + 1)])


# ------------------------------------------------------------------------------------ extrapolated


@pytest.mark.usefixtures("x64")
def test_fresh_extrapolation_is_the_extragradient_step():
    """`θ_T = (1 − eta A + eta gamma A²)^T θ_0`, two measurements a step."""
    eta, gamma = 0.2, 0.15
    thetas, *_ = trained(exact(eta, "extrapolated", gamma=gamma, along="fresh"), 40)
    wanted = steps(np.eye(P) - eta * A + eta * gamma * A @ A, 20)
    np.testing.assert_allclose(thetas[0, 1::2], wanted, atol=1e-12)
    np.testing.assert_array_equal(thetas[0, 2::2], thetas[0, 1:-1:2])


@pytest.mark.usefixtures("x64")
def test_past_extrapolation_by_eta_momentum_is_nesterovs():
    """The points measured are Nesterov's: `y' = x' + beta (x' − x), x' = y − eta A y`."""
    eta, beta = 0.2, 0.7
    update = {"gamma": eta * beta, "momentum": beta}
    _, probes, _ = trained(exact(eta, "extrapolated", **update), 30)
    x, y = START, START
    for measured in np.asarray(probes.parameters[0]):
        np.testing.assert_allclose(measured, y, atol=1e-12)
        x, before = y - eta * A @ y, x
        y = x + beta * (x - before)


@pytest.mark.usefixtures("x64")
def test_extrapolation_by_noise_has_its_stationary_variance():
    """`(eta gamma a)² / (1 − (1 − eta a)²)` along each eigenvector of A, 5 standard errors."""
    eta, gamma = 0.3, 0.8
    thetas, *_ = trained(exact(eta, "extrapolated", gamma=gamma, along="noise"), 400, seeds=4000)
    a, vectors = np.linalg.eigh(A)
    along = thetas[:, -1] @ vectors
    law = (eta * gamma * a) ** 2 / (1 - (1 - eta * a) ** 2)
    law *= 1 - (1 - eta * a) ** 800
    settled = (1 - eta * a) ** 400 * (START @ vectors)
    spread = np.square(along - settled)
    error = spread.std(axis=0) / np.sqrt(4000)
    assert np.all(np.abs(spread.mean(axis=0) - law) < 5 * error)
    assert np.all(error < 0.05 * law)


# ---------------------------------------------------------------------------------------- implicit


@pytest.mark.usefixtures("x64")
def test_implicit_steps_against_their_closed_form():
    """`K` inner steps: `u* + (1 − eta (A + 1/λ))^K (θ − u*)`, `u* = (1 + λ A)⁻¹ θ`."""
    eta, step, K = 0.1, 4.0, 7
    thetas, *_ = trained(exact(eta, "implicit", prox_step=step, inner=K), 3 * K)
    inner = np.linalg.matrix_power(np.eye(P) - eta * (A + np.eye(P) / step), K)
    theta = START
    for k in range(3):
        best = np.linalg.solve(np.eye(P) + step * A, theta)
        theta = best + inner @ (theta - best)
        np.testing.assert_allclose(thetas[0, (k + 1) * K - 1], theta, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_implicit_steps_converge_where_plain_ones_of_their_length_diverge():
    step = 4 / np.linalg.eigvalsh(A)[-1]
    implicit, *_ = trained(exact(0.2, "implicit", prox_step=step, inner=60), 60 * 8)
    plain, *_ = trained(exact(step, "descent"), 8)
    a, vectors = np.linalg.eigh(A)
    wanted = vectors @ ((vectors.T @ START) / (1 + step * a) ** 8)
    np.testing.assert_allclose(implicit[0, -1], wanted, atol=1e-4)
    assert np.linalg.norm(plain[0, -1]) > 100 * np.linalg.norm(START)


@pytest.mark.usefixtures("x64")
def test_an_implicit_step_ends_once_its_residual_is_small():
    eta, step, tolerance = 0.2, 1.0, 0.4
    update = {"prox_step": step, "inner": 20, "tolerance": tolerance}
    thetas, *_ = trained(exact(eta, "implicit", **update), 60)
    theta = anchor = START
    lengths = [0]
    for reached in thetas[0]:
        g = A @ theta
        R = g + (theta - anchor) / step
        theta = theta - eta * R
        lengths[-1] += 1
        np.testing.assert_allclose(reached, theta, atol=1e-12)
        if np.linalg.norm(R) <= tolerance * np.linalg.norm(g):
            anchor = theta
            lengths.append(0)
    assert 1 < lengths[0] < 20


# ---------------------------------------------------------------------------------------- shuffled

M = 5
PARTS = np.random.default_rng(1).standard_normal((M, P, P))
CURVATURES = 0.5 * A + PARTS @ PARTS.transpose(0, 2, 1) / P
CENTRES = np.random.default_rng(2).standard_normal((M, P))


def finite_sum(theta, batch):
    off = theta - jnp.asarray(CENTRES)[batch]
    return 0.5 * off @ jnp.asarray(CURVATURES)[batch] @ off


def slope(theta, batch):
    return CURVATURES[batch] @ (theta - CENTRES[batch])


@pytest.mark.parametrize("form", ["svrg", "sarah"])
@pytest.mark.usefixtures("x64")
def test_shuffled_against_the_papers_algorithm(form):
    """The two algorithms written out in NumPy over four passes in the orders that were drawn."""
    eta, rule = 0.05, exact(0.05, "shuffled", batches=M, form=form)
    thetas, probes, _ = trained(rule, 2 * M * 4, finite_sum)
    batches = np.asarray(probes.batch_index[0])
    np.testing.assert_array_equal(batches[::2], batches[1::2])
    orders = batches[::2].reshape(4, M)
    assert all(sorted(order) == list(range(M)) for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    theta = before = omega = START
    v = None
    for number, order in enumerate(orders):
        mean = np.zeros(P)
        for place, b in enumerate(order):
            g = slope(theta, b)
            mean += g / M
            other = before if form == "sarah" else omega
            if v is None:
                D = g
            elif form == "svrg":
                D = g - slope(other, b) + v
            else:
                D = v = v + (g - slope(other, b)) / M
            before, theta = theta, theta - eta * D
            reached = thetas[0, 2 * (number * M + place) + 1]
            np.testing.assert_allclose(reached, theta, atol=1e-12)
        v, omega, before = mean, theta, theta


@pytest.mark.parametrize("form", ["svrg", "sarah"])
@pytest.mark.usefixtures("x64")
def test_shuffled_reaches_the_minimum_where_plain_steps_keep_their_noise(form):
    best = np.linalg.solve(np.sum(CURVATURES, axis=0), np.einsum("bij,bj->i", CURVATURES, CENTRES))
    n = 2 * M * 300
    shuffled, *_ = trained(exact(0.05, "shuffled", batches=M, form=form), n, finite_sum)
    plain, *_ = trained(exact(0.05, "descent"), n, lambda theta, b: finite_sum(theta, b % M))
    assert np.linalg.norm(shuffled[0, -1] - best) < 1e-8
    assert np.linalg.norm(plain[0, -1] - best) > 1e-2


@pytest.mark.usefixtures("x64")
def test_the_variance_of_the_difference_is_its_formula():
    """`(1 + kappa) mean |h_b|² − |mean h_b|²`, h_b = g_b(θ) − g_b(ω), kappa = P − 1."""
    rule = WeightMGD(
        learning_rate=0.05,
        delta=0.01,
        pairs="central",
        update={"kind": "shuffled", "batches": M},
    )
    seeds = 20000
    thetas, probes, _ = trained(rule, 4 * 2 * M, finite_sum, seeds=seeds)
    # the last pair of the second pass, at a θ and an ω of each run's own
    t = 8 * M - 1
    signs = np.asarray(probes.parameters)
    here, there = signs[:, t - 3 : t - 1], signs[:, t - 1 :]
    theta, omega = here.mean(axis=1), there.mean(axis=1)
    p = (here[:, 0] - here[:, 1]) / 2 / 0.01
    np.testing.assert_allclose((there[:, 0] - there[:, 1]) / 2 / 0.01, p, atol=1e-9)
    batch = np.asarray(probes.batch_index)[:, t]
    assert np.all(batch == np.asarray(probes.batch_index)[:, t - 2])
    # the algorithm's own D: eta D = θ − θ'; the same ω and v for the whole pass
    D = (theta - thetas[:, t]) / 0.05
    first = (np.asarray(thetas)[:, 4 * M - 1] - np.asarray(thetas)[:, 4 * M + 3]) / 0.05
    difference = D - first  # G_b(θ) − G_b(ω), as at ω itself D is v
    h = np.einsum("bij,rj->rbi", CURVATURES, theta - omega)
    mean = h.mean(axis=1)
    law = P * np.square(h).sum(axis=2).mean(axis=1) - np.square(mean).sum(axis=1)
    drawn = np.square(difference - mean).sum(axis=1)
    # the last batch of a pass and the last signs are independent of how θ came about but for the
    # batches before: over all runs every batch is as likely the last
    error = np.std(drawn - law) / np.sqrt(seeds)
    assert error < 0.05 * law.mean()
    own = np.einsum("rij,rj->ri", CURVATURES[batch], theta - omega)
    given = np.square(np.einsum("ri,ri->r", own, p)[:, None] * p - mean).sum(axis=1)
    np.testing.assert_allclose(drawn, given, rtol=1e-6, atol=1e-9)
    assert abs(np.mean(drawn - law)) < 5 * error


# ------------------------------------------------------------------- over the air, history, learned


@pytest.mark.parametrize(
    ("norm", "name", "settings"),
    [
        ("adagrad", "adagrad", {"initial_accumulator_value": 0.0, "eps": 1e-16}),
        ("adam", "adam", {"b1": 0.9, "b2": 0.99, "eps": 1e-8}),
    ],
)
@pytest.mark.usefixtures("x64")
def test_at_alpha_2_over_the_air_is_the_ordinary_rule_of_optax(norm, name, settings):
    settled = {"learning_rate": 0.05, "delta": 0.01, "tau_theta": 2}
    update = {"kind": "over-the-air", "norm": norm, "alpha": 2.0, "b2": 0.99}
    mine, *_ = trained(WeightMGD(**settled, update=update), 200)
    optimizer = {"name": name, "settings": settings}
    theirs, *_ = trained(WeightMGD(**settled, optimizer=optimizer), 200)
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)
    assert np.abs(mine[0, -1] - START).max() > 0.1


@pytest.mark.usefixtures("x64")
def test_over_the_air_uses_the_alpha_th_moment():
    eta, alpha = 0.1, 1.4
    thetas, *_ = trained(exact(eta, "over-the-air", alpha=alpha), 20)
    theta, v = START, np.zeros(P)
    for reached in thetas[0]:
        g = A @ theta
        v = v + np.abs(g) ** alpha
        theta = theta - eta * g / (v ** (1 / alpha) + 1e-8)
        np.testing.assert_allclose(reached, theta, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_history_steps_by_the_mean_of_the_last_estimates():
    eta, length = 0.2, 3
    thetas, *_ = trained(exact(eta, "history", length=length), 20)
    theta, past = START, []
    for reached in thetas[0]:
        past = [A @ theta, *past][:length]
        theta = theta - eta * np.mean(past, axis=0)
        np.testing.assert_allclose(reached, theta, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_the_networks_go_down_the_true_slope_of_the_next_cost():
    """By finite differences of `C(θ − eta h)` in the weights that h has at the start, c and w."""
    eta, width = 0.2, 6
    rule = exact(eta, "fast-slow", width=width, meta_rate=0.01, length=2)
    state = rule.init(jax.random.key(0), jnp.asarray(START), PROBLEM)
    phi = state.update.phi
    theta, x = START, A @ START
    for _ in range(2):
        probe, state = rule.ask(state)
        g = jnp.asarray(A) @ probe.theta
        state, _ = rule.tell(state, probe, Measurement(quadratic(probe.theta, 0), None, None, g))
    s = np.sqrt(np.mean(np.square([x, 0 * x])))
    x = x / s
    layers = np.array([0, 0, 0, 1])
    e, u, U = (np.asarray(phi[name]) for name in "euU")
    fast = np.tanh(x[:, None] * np.asarray(phi["a"]) + np.asarray(phi["b"]))
    slow = np.tanh(x[:, None] * u + np.tanh(e[layers]) @ U + e[layers])

    def cost(c, w):
        return quadratic(theta - eta * s * (x + fast @ c + slow @ w), 0)

    none, small = np.zeros(width), 1e-6
    for name, falls in (("c", 0), ("w", 1)):
        slopes = []
        for k in range(width):
            moved = [none.copy(), none.copy()]
            moved[falls][k] = small
            slopes.append((cost(*moved) - cost(none, none)) / small)
        learned = np.asarray(state.update.phi[name])
        assert np.all(np.sign(learned) == -np.sign(slopes))
    for name in "abuUe":
        np.testing.assert_allclose(state.update.phi[name], phi[name], rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_the_networks_learn_longer_steps_where_steps_are_too_short():
    slow, *_ = trained(exact(0.01, "descent"), 300)
    learned, *_ = trained(exact(0.01, "fast-slow", meta_rate=0.01), 300)
    assert quadratic(learned[0, -1], 0) < 0.5 * quadratic(slow[0, -1], 0)


@pytest.mark.parametrize(
    "update",
    [
        {"kind": "extrapolated", "gamma": 0.0},
        {"kind": "extrapolated", "gamma": 0.0, "along": "noise"},
        {"kind": "implicit", "prox_step": 0.5, "inner": 1},
        {"kind": "history", "length": 1},
        {"kind": "fast-slow", "meta_rate": 0.0},
        {"kind": "shuffled", "batches": 10**4},
    ],
    ids=str,
)
@pytest.mark.usefixtures("x64")
def test_what_each_is_without_its_own_part_is_plain_descent(update):
    settings = {"learning_rate": 0.05, "delta": 0.01, "pairs": "central"}
    one, *_ = trained(WeightMGD(**settings), 40)
    other, *_ = trained(WeightMGD(**settings, update=update), 80)
    # of shuffled the first pass, in which every other pair is only compared with
    every = 2 if update["kind"] == "shuffled" else 1
    np.testing.assert_allclose(other[:, 2 * every - 1 : 40 * every : 2 * every], one[:, 1::2])


# -------------------------------------------------------------------------------------- estimators

EVERY_UPDATE = {
    "past": {"kind": "extrapolated", "gamma": 0.02, "momentum": 0.5},
    "fresh": {"kind": "extrapolated", "gamma": 0.02, "along": "fresh"},
    "noise": {"kind": "extrapolated", "gamma": 0.02, "along": "noise"},
    "implicit": {"kind": "implicit", "prox_step": 1.0, "inner": 3, "tolerance": 0.5},
    "svrg": {"kind": "shuffled", "batches": 3},
    "sarah": {"kind": "shuffled", "batches": 3, "form": "sarah"},
    "adagrad": {"kind": "over-the-air", "alpha": 1.5},
    "adam": {"kind": "over-the-air", "norm": "adam", "alpha": 1.5},
    "history": {"kind": "history", "length": 3},
    "fast-slow": {"kind": "fast-slow"},
}
CENTRAL = {"learning_rate": 0.05, "delta": 0.01, "pairs": "central"}
RULES = {
    "weight-mgd": WeightMGD(learning_rate=0.05, delta=0.01, tau_theta=2, tau_x=2),
    "central": WeightMGD(**CENTRAL),
    "layerwise-mgd": LayerwiseMGD(**CENTRAL, split="optimal"),
    "node-perturbation": NodePerturbation(learning_rate=0.05),
    "each-layer": NodePerturbation(**CENTRAL, layers="each"),
    "decorrelated": DecorrelatedNodePerturbation(learning_rate=0.05),
    "local-losses": LocalLosses(learning_rate=0.05),
    "spsa": SPSA(a=1.0),
    "finite-differences": FiniteDifferences(learning_rate=0.05),
    "forward-gradient": ForwardGradient(learning_rate=0.05),
    "backpropagation": Backpropagation(learning_rate=0.05),
}


def paired(rule, update):
    settings = RULES[rule].model_dump() | {"update": EVERY_UPDATE[update]}
    return type(RULES[rule]).model_validate(settings)


def test_every_update_is_here():
    assert {one["kind"] for one in EVERY_UPDATE.values()} | {"descent"} == set(UPDATES)


TestWithAnEstimator = battery(paired("layerwise-mgd", "svrg"))

# the updates that take several estimates for a step, or draw something of their own
PAIRS = [
    ("weight-mgd", "fresh"),
    ("node-perturbation", "noise"),
    ("decorrelated", "sarah"),
    ("finite-differences", "implicit"),
    ("spsa", "svrg"),
    ("local-losses", "fast-slow"),
]


@pytest.mark.parametrize("rule", RULES)
def test_every_update_goes_with_every_rule(rule):
    """Traced: a measurement keeps the form of the state, which the compiled loop rests on."""
    task = SMALL_BATCH.load()
    for update in EVERY_UPDATE:
        algorithm = paired(rule, update)
        check_fit(DEVICE, task, algorithm, Until(measurements=100))
        carry = jax.eval_shape(
            lambda algorithm=algorithm: start(
                algorithm, DEVICE, problem_of(DEVICE, task), jnp.int32(0), {}
            )
        )
        after, *_ = jax.eval_shape(
            lambda carry, algorithm=algorithm: measure_once(algorithm, DEVICE, task, carry), carry
        )
        assert jax.tree.structure(after) == jax.tree.structure(carry)
        same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), after, carry)
        assert all(jax.tree.leaves(same)), update


@pytest.mark.parametrize(("rule", "update"), PAIRS)
def test_a_failed_measurement_changes_nothing_but_the_ledger(rule, update):
    AlgorithmBattery().test_a_failed_measurement_changes_nothing_but_the_ledger(
        paired(rule, update)
    )


@pytest.mark.parametrize("rule", ["weight-mgd", "layerwise-mgd", "each-layer"])
def test_the_pairs_of_shuffled_have_one_batch_and_one_perturbation(rule):
    """What is added at the sites and to the parameters, in every pair of estimates."""
    algorithm = paired(rule, "svrg")
    task, theta = SMALL_BATCH.load(), jnp.full(DEVICE.space.size, 0.1)
    probes, _, updated, _ = collect(algorithm, DEVICE, task, theta, keys(1), 150)
    probes = jax.tree.map(lambda leaf: np.asarray(leaf[0]), probes)
    ends = [0, *(np.flatnonzero(updated[0]) + 1)]
    pairs = [
        (slice(*ends[k : k + 2]), slice(*ends[k + 1 : k + 3])) for k in range(0, len(ends) - 2, 2)
    ]
    assert len(pairs) > 1
    for one, other in pairs:
        np.testing.assert_array_equal(probes.batch_index[one], probes.batch_index[other])
        for added in (probes.sites or {}).values():
            np.testing.assert_array_equal(added[one], added[other])
        moved = np.diff(probes.parameters[one], axis=0), np.diff(probes.parameters[other], axis=0)
        np.testing.assert_allclose(*moved, atol=1e-6)


# ------------------------------------------------------------------------------------ wrong inputs


@pytest.mark.parametrize("alpha", [1.0, 2.5])
def test_alpha_lies_in_1_2(alpha):
    with pytest.raises(ValueError, match="alpha"):
        UPDATES["over-the-air"](alpha=alpha)


@pytest.mark.parametrize("update", ["fresh", "past", "implicit", "svrg", "adam", "fast-slow"])
def test_the_rate_auto_is_refused_for_other_steps(update):
    with pytest.raises(ValueError, match="auto is for plain descent"):
        WeightMGD(learning_rate="auto", update=EVERY_UPDATE[update])


class TakesItsOwnInputs(NumpyDevice):
    fed = False


def test_shuffled_needs_a_device_that_is_fed_its_batches():
    rule = paired("central", "svrg")
    with pytest.raises(RequestError, match=r"^The update shuffled .* cannot repeat a batch; use"):
        dither.train(TakesItsOwnInputs(), SMALL_BATCH, rule, until=Until(measurements=10))


def test_shuffled_needs_a_batch_for_every_estimate():
    rule = WeightMGD(learning_rate=0.1, tau_theta=3, update=EVERY_UPDATE["svrg"])
    with pytest.raises(RequestError, match="set tau_x equal to tau_theta"):
        dither.train(DEVICE, SMALL_BATCH, rule, until=Until(measurements=10))


def test_the_shell_refuses_an_alpha_of_one_in_a_sentence(tmp_path):
    setting = 'algorithm.update={kind = "over-the-air", alpha = 1.0}'
    words = [sys.executable, "-m", "dither.cli", "train", "xor", "--set", setting, "--out", "run"]
    told = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 2
    assert "algorithm.update.alpha" in told.stderr
    assert "Traceback" not in told.stderr
    assert not list(tmp_path.iterdir())


def test_after_a_drift_alarm_spsas_gains_begin_again_by_its_own_count():
    rule = paired("spsa", "svrg")
    state = rule.init(jax.random.key(0), jnp.asarray(START), PROBLEM)
    state = rule.on_drift(replace(state, clock=Clock(jnp.int32(9), jnp.int32(0))))
    probe, _ = rule.ask(state)
    assert float(rule.rate_of(state)) == pytest.approx(1 / 101**0.602)
    assert np.all(np.isfinite(probe.theta))
