"""Differential equations as tasks: residuals, solutions, samplers, training."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import dither
from dither import RequestError, SimulatedDevice, Until
from dither.algorithms import Backpropagation, NodePerturbation, WeightMGD
from dither.networks import MLP
from dither.tasks import (
    SAMPLERS,
    STENCILS,
    Adaptive,
    Burgers,
    CentralDifferences,
    Convection,
    Digits,
    Heat,
    Poisson1D,
    Poisson2D,
    Stein,
    Uniform,
    make_task,
)
from dither.tasks.scores import RELATIVE
from dither.tasks.stencils import derivatives
from dither.testing import battery
from dither.testing.devices import NumpyDevice
from dither.training.figure import draw_score
from dither.training.fused import FusedLoop

TestEverySampler = battery(*SAMPLERS.values())
TestEveryStencil = battery(*STENCILS.values())

EQUATIONS = [
    Poisson1D(frequency=3.0, width=0.5),
    Poisson2D(frequency=2.0),
    Heat(frequency=2),
    Convection(),
    Burgers(),
]
BY_KIND = {"ids": lambda equation: equation.kind}


def residuals(equation, h, kind=CentralDifferences):
    """The residual of the exact solution at the points of a small grid, in double precision."""
    size = {"h": h} if kind is CentralDifferences else {"sigma": h}
    changes = {"points": 12, "batch": 4, "derivatives": kind(**size)}
    equation = equation.model_copy(update=changes)
    with jax.enable_x64(True):
        task = equation.load()
        u = jnp.asarray(equation.solution(np.asarray(task.inputs)))[:, None]
        costs = np.asarray(task.cost(u, task.targets)).reshape(-1, task.group)
    return np.sqrt(np.mean(costs[:, 0]) / task.group), np.sqrt(np.max(costs[:, 1:]))


@pytest.mark.parametrize("kind", [CentralDifferences, Stein])
@pytest.mark.parametrize("equation", EQUATIONS, **BY_KIND)
def test_the_solution_has_no_residual_to_second_order(equation, kind):
    coarse, fine = (residuals(equation, h, kind)[0] for h in (0.01, 0.005))
    order = np.log2(coarse / fine)
    # a linear equation holds for the smoothed solution too, to the order of the sparse grid
    linear = equation.kind in ("heat", "convection")
    assert 1.9 < order < (np.inf if kind is Stein and linear else 2.1)
    assert fine < 0.03


@pytest.mark.parametrize("equation", EQUATIONS, **BY_KIND)
def test_the_solution_has_the_boundary_values(equation):
    assert residuals(equation, 0.01)[1] == 0  # by construction: the values are the solution's
    task = equation.load()
    edges = np.asarray(task.inputs)[task.group - 1 :: task.group]
    low, high = np.array(equation.domain).T
    on_face = np.isclose(edges, low) | np.isclose(edges, high)
    assert on_face.any(axis=1).all()
    for axis, end in equation.faces:
        assert np.isclose(edges[:, axis], equation.domain[axis][end]).any()


def test_the_given_values_are_those_of_the_papers():
    x, t = np.linspace(-1, 1, 41), np.linspace(0, 1, 11)
    zero, one = np.zeros_like(t), np.ones_like(t)
    start, sides = np.stack([x, 0 * x], 1), [np.stack([s * one, t], 1) for s in (-1, 1)]
    heat, burgers = Heat(frequency=2), Burgers(nu=0.01 / np.pi)
    np.testing.assert_allclose(heat.solution(start), np.sin(2 * np.pi * x), atol=1e-12)
    np.testing.assert_allclose(burgers.solution(start), -np.sin(np.pi * x), atol=1e-12)
    for side in sides:
        np.testing.assert_allclose(heat.solution(side), zero, atol=1e-12)
        np.testing.assert_allclose(burgers.solution(side), zero, atol=1e-9)
    inflow = Convection(beta=30).solution(np.stack([zero, t], 1))
    np.testing.assert_allclose(inflow, -np.sin(30 * t), atol=1e-12)


def test_burgers_front_has_the_published_slope():
    # Basdevant et al. (1986): the largest |du/dx| at x = 0 is 152.00516 at pi t = 1.6037
    h, burgers = 1e-6, Burgers(nu=0.01 / np.pi)
    at = np.array([[-h, 1.6037 / np.pi], [h, 1.6037 / np.pi]])
    low, high = burgers.solution(at)
    assert abs((low - high) / (2 * h) - 152.00516) < 0.01


def test_derivatives_of_polynomials():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (5, 2))

    def f(x):
        return 2 * x[..., 0] ** 3 - x[..., 0] * x[..., 1] + 3 * x[..., 1] ** 2

    for kind in (CentralDifferences(h=0.1), Stein(sigma=0.1), Stein(sigma=0.1, level=4)):
        stencil = kind.points(2)
        with jax.enable_x64(True):
            found = derivatives(stencil, jnp.asarray(f(x[:, None] + stencil.offsets)))
        # third derivatives: h² f‴/6 for differences, σ² f‴/2 for the Gaussian
        more = 0.01 * 12 * (1 / 6 if isinstance(kind, CentralDifferences) else 1 / 2)
        np.testing.assert_allclose(found.first[0], 6 * x[:, 0] ** 2 - x[:, 1] + more, rtol=1e-9)
        np.testing.assert_allclose(found.first[1], -x[:, 0] + 6 * x[:, 1], atol=1e-9)
        np.testing.assert_allclose(found.second[0], 12 * x[:, 0], atol=1e-9)
        np.testing.assert_allclose(found.second[1], 6, atol=1e-9)


def test_stein_gives_the_derivative_of_the_smoothed_output():
    # of cos kx, smoothed: e^{−k² σ² / 2} cos kx
    k, sigma, x = 3.0, 0.2, np.array([[0.3], [-0.7]])
    with jax.enable_x64(True):
        stencil = Stein(sigma=sigma, level=4).points(1)
        found = derivatives(stencil, jnp.cos(k * (x + stencil.offsets[:, 0])))
    smooth = np.exp(-((k * sigma) ** 2) / 2)
    np.testing.assert_allclose(found.second[0], -(k**2) * smooth * np.cos(k * x[:, 0]), rtol=2e-3)
    np.testing.assert_allclose(found.first[0], -k * smooth * np.sin(k * x[:, 0]), rtol=2e-3)


def test_the_cost_of_a_batch_is_that_of_its_points():
    equation = Poisson1D(frequency=2.0, boundary=3.0, points=16, batch=4)
    task = equation.load()
    rows = task.sample(jax.random.key(0), jnp.int32(2))
    x, h = np.asarray(task.inputs, float)[rows, 0].reshape(4, 4), 0.02
    np.testing.assert_allclose(x[:, 1] - x[:, 0], h, rtol=1e-4)

    def u(x):
        return 0.5 * x**3 + x

    f = equation.source(x[:, :1])
    r = (3 * x[:, 0] - f) / (2 * np.pi) ** 2  # u″ of a cubic is exact by differences
    edge = u(x[:, 3]) - equation.solution(x[:, 3:])
    cost = jnp.mean(task.cost(jnp.asarray(u(x)).reshape(-1, 1), task.targets[rows]))
    assert float(cost) == pytest.approx(np.mean(r**2) + 3 * np.mean(edge**2), rel=1e-3)


def sampler_at(costs, share, **settings):
    return Adaptive(uniform=share, **settings).probabilities(jnp.asarray(costs), jnp.asarray(share))


def test_adaptive_probabilities_are_the_closed_form():
    costs = np.array([4.0, 1.0, 0.0, 9.0, -1.0])
    m = np.sqrt([4.0, 1.0, 0.0, 9.0, 3.5])  # the mean of the four for the one not measured
    np.testing.assert_allclose(sampler_at(costs, 0.3), 0.3 / 5 + 0.7 * m / m.sum(), rtol=1e-6)
    square = np.arange(12.0).reshape(3, 4) ** 2
    slopes = np.sqrt(sum(s**2 for s in np.gradient(square))).ravel()
    q = 0.2 / 12 + 0.8 * slopes / slopes.sum()
    np.testing.assert_allclose(sampler_at(square, 0.2, by="gradient"), q, rtol=1e-5)
    np.testing.assert_allclose(sampler_at(-np.ones(5), 0.1), 0.2, rtol=1e-6)


def test_adaptive_draws_have_these_probabilities():
    sampler, n = Adaptive(uniform=0.25, every=1, cycle=2), 20_000
    state = sampler.tell(sampler.init((4,)), jnp.arange(4), jnp.array([16.0, 1.0, 0.0, 1.0]))
    state = sampler.begin(state, jnp.int32(1))  # half a cosine on: s = 0.25 + 0.75 / 2
    q = 0.625 / 4 + 0.375 * np.array([4, 1, 0, 1]) / 6
    np.testing.assert_allclose(state.q, q, rtol=1e-6)
    chosen = np.asarray(sampler.draw(state, jax.random.key(1), n, 4))
    shares = np.bincount(chosen, minlength=4) / n
    assert np.all(np.abs(shares - q) < 4 * np.sqrt(q * (1 - q) / n))


def test_weights_keep_the_cost_unbiased():
    sampler = Adaptive(uniform=0.1, every=1, cycle=1, unbiased=True)
    costs = np.array([9.0, 0.5, 0.1, 2.0, 4.0])
    state = sampler.tell(sampler.init((5,)), jnp.arange(5), jnp.asarray(costs))
    state = sampler.begin(state, jnp.int32(1))
    chosen = sampler.draw(state, jax.random.key(2), 50_000, 5)
    weighted = np.asarray(sampler.weights(state, chosen)) * costs[chosen]
    error = weighted.std() / np.sqrt(len(weighted))
    assert abs(weighted.mean() - costs.mean()) < 4 * error
    # against the closed form of the variance: Σ C² / (N² q) − mean²
    q = np.asarray(state.q)
    assert weighted.var() == pytest.approx(np.sum(costs**2 / q) / 25 - costs.mean() ** 2, rel=0.05)


def test_momentum_share_and_restart():
    sampler = Adaptive(momentum=0.75, every=10, cycle=4, uniform=0.2, patience=2)
    state = sampler.init((3,))
    for cost in (1.0, 5.0):
        state = sampler.tell(state, jnp.array([0, 0, 2]), jnp.array([cost, cost, 2.0]))
    np.testing.assert_allclose(state.costs, [0.75 * 1 + 0.25 * 5, -1, 2])
    assert sampler.begin(state, jnp.int32(9)).period == 0  # the same batches to the end of a period
    shares = [float(sampler.share(jnp.int32(tau))) for tau in range(5)]
    np.testing.assert_allclose(
        shares,
        [1, 0.2 + 0.4 * (1 + np.sqrt(0.5)), 0.6, 0.2 + 0.4 * (1 - np.sqrt(0.5)), 1],
        rtol=1e-6,
    )
    began = []
    for period, cost in enumerate((3.0, 2.0, 2.5, 2.5, 1.0, 1.0)):
        state = sampler.begin(state, jnp.int32(10 * period))
        began.append(int(state.began))
        state = sampler.tell(state, jnp.arange(3), jnp.full(3, cost))
    assert began == [0, 0, 0, 0, 4, 4]  # two periods without a lower cost than 2


DEVICE = SimulatedDevice(network=MLP(widths=(1, 6, 1)), access="outputs")
RULE = WeightMGD(learning_rate=0.02, delta=0.01, pairs="central", tau_x=2)
ADAPTIVE = Adaptive(every=3, cycle=4, patience=3, momentum=0.3, unbiased=True)
TASK = Poisson1D(frequency=1.0, points=24, batch=5, sampler=ADAPTIVE)


@pytest.mark.quick("uniform")
@pytest.mark.parametrize("sampler", [Uniform(), ADAPTIVE], ids=["uniform", "adaptive"])
def test_a_python_device_is_trained_as_a_simulated_one(sampler):
    task, n, key = TASK.model_copy(update={"sampler": sampler}), 200, 3
    with jax.enable_x64(True):
        data = task.load()
        device = NumpyDevice((1, 6, 1), DEVICE.initial(jax.random.split(jax.random.key(key), 4)[0]))
        device.parameters = {p.name: p.shape for p in DEVICE.space.parameters}
        fused = dither.train(DEVICE, task, RULE, key=key, until=Until(measurements=n))
        looks = 1 + -(-len(data.test_inputs) // data.batch)  # the self-test, the test set
        real = dither.train(
            device, task, RULE, key=key, until=Until(measurements=n + looks), score_every=10**6
        )
    assert np.abs(fused.parameters - np.asarray(device.initial)).max() > 1e-2
    assert np.allclose(real.parameters, fused.parameters, rtol=0, atol=1e-9)
    assert real.score == pytest.approx(fused.score, abs=1e-9)
    assert real.ledger["samples"] == (n + 1) * data.batch + len(data.test_inputs)


def test_adaptive_sampling_resumes_bit_for_bit(tmp_path):
    whole = dither.train(DEVICE, TASK, RULE, until=Until(measurements=300), score_every=50)
    for measurements, resume in ((100, False), (300, True)):
        cut = dither.train(
            DEVICE,
            TASK,
            RULE,
            until=Until(measurements=measurements),
            score_every=50,
            out=tmp_path / "run",
            resume=resume,
        )
    assert np.array_equal(whole.parameters, cut.parameters)


def test_measurements_count_the_stencil():
    result = dither.train(DEVICE, TASK, RULE, until=Until(measurements=50))
    assert result.ledger["samples"] == 50 * 5 * 4


def test_samples_of_any_task_are_drawn_by_their_cost():
    rng = np.random.default_rng(0)
    targets = 0.1 * rng.normal(size=(40, 1))
    targets[7] = 30  # which is never learned
    sampler = Adaptive(every=3, cycle=100, patience=1000, unbiased=True)
    inputs = rng.normal(size=(40, 3))
    task = make_task(inputs, targets, inputs, targets, batch=4, sampler=sampler)
    rule = RULE.model_copy(update={"learning_rate": 1e-6})
    loop = FusedLoop(rule, SimulatedDevice(network=MLP(widths=(3, 4, 1))), task, [0, 1])
    loop.advance(500)
    costs, q = np.asarray(loop.carry.sampling.costs), np.asarray(loop.carry.sampling.q)
    assert (costs >= 0).all()
    assert np.allclose(costs[:, 7], 900, rtol=0.2)
    assert (np.argmax(q, axis=1) == 7).all()


@pytest.mark.parametrize(
    ("device", "task", "rule", "said"),
    [
        (SimulatedDevice(network=MLP(widths=(1, 4, 1), activation="relu")), TASK, RULE, "order 2"),
        (SimulatedDevice(network=MLP(widths=(1, 4, 1))), TASK,
         NodePerturbation(learning_rate=0.1), "cost for 4 samples together"),
        (SimulatedDevice(network=MLP(widths=(1, 4, 1)), access="cost"), TASK, RULE,
         "needs outputs"),
        (SimulatedDevice(network=MLP(widths=(1, 4, 2))), TASK, RULE, "2 outputs"),
        (DEVICE, Poisson1D(points=8, batch=9), RULE, "larger than the grid of 8"),
        (DEVICE, Digits(sampler=Adaptive(by="gradient")), RULE, "have none"),
    ],
    ids=["relu", "nodes", "cost", "outputs", "batch", "no-grid"],
)  # fmt: skip
def test_what_does_not_fit_is_refused(device, task, rule, said):
    with pytest.raises(RequestError, match=said) as refused:
        dither.train(device, task, rule, until=Until(measurements=10))
    assert str(refused.value).count(". ") == 0


def test_relu_may_learn_a_first_order_equation():
    device = SimulatedDevice(network=MLP(widths=(2, 4, 1), activation="relu"))
    result = dither.train(device, Convection(points=8, batch=8), RULE, until=Until(measurements=20))
    assert np.isfinite(result.score)


def test_backpropagation_learns_poisson():
    device = SimulatedDevice(network=MLP(widths=(1, 16, 1)))
    rule = Backpropagation(learning_rate=0.02, optimizer={"name": "adam"})
    task = Poisson1D(frequency=1.0, batch="all", points=32)
    result = dither.train(device, task, rule, until=Until(measurements=3000))
    assert result.score > 0.9


def test_the_error_is_drawn_whole_on_its_logarithmic_axis():
    from matplotlib.figure import Figure

    errors = np.array([1.5, 0.5, 0.02])
    history = pd.DataFrame({"replica": 0, "measurements": [10, 20, 30], "score": 1 - errors})
    axes = Figure().subplots()
    draw_score(axes, history, RELATIVE, 0.99)
    low, high = axes.get_ylim()
    assert 0.001 < low <= 0.01 < 1.5 <= high
