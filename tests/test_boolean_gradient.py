"""Boolean and ternary weights by gradients: the estimate against all settings, training, refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import MLP, RequestError, SimulatedDevice, Until
from dither.algorithms import BooleanMGD
from dither.contract import Clock, Measurement, Parameter, Problem, Space
from dither.devices import DAC
from dither.tasks import NIST7x7, Parity
from dither.testing import battery
from dither.testing.algorithm import AlgorithmBattery
from dither.testing.runs import same_run
from dither.training.fit import check_fit

P = 5
DRAW = np.random.default_rng(0)
TABLE = DRAW.standard_normal((P, P, P))
LATENT = DRAW.uniform(-0.8, 0.8, P)
LOW, HIGH = -0.5, 1.5
THETA = LOW + (HIGH - LOW) * (LATENT + 1) / 2
SHARP = 2.0


def cost(w):
    """A cost without any symmetry, of degree six in every weight."""
    return jnp.einsum("ijk,i,j,k", TABLE, w, w, w) ** 2 / 10 + jnp.sin(w @ TABLE[0, 0])


def space_of(levels):
    return Space((Parameter("w", (P,), LOW, HIGH, levels),))


def expected_cost(theta, levels):
    """E C over all levelsᴾ settings, each parameter's number of steps binomial in σ(λ)."""
    p = jax.nn.sigmoid(SHARP * (2 * theta - LOW - HIGH) / (HIGH - LOW))
    n, step = levels - 1, (HIGH - LOW) / (levels - 1)
    choose = jnp.asarray([1.0, 2.0, 1.0] if n == 2 else [1.0, 1.0])
    chances = jnp.stack([choose[k] * p**k * (1 - p) ** (n - k) for k in range(levels)])
    settings = np.array(list(itertools.product(range(levels), repeat=P)))
    weight = jnp.prod(chances[settings, jnp.arange(P)], axis=1)
    return weight @ jax.vmap(cost)(LOW + step * jnp.asarray(settings, float))


def estimates(flips, levels, n):
    """n estimates from n keys, and the two settings of every pair."""
    rule = BooleanMGD(learning_rate=0.0, sharpness=SHARP, flips=flips, start=1.0)
    problem = Problem(space_of(levels))

    def one(key):
        state = rule.init(key, jnp.asarray(THETA), problem)
        written = []
        for _ in range(2):
            probe, state = rule.ask(state)
            written.append(probe.theta)
            state, info = rule.tell(state, probe, Measurement(cost(probe.theta)))
        return info.estimate, jnp.stack(written), info.updated

    G, written, updated = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), n))
    assert np.all(updated)
    return np.asarray(G), np.asarray(written)


# ---------------------------------------------------------------------------------- the estimate


@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("flips", [1.0, 0.2])
@pytest.mark.usefixtures("x64")
def test_the_estimate_is_unbiased_for_the_expected_cost(flips, levels):
    """The mean of 400 000 estimates beside the gradient by enumeration, 5 standard errors."""
    g = np.asarray(jax.grad(expected_cost)(jnp.asarray(THETA), levels))
    G, _ = estimates(flips, levels, 400_000)
    error = G.std(axis=0) / np.sqrt(len(G))
    assert np.all(np.abs(G.mean(axis=0) - g) < 5 * error)
    assert error.max() < 0.05 * np.linalg.norm(g)


@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("flips", [1.0, 0.2])
@pytest.mark.usefixtures("x64")
def test_either_setting_is_drawn_as_if_alone_and_they_differ_as_told(flips, levels):
    n = 100_000
    _, written = estimates(flips, levels, n)
    p = 1 / (1 + np.exp(-SHARP * LATENT))
    t = (written - LOW) / (HIGH - LOW)
    error = np.sqrt(p * (1 - p) / (levels - 1) / n)
    assert np.all(np.abs(t.mean(axis=0) - p) < 5 * error)
    d = 2 * flips * np.minimum(p, 1 - p)
    square = np.square((levels - 1) * (t[:, 0] - t[:, 1]))
    error = square.std(axis=0) / np.sqrt(n)
    assert np.all(np.abs(square.mean(axis=0) - (levels - 1) * d) < 5 * error)


@pytest.mark.usefixtures("x64")
def test_its_variance_is_below_reinforces():
    """Of two settings each: REINFORCE with the other's cost as baseline, and without."""
    G, _ = estimates(1.0, 2, 200_000)
    p = 1 / (1 + np.exp(-SHARP * LATENT))
    draw = np.random.default_rng(1)
    b = (draw.uniform(size=(2, 200_000, P)) < p).astype(float)
    C = np.asarray(jax.vmap(jax.vmap(cost))(LOW + (HIGH - LOW) * b))[..., None]
    score = (b - p) * 2 * SHARP / (HIGH - LOW)
    plain = (C * score).mean(axis=0)
    left_out = (C[0] - C[1]) * (score[0] - score[1]) / 2
    g = np.asarray(jax.grad(expected_cost)(jnp.asarray(THETA), 2))
    for rival in (plain, left_out):
        error = rival.std(axis=0) / np.sqrt(len(rival))
        assert np.all(np.abs(rival.mean(axis=0) - g) < 5 * error)
        assert G.var(axis=0).sum() < 0.9 * rival.var(axis=0).sum()


@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.usefixtures("x64")
def test_training_ends_at_the_most_probable_setting(levels):
    rule = BooleanMGD(learning_rate=0.0, sharpness=SHARP, start=1.0)
    state = rule.init(jax.random.key(0), jnp.asarray(THETA), Problem(space_of(levels)))
    p = 1 / (1 + np.exp(-SHARP * LATENT))
    binomial = [(1 - p) ** 2, 2 * p * (1 - p), p**2] if levels == 3 else [1 - p, p]
    likeliest = np.argmax(binomial, axis=0)
    wanted = LOW + (HIGH - LOW) / (levels - 1) * likeliest
    np.testing.assert_allclose(rule.parameters(state), wanted)


@pytest.mark.usefixtures("x64")
def test_another_update_draws_around_its_own_point():
    """Extrapolation with gamma: the draws are those of θ − gamma ζ, latent and off the grid."""
    rule = BooleanMGD(learning_rate=0.0, start=1.0, update={"kind": "history"})
    state = rule.init(jax.random.key(0), jnp.asarray(THETA), Problem(space_of(2)))
    np.testing.assert_allclose(rule._point(state), THETA)


# -------------------------------------------------------------------------------------- training


def test_it_trains_a_network_of_one_bit_weights():
    """The letters on 49-8-4 of weights ±0.5: above 90 %, where the start guesses."""
    device = SimulatedDevice(
        network=MLP(widths=(49, 8, 4)), imperfections=(DAC(bits=1, low=-0.5, high=0.5),)
    )
    rule = BooleanMGD(learning_rate=0.02, flips=0.2, optimizer={"name": "adam"})
    until = Until(measurements=8000)
    result = dither.train(device, NIST7x7(batch=49), rule, until=until, replicas=3, key=1)
    scores = sorted(one.score for one in result.replicas)
    assert set(np.unique(np.abs(result.parameters))) == {0.5}
    assert scores[1] > 0.9


TestBooleanMGD = battery(BooleanMGD)


class TestTernary(AlgorithmBattery):
    """The same on weights of three levels is not the battery's own grid: see below."""

    __test__ = False


def test_ternary_weights_are_trained_and_resumed(tmp_path):
    from dither.devices import ReadoutDevice
    from dither.networks import EchoState
    from dither.tasks import SeriesTask

    device = ReadoutDevice(reservoir=EchoState(neurons=20), weights="ternary", access="cost")
    task = SeriesTask(series="mackey-glass")
    rule = BooleanMGD(learning_rate=0.05, optimizer={"name": "adam"})

    def run(n, **more):
        return dither.train(device, task, rule, until=Until(measurements=n), key=1, **more)

    whole = run(600, score_every=50)
    run(301, score_every=50, out=tmp_path / "run")
    same_run(whole, run(600, score_every=50, out=tmp_path / "run", resume=True))
    assert set(np.unique(whole.parameters)) <= {-1.0, 0.0, 1.0}
    first, last = whole.history["score"].iloc[0], whole.history["score"].iloc[-1]
    assert last > first


# -------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("imperfections", "said"), [((), "is continuous"), ((DAC(bits=4, low=-1, high=1),), "16 levels")]
)
def test_other_spaces_are_refused_in_one_sentence(imperfections, said):
    device = SimulatedDevice(network=MLP(widths=(3, 2)), imperfections=imperfections)
    with pytest.raises(RequestError, match=said) as refused:
        check_fit(device, Parity(bits=3).load(), BooleanMGD(learning_rate=1), Until(measurements=9))
    assert str(refused.value).count(".") == 1


def test_there_is_no_rate_auto():
    with pytest.raises(ValueError, match="auto is not for boolean-mgd"):
        BooleanMGD(learning_rate="auto")
