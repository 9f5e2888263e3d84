"""Weight perturbation layer by layer: its update written plainly, and the optimal split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dither import MLP, SimulatedDevice
from dither.algorithms import LayerwiseMGD
from dither.algorithms.layerwise_mgd import EVEN
from dither.contract import Measurement, Problem
from dither.tasks import Parity
from dither.training.fused import Carry, Tally, measure_once

NETWORK = MLP(widths=(4, 8, 4, 1), gain=2.0)
DEVICE = SimulatedDevice(network=NETWORK)
N = np.array([40, 36, 5])
EDGES = np.cumsum(N)[:-1]
TASK = Parity(bits=4).load()
THETA = DEVICE.initial(jax.random.key(3)) + 0.1


def cost(theta):
    outputs = NETWORK(DEVICE.space.unravel(theta), TASK.inputs)
    return jnp.mean(TASK.cost(outputs, TASK.targets))


def run_by_hand(algorithm, measurements):
    """Every probe's parameters, the cost there, and the algorithm's theta after it."""
    state = algorithm.init(jax.random.key(1), jnp.asarray(THETA, float), Problem(DEVICE.space))
    measure, ask, tell = jax.jit(cost), jax.jit(algorithm.ask), jax.jit(algorithm.tell)
    for _ in range(measurements):
        probe, state = ask(state)
        C = measure(probe.theta)
        state, info = tell(state, probe, Measurement(C))
        yield np.asarray(probe.theta), float(C), np.asarray(state.theta), bool(info.updated)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("pairs", ["baseline", "central"])
@pytest.mark.usefixtures("x64")
def test_the_update_written_plainly(normalise, pairs):
    eta, delta, tau = 0.3, 1e-3, 2
    algorithm = LayerwiseMGD(
        learning_rate=eta, delta=delta, tau_theta=tau, normalise=normalise, pairs=pairs
    )
    theta, G, updates = np.asarray(THETA, float), np.zeros(N.sum()), 0
    pending = baseline = None
    for at, C, after, updated in run_by_hand(algorithm, 40):
        if pairs == "baseline" and np.allclose(at, theta, rtol=0, atol=1e-9):
            baseline = C
            continue
        if pairs == "central":
            if pending is None:
                pending = at, C
                continue
            (plus, C_plus), pending = pending, None
            p, change = (plus - at) / 2, (C_plus - C) / 2
        else:
            p, change = at - theta, C - baseline
        (layer,) = {np.searchsorted(EDGES, i, "right") for i in np.flatnonzero(p)}
        d = delta / np.sqrt(N[layer]) if normalise else delta
        assert np.allclose(np.abs(p[p != 0]), d)
        assert np.count_nonzero(p) == N[layer]
        G += change * p / d**2
        if updated:
            step = G / tau
            if normalise:
                growth = np.sqrt(1 + (N - 1) / tau)
                step = step / np.repeat(growth, N)
            theta, G, updates = theta - eta * step, np.zeros(N.sum()), updates + 1
            np.testing.assert_allclose(after, theta, rtol=1e-9, atol=1e-12)
            theta = after
    # 3 layers twice: 7 measurements an update with a baseline, 12 without
    assert updates == 40 // (7 if pairs == "baseline" else 12)


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_the_optimal_split_is_learned_and_has_the_least_variance():
    """`E|G|² = |g|² + Σ_l |g_l|² (N_l − 1) / T_l`, with `T_l ∝ |g_l| √(N_l − 1)` the least."""
    g = np.asarray(jax.grad(cost)(jnp.asarray(THETA, float)))
    squares = np.array([part @ part for part in np.split(g, EDGES)])
    best = np.sqrt(squares * (N - 1))
    q = (1 - EVEN) * best / best.sum() + EVEN / 3
    tau, periods, runs = 30, 12, 1500
    grown = {}
    for split in ("equal", "optimal"):
        algorithm = LayerwiseMGD(
            learning_rate=0.0, delta=1e-5, split=split, tau_theta=tau, tau_x=10**6
        )

        def run(key, algorithm=algorithm):
            state = algorithm.init(key, jnp.asarray(THETA, float), Problem(DEVICE.space))
            carry = Carry(state, DEVICE.fabricate(key), key, Tally.empty())

            def step(carry, _):
                carry, _, info = measure_once(algorithm, DEVICE, TASK, carry)
                return carry, jnp.where(info.updated, jnp.sum(info.estimate**2), 0.0)

            carry, squared = jax.lax.scan(step, carry, length=periods * (3 * tau + 1))
            return squared, carry.algorithm.memory.share

        squared, share = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), runs))
        late = np.asarray(squared)[:, (periods // 2) * (3 * tau + 1) :].sum(axis=1)
        grown[split] = late / (periods - periods // 2) / (g @ g)
    # a mean of some hundred squared slopes is known to 15 % at worst, its root to 8 %
    assert np.allclose(np.mean(share, axis=0), q, rtol=0.05)
    for split, shares in (("equal", np.full(3, 1 / 3)), ("optimal", q)):
        law = 1 + np.sum(squares * (N - 1) / (shares * 3 * tau)) / (g @ g)
        error = grown[split].std() / np.sqrt(runs)
        assert abs(grown[split].mean() - law) < 5 * error + 0.01 * (law - 1), split
    excess = {split: values.mean() - 1 for split, values in grown.items()}
    assert excess["optimal"] < excess["equal"]


def test_one_layer_is_weight_perturbation():
    """Where nothing names layers, all is one."""
    from dither.algorithms.layers import sizes
    from dither.contract import Parameter, Space

    assert sizes(Space((Parameter("theta", (7,)),))).tolist() == [7]
    assert sizes(DEVICE.space).tolist() == N.tolist()
