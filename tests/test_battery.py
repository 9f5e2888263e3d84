"""The battery that every registered algorithm and every registered code must pass.

A new algorithm or code is under test once it has its line in `ALGORITHM_CASES` or `CODE_CASES`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dither
from dither import MLP, SimulatedDevice, Until
from dither.algorithms import (
    ALGORITHMS,
    SPSA,
    ActivityDifference,
    AnalogMGD,
    Backpropagation,
    BooleanLeastSquares,
    CoordinateDescent,
    DecorrelatedNodePerturbation,
    FiniteDifferences,
    ForwardGradient,
    LayerwiseMGD,
    LocalLosses,
    NodePerturbation,
    WeightMGD,
    WhitenedNodePerturbation,
)
from dither.codes import CODES, Rademacher, Sequential, Sinusoidal, Walsh
from dither.contract import AccessLevel
from dither.devices import DAC, CostNoise, FailedReads
from dither.tasks import Parity
from dither.training.fit import problem_of
from dither.training.fused import Carry, Tally, measure_once
from dither.training.hosted import HostedLoop
from exact_nodes import dense_noise, dense_spread, inputs_and_errors
from numpy_device import FlakyDevice, NumpyDevice

DELTA = 1e-4
A = 1.6 / 2.6  # the high-pass factor of tau_hp = 1.6


class Case(NamedTuple):
    """How an algorithm is made, and what REFERENCE §1.6 says of its estimate, if it makes one.

    `make(rate, **settings)`; `spread(kappa, P)` = E|G|²/|g|² for one estimate without noise;
    `noise(P)`, which cost noise adds to it, times sigma² / (delta² |g|²), for random signs;
    `lawful`, the codes for which this holds (None: it takes no code); `settle`, estimates to leave
    out at the start; `boolean`, the DAC of the Boolean parameters that it trains, if such.
    """

    make: Callable[..., object]
    spread: Callable[[float, int], float] | None = None
    noise: Callable[[int], float] = lambda _: 0.0
    lawful: tuple[str, ...] | None = None
    settle: int = 0
    boolean: DAC | None = None


def by_kappa(kappa, _):
    return 1 + kappa


def exact(*_):
    return 1.0


def node_spread(per_example):
    def spread(*_):
        task = PARITY.load()
        theta, g = theta_and_gradient(task)
        x, e = inputs_and_errors(NETWORK, DEVICE.space.unravel(theta), task)
        return dense_spread(x, e, per_example) / (g @ g)

    return spread


def layerwise_spread(*_):
    """`1 + Σ_l f_l (N_l − 1)`."""
    _, g = theta_and_gradient(PARITY.load())
    layers = np.split(g, [(3 + 1) * 2])
    return 1 + sum((part @ part) / (g @ g) * (part.size - 1) for part in layers)


def node_noise(_):
    task = PARITY.load()
    theta, _ = theta_and_gradient(task)
    return dense_noise(*inputs_and_errors(NETWORK, DEVICE.space.unravel(theta), task))


def analog(rate, **more):
    given = {"learning_rate": rate, "delta": DELTA, "tau_theta": 0, "tau_x": 10**8}
    return AnalogMGD(**{**given, **more})


def spsa(rate, **more):
    return SPSA(**{"a": rate, "c": DELTA, **more})


def maker(cls, **more):
    return lambda rate, **other: cls(**{"learning_rate": rate, **more, **other})


EVERY = tuple(CODES)

# no symmetry of ±1, by which two different settings would have one cost up to rounding
UNEVEN = DAC(bits=1, low=-1.0, high=0.7)

# The noise: a baseline measured again at every tick doubles the variance of a difference, half the
# difference of a central pair halves it; finite differences share one baseline in P differences,
# each with both errors. Analog: the impulse response of the high-pass is h_0 = a, h_k = −a^k (1−a),
# with Σ h² / a² = 2 / (1 + a), which multiplies signal (all of it but |g|² uncorrelated) and noise.
ALGORITHM_CASES = {
    "weight-mgd": Case(maker(WeightMGD, delta=DELTA), by_kappa, lambda P: 2 * P, EVERY),
    "layerwise-mgd": Case(maker(LayerwiseMGD, delta=DELTA), layerwise_spread, lambda P: 2 * P),
    "analog-mgd": Case(
        analog,
        lambda _, P: P * 2 / (1 + A),
        lambda P: P * 2 / (1 + A),
        ("rademacher",),
        settle=30,
    ),
    "spsa": Case(spsa, by_kappa, lambda P: 0.5 * P, EVERY),
    "finite-differences": Case(maker(FiniteDifferences, delta=DELTA), exact, lambda P: 2 * P),
    "node-perturbation": Case(
        maker(NodePerturbation, delta=DELTA), node_spread(per_example=False), node_noise
    ),
    "activity-difference": Case(maker(ActivityDifference, delta=DELTA)),
    "decorrelated-node-perturbation": Case(
        maker(DecorrelatedNodePerturbation, delta=DELTA), node_spread(per_example=True), node_noise
    ),
    "whitened-node-perturbation": Case(
        maker(WhitenedNodePerturbation, delta=DELTA), node_spread(per_example=True), node_noise
    ),
    "local-losses": Case(maker(LocalLosses, delta=DELTA, readout_rate=0.1)),
    "forward-gradient": Case(maker(ForwardGradient), by_kappa, lawful=EVERY),
    "backpropagation": Case(maker(Backpropagation), exact),
    "coordinate-descent": Case(lambda *_, **__: CoordinateDescent(), boolean=UNEVEN),
    "boolean-least-squares": Case(
        lambda *_, **__: BooleanLeastSquares(sweeps=2), boolean=DAC(bits=1, low=0.0, high=1.0)
    ),
}
ESTIMATORS = [kind for kind, case in ALGORITHM_CASES.items() if case.spread]

CODE_CASES = {
    "sequential": Sequential(),
    "rademacher": Rademacher(),
    "walsh": Walsh(),
    "sinusoidal": Sinusoidal(),
}

PAIRS = [(kind, code) for kind in ESTIMATORS for code in (ALGORITHM_CASES[kind].lawful or (None,))]
NETWORK = MLP(widths=(3, 2, 2), gain=2.0)
P = 14
DEVICE = SimulatedDevice(network=NETWORK)
PARITY = Parity(bits=3)


def build(kind, rate, code=None, **more):
    if code is not None:
        more["code"] = CODE_CASES[code]
    return ALGORITHM_CASES[kind].make(rate, **more)


def device_of(kind, *imperfections):
    """A simulated device whose parameters the algorithm can train."""
    dac = ALGORITHM_CASES[kind].boolean
    before = () if dac is None else (dac,)
    return SimulatedDevice(network=NETWORK, imperfections=(*before, *imperfections))


def trainable(kind, device):
    """A Python device whose parameters the algorithm can train."""
    if dac := ALGORITHM_CASES[kind].boolean:
        device.bounds, device.bits = (dac.low, dac.high), dac.bits
    if ALGORITHMS[kind].access_level is AccessLevel.SITES:
        device.show_sites()
    return device


def theta_and_gradient(task):
    """A point, and the exact gradient of the mean cost there by automatic differentiation."""
    theta = DEVICE.initial(jax.random.key(5)) + 0.1

    def cost(theta):
        outputs = NETWORK(DEVICE.space.unravel(theta), task.inputs)
        return jnp.mean(task.cost(outputs, task.targets))

    return theta, np.asarray(jax.grad(cost)(theta))


@eqx.filter_jit
def collect(algorithm, device, task, theta, keys, n):
    """n measurements for each key from one theta: probes, estimates, whether updated, failures."""

    problem = problem_of(device, task)

    def run(key):
        learning, making, data = jax.random.split(key, 3)
        state, instance = algorithm.init(learning, theta, problem), device.fabricate(making)
        if algorithm.sparse:
            instance = device.write(instance, algorithm.parameters(state), jnp.bool_(False))
        carry = Carry(state, instance, data, Tally.empty())

        def step(carry, _):
            carry, probe, info = measure_once(algorithm, device, task, carry)
            return carry, (probe, info.estimate, info.updated, carry.tally.failed)

        return jax.lax.scan(step, carry, length=n)[1]

    return jax.vmap(run)(keys)


def estimates(algorithm, device, task, theta, keys, n):
    """The estimates of which updates were made: keys × updates × P."""
    _, estimate, updated, _ = collect(algorithm, device, task, theta, keys, n)
    assert np.all(updated == updated[0])
    return np.asarray(estimate)[:, np.asarray(updated[0])]


def keys(number, seed=0):
    return jax.random.split(jax.random.key(seed), number)


def one_cycle(kind, code):
    """Measurements that hold one cycle of the code for one estimate after another."""
    case = ALGORITHM_CASES[kind]
    ticks = 16 if code is None else CODE_CASES[code].cycle(P) or 16
    if kind == "finite-differences":
        return P + 1
    return ticks + case.settle if kind == "analog-mgd" else 2 * ticks


# ------------------------------------------------------------------------------- the registries


def test_every_algorithm_has_a_case():
    missing = set(ALGORITHMS) - set(ALGORITHM_CASES)
    assert not missing, f"add one line to ALGORITHM_CASES in {__file__} for each of {missing}"


def test_every_code_has_a_case():
    missing = set(CODES) - set(CODE_CASES)
    assert not missing, f"add one line to CODE_CASES in {__file__} for each of {missing}"


def test_every_algorithm_with_a_code_is_tried_with_one():
    for kind, cls in ALGORITHMS.items():
        takes = "code" in cls.model_fields
        assert takes == (ALGORITHM_CASES[kind].lawful is not None), kind


# ------------------------------------------------------------------------------- the estimates


@pytest.mark.parametrize(("kind", "code"), PAIRS)
@pytest.mark.usefixtures("x64")
def test_mean_and_variance_of_the_estimate(kind, code):
    task = PARITY.load()
    theta, g = theta_and_gradient(task)
    case = ALGORITHM_CASES[kind]
    n = one_cycle(kind, code)
    G = estimates(build(kind, 0.0, code), DEVICE, task, theta, keys(4000), n)[:, case.settle :]

    # 5 standard errors for P components, from independent keys; the terms of order delta are
    # under 1e-3 of |g|, a fifth of the standard error of random signs
    each = G.mean(axis=1)
    error = each.std(axis=0) / math.sqrt(len(each))
    assert np.all(np.abs(each.mean(axis=0) - g) < 5 * error + 1e-3 * np.linalg.norm(g))
    assert error.max() < 0.05 * np.linalg.norm(g)

    kappa = CODE_CASES[code].kappa(P) if code else 0.0
    law = case.spread(kappa, P)
    growth = (G**2).sum(axis=2).mean(axis=1) / (g @ g)
    error = growth.std() / math.sqrt(len(growth))
    assert abs(growth.mean() - law) < 5 * error + 2e-3 * law
    assert error < 0.05 * law


@pytest.mark.parametrize("pairs", ["baseline", "central"])
@pytest.mark.usefixtures("x64")
def test_variance_falls_with_the_measurements_averaged(pairs):
    task = PARITY.load()
    theta, g = theta_and_gradient(task)
    algorithm = build("weight-mgd", 0.0, "rademacher", tau_theta=8, tau_x=8, pairs=pairs)
    n = 9 if pairs == "baseline" else 16
    G = estimates(algorithm, DEVICE, task, theta, keys(20000), n)[:, 0]
    growth = (G**2).sum(axis=1) / (g @ g)
    law = 1 + (P - 1) / 8
    assert abs(growth.mean() - law) < 5 * growth.std() / math.sqrt(len(growth)) + 2e-3 * law


@pytest.mark.parametrize(
    ("kind", "pairs"),
    [(kind, "baseline") for kind in ESTIMATORS] + [("weight-mgd", "central")],
)
@pytest.mark.usefixtures("x64")
def test_cost_noise_adds_its_term(kind, pairs):
    task = PARITY.load()
    theta, g = theta_and_gradient(task)
    case = ALGORITHM_CASES[kind]
    code = "rademacher" if case.lawful else None
    more = {"pairs": "central"} if pairs == "central" else {}
    if kind == "spsa":
        more = {"gamma": 0.0}  # so that c stays delta
    sigma = 2 * DELTA * np.linalg.norm(g)
    device = SimulatedDevice(network=NETWORK, imperfections=(CostNoise(sigma=sigma),))
    n = one_cycle(kind, code)
    algorithm = build(kind, 0.0, code, **more)
    G = estimates(algorithm, device, task, theta, keys(4000), n)[:, case.settle :]
    growth = (G**2).sum(axis=2).mean(axis=1) / (g @ g)
    noise = 0.5 * P if pairs == "central" else case.noise(P)
    law = case.spread(P - 1.0, P) + noise * sigma**2 / (DELTA**2 * (g @ g))
    error = growth.std() / math.sqrt(len(growth))
    assert abs(growth.mean() - law) < 5 * error + 2e-3 * law
    assert error < 0.05 * law


@pytest.mark.parametrize("pairs", ["baseline", "central"])
@pytest.mark.parametrize("code", [k for k, code in CODE_CASES.items() if code.cycle(P)])
@pytest.mark.usefixtures("x64")
def test_exact_after_one_cycle(code, pairs):
    task = PARITY.load()
    theta, g = theta_and_gradient(task)
    cycle = CODE_CASES[code].cycle(P)
    algorithm = build("weight-mgd", 0.0, code, tau_theta=cycle, tau_x=cycle, pairs=pairs)
    n = cycle + 1 if pairs == "baseline" else 2 * cycle
    G = estimates(algorithm, DEVICE, task, theta, keys(5), n)
    assert G.shape == (5, 1, P)
    # terms of order delta = 1e-4 (baseline) and delta² (central) remain
    assert np.abs(G - g).max() < (1e-3 if pairs == "baseline" else 1e-6) * np.linalg.norm(g)


@pytest.mark.parametrize("kind", ["finite-differences", "backpropagation"])
@pytest.mark.usefixtures("x64")
def test_exact_at_every_update(kind):
    task = PARITY.load()
    theta, g = theta_and_gradient(task)
    G = estimates(build(kind, 0.0), DEVICE, task, theta, keys(3), 2 * (P + 1))
    assert np.abs(G - g).max() < 1e-3 * np.linalg.norm(g)


@pytest.mark.parametrize("tau_theta", [0.0, 5.0])
@pytest.mark.parametrize("code", CODE_CASES)
@pytest.mark.usefixtures("x64")
def test_analog_form_follows_its_filter_equations(code, tau_theta):
    """REFERENCE §1.3, by itself in NumPy, on the linearised cost g·p."""
    task = PARITY.load()
    theta, g = theta_and_gradient(task)
    algorithm = build("analog-mgd", 0.0, code, tau_theta=tau_theta, tau_x=23, tau_hp=3.0)
    probes, estimate, _, _ = collect(algorithm, DEVICE, task, theta, keys(3), 64)
    a = 3.0 / 4.0
    for run in range(3):
        p = np.asarray(probes.parameters[run]) - np.asarray(theta)
        cost = p @ g
        power = {"sequential": 1 / P}.get(code, 1.0)
        high, G = 0.0, np.zeros(P)
        for t in range(64):
            previous = cost[t] if t % 23 == 0 else cost[t - 1]
            high = a * (high + cost[t] - previous)
            G = (high * p[t] / (power * DELTA**2) + tau_theta * G) / (1 + tau_theta)
            # the cost is linear up to terms of order delta; estimates are of order P |g|
            assert np.abs(a * np.asarray(estimate[run, t]) - G).max() < 1e-2 * np.linalg.norm(g)


# -------------------------------------------------------------------------------- trajectories


def amplitude(kind, delta):
    """The setting of an algorithm that says how far it perturbs."""
    others = {"spsa": {"c": delta}, "backpropagation": {}, "forward-gradient": {}}
    return others.get(kind, {"delta": delta})


RATES = {"analog-mgd": 0.003, "spsa": 0.1}


def moving(kind, **more):
    """An algorithm that visibly moves, with perturbations that single precision resolves."""
    rate = RATES.get(kind, 0.02)
    delta = amplitude(kind, 0.01)
    if kind == "weight-mgd":
        more = {"tau_theta": 3, "tau_x": 2, "optimizer": "adam", **more}
    if kind == "analog-mgd":
        more = {"tau_theta": 4.0, "tau_x": 7, **more}
    return build(kind, rate, **delta, **more)


SMALL_BATCH = Parity(bits=3, batch=3)


def train(kind, n, device=None, task=SMALL_BATCH, key=3, **more):
    more = {"score_every": 20, **more}
    device = device_of(kind) if device is None else device
    return dither.train(device, task, moving(kind), key=key, until=Until(measurements=n), **more)


@pytest.mark.parametrize("kind", ALGORITHM_CASES)
def test_the_key_decides_the_run(kind):
    first, again, other = (train(kind, 74, key=key) for key in (3, 3, 4))
    assert np.array_equal(first.parameters, again.parameters)
    assert not np.allclose(first.parameters, other.parameters, rtol=1e-3)


@pytest.mark.parametrize("kind", ALGORITHM_CASES)
def test_stopped_and_resumed_is_the_undisturbed_run(kind, tmp_path):
    """74 measurements at once, and 37 + 37, where 37 is no multiple of the evaluations' 20."""
    whole = train(kind, 74, replicas=2)
    train(kind, 37, replicas=2, out=tmp_path / "run")
    again = train(kind, 74, replicas=2, out=tmp_path / "run", resume=True)
    same_run(whole, again)


def same_run(one, two):
    assert np.array_equal(one.parameters, two.parameters)
    assert one.history.drop(columns="wall_seconds").equals(two.history.drop(columns="wall_seconds"))
    assert one.ledger == two.ledger
    assert one.score == two.score
    assert [r.stop_reason for r in one.replicas] == [r.stop_reason for r in two.replicas]


# a Python object has no way to show what activity-difference reads
HOSTED = [
    kind
    for kind, cls in ALGORITHMS.items()
    if cls.access_level <= AccessLevel.SITES and kind != "activity-difference"
]


@pytest.mark.parametrize("kind", HOSTED)
@pytest.mark.usefixtures("x64")
def test_a_python_device_gives_the_fused_trajectory(kind):
    n, key = 150, 3
    start = jax.random.split(jax.random.key(key), 4)[0]
    fused = train(kind, n, key=key, score_every=10**6)
    device = trainable(kind, NumpyDevice((3, 2, 2), initial=DEVICE.initial(start)))
    device.parameters = {parameter.name: parameter.shape for parameter in DEVICE.space.parameters}
    device.initial = np.clip(device.initial, *getattr(device, "bounds", (-np.inf, np.inf)))
    # on a real device the self-test of 3 samples and the last look at 8 test samples, in batches
    # of 3, are measurements too
    hosted = train(kind, n + 4, device, key=key, score_every=10**6)
    moved = np.abs(fused.parameters - np.asarray(device.initial)).max()
    assert moved > 1e-3
    # rounding of 1e-16 over delta = 1e-2, growing over 150 steps
    assert np.allclose(hosted.parameters, fused.parameters, rtol=0, atol=1e-9)
    assert fused.ledger["measurements"] == fused.ledger["writes"] == n
    assert fused.ledger["samples"] == 3 * n
    assert hosted.ledger["measurements"] == hosted.ledger["writes"] == n + 4
    assert hosted.ledger["samples"] == 3 * n + 8 + 3
    assert hosted.score == fused.score


def counts(device):
    """What a device has counted."""
    return device.calls, device.writes, device.samples


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("kind", HOSTED)
def test_the_ledger_is_the_devices_own_count(kind, share):
    device = trainable(kind, FlakyDevice(share, seed=1))
    result = train(kind, 120, device, score_every=50)
    ledger = result.ledger
    assert counts(device) == (ledger["measurements"], ledger["writes"], ledger["samples"])
    assert ledger["failed"] == device.failures
    assert (device.failures > 0) == (share > 0)
    assert device.made_safe == 1
    assert ledger["measurements"] >= 120


def hosted_until(kind, tick, device):
    """A rule's state when its clock first shows a tick, around a Python device."""
    chip, task = dither.PythonDevice(trainable(kind, device)), SMALL_BATCH.load()
    loop = HostedLoop(moving(kind), chip, task, 3, 100)
    while int(loop.carry.algorithm.clock.tick) < tick:
        loop.advance(1)
    return loop


@pytest.mark.parametrize("kind", HOSTED)
def test_a_failed_measurement_changes_nothing_but_the_ledger(kind):
    """Bit for bit the steady device's training, however many pairs are begun again."""
    steady = hosted_until(kind, 40, FlakyDevice(0.0, seed=0))
    flaky = hosted_until(kind, 40, FlakyDevice(0.3, seed=2))
    failures = flaky.device.target.failures
    assert failures == flaky.ledger.failed[0] > 5
    assert flaky.ledger.measurements[0] >= steady.ledger.measurements[0] + failures
    for one, other in zip(
        jax.tree.leaves(steady.carry.algorithm), jax.tree.leaves(flaky.carry.algorithm)
    ):
        if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        assert np.array_equal(one, other)


def moments(probes, run):
    """The moment of every probe of a run, as pairs."""
    return list(zip(np.asarray(probes.clock.tick[run]), np.asarray(probes.clock.part[run])))


@pytest.mark.parametrize("kind", ALGORITHM_CASES)
@pytest.mark.usefixtures("x64")
def test_a_failed_simulated_read_changes_nothing_but_the_count(kind):
    task, algorithm, theta = SMALL_BATCH.load(), moving(kind), jnp.full(P, 0.1)
    failing = device_of(kind, FailedReads(probability=0.3))
    steady, *_ = collect(algorithm, device_of(kind), task, theta, keys(2), 100)
    probes, _, _, failed = collect(algorithm, failing, task, theta, keys(2), 140)
    for run in range(2):
        fails = np.diff(np.asarray(failed[run]), prepend=0) > 0
        assert 10 < fails.sum() < 80
        asked, wanted = moments(probes, run), moments(steady, run)
        kept = []
        for k, moment in enumerate(asked):
            # what is asked anew takes the place of what was read before
            kept = [j for j in kept if asked[j] < moment]
            if not fails[k]:
                kept.append(k)
        # a baseline that had served before and is measured anew is not in the steady run
        kept = [k for k in kept if asked[k] in wanted]
        assert [asked[k] for k in kept] == wanted[: len(kept)]
        assert len(kept) > 20
        for mine, right in zip(jax.tree.leaves(probes), jax.tree.leaves(steady)):
            # the same numbers in a differently compiled program: equal up to rounding
            mine = np.asarray(mine[run])[kept]
            assert np.allclose(mine, np.asarray(right[run])[: len(kept)], rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", HOSTED)
def test_a_device_that_fails_for_ever_is_given_up(kind):
    device = trainable(kind, FlakyDevice(1.0, seed=0))
    result = dither.train(
        device, SMALL_BATCH, moving(kind), until=Until(measurements=1000, failures=7)
    )
    assert result.stop_reason == "failures"
    assert not result.succeeded
    assert result.failure
    assert result.ledger["failed"] == device.calls - 1
    assert result.ledger["measurements"] == device.calls
    assert result.ledger["failed"] in (7, 14)  # a look at the end may try again
    assert device.made_safe == 1
    assert result.history.empty


# ------------------------------------------------------------------------------ bounds and grid


class Recorder(NumpyDevice):
    """A device whose cost drives the parameters as far as they go."""

    def __init__(self, bounds, bits, seed):
        super().__init__()
        self.bounds, self.bits = bounds, bits
        self.initial = np.full(self.parameters, bounds[0] + 0.3 * (bounds[1] - bounds[0]))
        self.pull = 100 * np.random.default_rng(seed).standard_normal(self.parameters)

    def measure(self, inputs):
        super().measure(inputs)
        return np.full((len(inputs), 2), math.sqrt(1e6 + self.theta @ self.pull))


@settings(max_examples=12)
@given(
    kind=st.sampled_from(HOSTED),
    bits=st.none() | st.integers(2, 16),
    low=st.floats(-10, 10),
    span=st.floats(0.01, 10),
    delta=st.floats(1e-3, 1.0),
    rate=st.floats(1e-3, 100.0),
    seed=st.integers(0, 2**16),
)
@pytest.mark.filterwarnings("ignore::dither.training.train.TrapWarning")
def test_no_write_leaves_the_bounds_or_the_grid(kind, bits, low, span, delta, rate, seed):
    if dac := ALGORITHM_CASES[kind].boolean:
        low, span, bits = dac.low, dac.high - dac.low, dac.bits
    device = trainable(kind, Recorder((low, low + span), bits, seed))
    algorithm = ALGORITHM_CASES[kind].make(rate, **amplitude(kind, delta))
    dither.train(device, SMALL_BATCH, algorithm, key=seed, until=Until(measurements=40))
    received = np.array(device.received, float)
    assert len(received) == 40
    assert np.all(received >= low)
    assert np.all(received <= low + span)
    if bits:
        step = span / (2**bits - 1)
        level = (received - low) / step
        # single precision holds the voltages to 2⁻²³ of their size
        assert np.abs(level - np.round(level)).max() < 1e-3 + 2**-22 * (abs(low) + span) / step


@pytest.mark.parametrize("kind", ALGORITHM_CASES)
@pytest.mark.usefixtures("x64")
def test_a_dac_is_written_only_on_its_grid(kind):
    task = SMALL_BATCH.load()
    dac = ALGORITHM_CASES[kind].boolean or DAC(bits=4, low=-0.75, high=0.75)
    device = SimulatedDevice(network=NETWORK, imperfections=(dac,))
    algorithm = build(kind, 5.0, **amplitude(kind, 0.1))
    theta = device.initial(jax.random.key(1))
    probes, *_ = collect(algorithm, device, task, theta, keys(3), 100)
    written = probes.parameters
    if algorithm.sparse:
        written = np.asarray(written.values)[np.asarray(written.places) < P]
    highest = 2**dac.bits - 1
    level = (np.asarray(written) - dac.low) / (dac.high - dac.low) * highest
    assert np.abs(level - np.round(level)).max() < 1e-9
    assert level.min() >= -1e-9
    assert level.max() <= highest + 1e-9
    # so large a rate takes the parameters to both ends
    assert level.min() < 1.5
    assert level.max() > highest - 1.5
