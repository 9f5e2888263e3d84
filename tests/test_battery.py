"""Every registered algorithm in the battery, and its estimates beside the laws of their variance.

A new algorithm is under test once it is registered; how it is made, and the law of its estimate,
stand in `ALGORITHM_CASES`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dither
from conftest import LONG
from dither import ReadoutDevice, SimulatedDevice, Until
from dither.algorithms import (
    ALGORITHMS,
    SPSA,
    ActivityDifference,
    AnalogMGD,
    Backpropagation,
    BooleanLeastSquares,
    BooleanMGD,
    CoordinateDescent,
    DecorrelatedNodePerturbation,
    DirectFeedbackAlignment,
    Evolution,
    FeedbackAlignment,
    FiniteDifferences,
    ForwardGradient,
    LayerwiseMGD,
    LearnedFeedback,
    LocalForwardGradient,
    LocalLosses,
    NodePerturbation,
    PhysicsAware,
    WeightMGD,
    WhitenedNodePerturbation,
)
from dither.algorithms.selection import SELECTIONS
from dither.algorithms.updates import UPDATES
from dither.codes import CODES
from dither.contract import AccessLevel
from dither.devices import DAC, IMPERFECTIONS, CostNoise, Fleet
from dither.networks import RESERVOIRS
from dither.tasks import Parity
from dither.testing import battery
from dither.testing.devices import NumpyDevice, Recorder
from dither.testing.runs import (
    DEVICE,
    NETWORK,
    SMALL_BATCH,
    P,
    collect,
    grid_of,
    hosted,
    keys,
    trainable,
)
from exact_nodes import dense_noise, dense_spread, inputs_and_errors

DELTA = 1e-4
A = 1.6 / 2.6  # the high-pass factor of tau_hp = 1.6


class Case(NamedTuple):
    """How an algorithm is made, and what REFERENCE §1.6 says of its estimate, if it makes one.

    `make(rate, **settings)`; `spread(kappa, P)` = E|G|²/|g|² for one estimate without noise;
    `noise(P)`, which cost noise adds to it, times sigma² / (delta² |g|²), for random signs;
    `lawful`, the codes for which this holds (None: it takes no code); `settle`, estimates to leave
    out at the start.
    """

    make: Callable[..., object]
    spread: Callable[[float, int], float] | None = None
    noise: Callable[[int], float] = lambda _: 0.0
    lawful: tuple[str, ...] | None = None
    settle: int = 0


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
    "local-forward-gradient": Case(maker(LocalForwardGradient)),
    "backpropagation": Case(maker(Backpropagation), exact),
    "physics-aware": Case(maker(PhysicsAware), exact),
    "learned-feedback": Case(maker(LearnedFeedback), exact),
    "feedback-alignment": Case(maker(FeedbackAlignment)),
    "direct-feedback-alignment": Case(maker(DirectFeedbackAlignment)),
    "coordinate-descent": Case(lambda *_, **__: CoordinateDescent()),
    "evolution": Case(lambda *_, **__: Evolution(strategy="SNES", population=4)),
    "boolean-mgd": Case(lambda rate, **_: BooleanMGD(learning_rate=rate)),
    "boolean-least-squares": Case(lambda *_, **__: BooleanLeastSquares(sweeps=2)),
}
EXACT = ["finite-differences", "backpropagation", "physics-aware", "learned-feedback"]
ESTIMATORS = [kind for kind, case in ALGORITHM_CASES.items() if case.spread]

CODE_CASES = {kind: code() for kind, code in CODES.items()}

PAIRS = [(kind, code) for kind in ESTIMATORS for code in (ALGORITHM_CASES[kind].lawful or (None,))]
PARITY = Parity(bits=3)


def build(kind, rate, code=None, **more):
    if code is not None:
        more["code"] = CODE_CASES[code]
    return ALGORITHM_CASES[kind].make(rate, **more)


def theta_and_gradient(task):
    """A point, and the exact gradient of the mean cost there by automatic differentiation."""
    theta = DEVICE.initial(jax.random.key(5)) + 0.1

    def cost(theta):
        outputs = NETWORK(DEVICE.space.unravel(theta), task.inputs)
        return jnp.mean(task.cost(outputs, task.targets))

    return theta, np.asarray(jax.grad(cost)(theta))


def estimates(algorithm, device, task, theta, keys, n):
    """The estimates of which updates were made: keys × updates × P."""
    _, estimate, updated, _ = collect(algorithm, device, task, theta, keys, n)
    assert np.all(updated == updated[0])
    return np.asarray(estimate)[:, np.asarray(updated[0])]


def one_cycle(kind, code):
    """Measurements that hold one cycle of the code for one estimate after another."""
    case = ALGORITHM_CASES[kind]
    ticks = 16 if code is None else CODE_CASES[code].cycle(P) or 16
    if kind == "finite-differences":
        return P + 1
    return ticks + case.settle if kind == "analog-mgd" else 2 * ticks


# ------------------------------------------------------------------------------- the registries


TestEveryAlgorithm = battery(*ALGORITHMS.values())
TestEveryUpdate = battery(*UPDATES.values())
TestEverySelection = battery(*SELECTIONS.values())
TestEveryReservoir = battery(*RESERVOIRS.values())
TestEveryDevice = battery(SimulatedDevice, ReadoutDevice, Fleet)

# a Python object has no way to show what activity-difference reads
HOSTED = {
    kind
    for kind, cls in ALGORITHMS.items()
    if cls.access_level <= AccessLevel.SITES and kind != "activity-difference"
}


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_a_python_device_gives_all_that_a_rule_needs_but_for_these(kind):
    try:
        hosted(ALGORITHMS[kind].example(), NumpyDevice())
    except pytest.skip.Exception:
        assert kind not in HOSTED
    else:
        assert kind in HOSTED


def test_what_is_left_to_the_long_tests_exists():
    assert set(ALGORITHMS) | set(IMPERFECTIONS) >= LONG


def test_every_algorithm_has_a_case():
    missing = set(ALGORITHMS) - set(ALGORITHM_CASES)
    assert not missing, f"add one line to ALGORITHM_CASES in {__file__} for each of {missing}"


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


@pytest.mark.parametrize("kind", EXACT)
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


# ------------------------------------------------------------------------------ bounds and grid


def amplitude(kind, delta):
    """The setting of an algorithm that says how far it perturbs."""
    if kind == "spsa":
        return {"c": delta}
    return {"delta": delta} if "delta" in ALGORITHMS[kind].model_fields else {}


@settings(max_examples=12)
@given(
    kind=st.sampled_from(sorted(HOSTED)),
    bits=st.none() | st.integers(2, 16),
    low=st.floats(-10, 10),
    span=st.floats(0.01, 10),
    delta=st.floats(1e-3, 1.0),
    rate=st.floats(1e-3, 100.0),
    seed=st.integers(0, 2**16),
)
@pytest.mark.filterwarnings("ignore::dither.training.train.TrapWarning")
def test_no_write_leaves_the_bounds_or_the_grid(kind, bits, low, span, delta, rate, seed):
    twin = {"twin": NETWORK} if "twin" in ALGORITHMS[kind].model_fields else {}
    algorithm = ALGORITHM_CASES[kind].make(rate, **amplitude(kind, delta), **twin)
    if dac := grid_of(algorithm):
        low, span, bits = dac.low, dac.high - dac.low, dac.bits
    device = trainable(algorithm, Recorder((low, low + span), bits, seed))
    dither.train(device, SMALL_BATCH, algorithm, key=seed, until=Until(measurements=40))
    device.check_received(40)


@pytest.mark.parametrize("kind", ALGORITHM_CASES)
@pytest.mark.usefixtures("x64")
def test_a_dac_is_driven_to_both_ends_of_its_grid(kind):
    task = SMALL_BATCH.load()
    algorithm = build(kind, 5.0, **amplitude(kind, 0.1))
    dac = grid_of(algorithm) or DAC(bits=4, low=-0.75, high=0.75)
    device = SimulatedDevice(network=NETWORK, imperfections=(dac,))
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
