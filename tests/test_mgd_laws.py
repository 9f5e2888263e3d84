"""The laws of multiplexed gradient descent against simulation, exact gradients and publication."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dither import CNN, MLP, RequestError
from dither.laws import (
    CostNoise,
    angle_time,
    cosine,
    dense_node_variance,
    growth,
    layerwise_kappa,
    measurement_kappa,
    node_angle_time,
    node_variance,
    optimal_kappa,
    optimal_shares,
    split_kappa,
    weight_angle_time,
    weight_variances,
)
from dither.tasks import FashionMNIST
from dither.tasks.images import find_files

NETWORK = MLP(widths=(6, 5, 3), gain=2.0)
RUNS, DELTA, SIGMA = 6_000, 1e-4, 3e-5
X = jax.random.normal(jax.random.key(1), (7, 6))
LABELS = jnp.arange(7) % 3


def costs(y):
    return -jax.nn.log_softmax(y)[jnp.arange(len(y)), LABELS[: len(y)]]


def cost(theta):
    return jnp.mean(costs(NETWORK(theta, X)))


def flat(tree):
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def own_of(theta, layer):
    return {name: value for name, value in theta.items() if name.startswith(f"{layer}/")}


def setting():
    """Parameters in double precision, and the exact gradient of each layer."""
    theta = NETWORK.init(jax.random.key(0))
    gradient = jax.grad(cost)(theta)
    return theta, {layer: flat(own_of(gradient, layer)) for layer in ("dense0", "dense1")}


def weight_estimates(theta, layer, sigma, pairs):
    """RUNS estimates of one layer's gradient: costs with that layer's weights perturbed."""
    own, rebuild = jax.flatten_util.ravel_pytree(own_of(theta, layer))

    def one(key):
        signs, noise = jax.random.split(key)
        s = jax.random.rademacher(signs, own.shape, float)
        n = sigma * jax.random.normal(noise, (2,))
        plus = cost(theta | rebuild(own + DELTA * s)) + n[0]
        if pairs == "central":
            return (plus - cost(theta | rebuild(own - DELTA * s)) - n[1]) * s / (2 * DELTA)
        return (plus - cost(theta) - n[1]) * s / DELTA

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(7), RUNS))


def within(draws, law, errors=4.5):
    """The mean of some draws is the law's, within standard errors."""
    draws = np.asarray(draws)
    assert abs(draws.mean() - law) < errors * draws.std() / np.sqrt(len(draws)), (draws.mean(), law)


@pytest.mark.parametrize(
    ("layer", "pairs", "sigma"),
    [("dense1", "baseline", 0.0), ("dense0", "baseline", SIGMA), ("dense0", "central", SIGMA)],
)
@pytest.mark.usefixtures("x64")
def test_variance_of_a_layer_by_weight_perturbation(layer, pairs, sigma):
    theta, exact = setting()
    g = exact[layer]
    G = weight_estimates(theta, layer, sigma, pairs)
    law = weight_variances(
        np.array([float(g @ g)]), np.array([g.size]), sigma, np.array([DELTA]), pairs
    )
    within(jnp.sum((G - g) ** 2, axis=1), law[0])


@pytest.mark.usefixtures("x64")
def test_alignment_and_growth_with_equal_and_optimal_shares():
    theta, exact = setting()
    G = {layer: weight_estimates(theta, layer, 0.0, "central") for layer in exact}
    squared = np.array([float(g @ g) for g in exact.values()])
    variances = weight_variances(squared, np.array([g.size for g in exact.values()]))
    ticks = 160
    shares = optimal_shares(variances)
    splits = {
        layerwise_kappa(squared, variances) / (ticks / 2): (ticks // 2, ticks // 2),
        optimal_kappa(squared, variances) / ticks: [round(ticks * s) for s in shares],
    }
    for relative, counts in splits.items():
        sums = []
        for g, n in zip(G.values(), counts):
            groups = len(g) // n
            sums.append(g[: groups * n].reshape(groups, n, -1).mean(axis=1))
        groups = min(map(len, sums))
        mean = np.concatenate([s[:groups] for s in sums], axis=1)
        g = np.concatenate(list(exact.values()))
        # whole numbers of perturbations differ from the shares by less than a half in ticks / 5
        tolerance = 4.5 / np.sqrt(groups) + 0.01
        measured = (mean**2).sum(axis=1).mean() / (g @ g)
        assert measured == pytest.approx(growth(relative, 1.0) ** 2, rel=tolerance * 0.3)
        cosines = mean @ g / np.linalg.norm(mean, axis=1) / np.linalg.norm(g)
        assert cosines.mean() == pytest.approx(cosine(relative, 1.0), rel=0.02)


def test_the_optimal_split_is_the_least_and_never_worse_than_all_at_once():
    rng = np.random.default_rng(0)
    for _ in range(50):
        squared, sizes = rng.exponential(size=4) ** 3, rng.integers(2, 500, size=4)
        variances = weight_variances(squared, sizes)
        best = optimal_kappa(squared, variances)
        assert split_kappa(squared, variances, optimal_shares(variances)) == pytest.approx(best)
        assert best <= sizes.sum() - 4 + 1e-9
        equal = layerwise_kappa(squared, variances)
        assert measurement_kappa(equal, 4, each=1) >= best * (1 - 1e-12)
        for _ in range(5):
            shares = rng.dirichlet(np.ones(4)) * 0.996 + 0.001
            assert split_kappa(squared, variances, shares) >= best


def node_estimates(theta, layer, per_example, noise):
    """RUNS estimates of one dense layer's gradient, samples' costs measured with z perturbed."""
    seen = {}

    def record(site, value):
        seen[site] = value
        return value

    NETWORK(theta, X, record)
    x, q = seen[f"{layer}/x"], seen[f"{layer}/z"].shape[1]
    ones = jnp.concatenate([jnp.ones((len(X), 1)), x], axis=1)

    def one(key):
        signs, noises = jax.random.split(key)
        s = jax.random.rademacher(signs, (len(X) if per_example else 1, q), float)
        n = noise.sigma * jax.random.normal(noises, (2, len(X)))

        def shifted(side):
            def tap(site, value):
                return value + side * DELTA * s if site == f"{layer}/z" else value

            return costs(NETWORK(theta, X, tap))

        if noise.pairs == "central":
            u = (shifted(1) - shifted(-1) + n[0] - n[1]) / (2 * DELTA)
        else:
            u = (shifted(1) - shifted(0) + n[0] - n[1]) / DELTA
        return jnp.ravel(ones.T @ (u[:, None] * s)) / len(X)  # the bias's row first

    return x, jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(3), RUNS))


def errors_of(theta, layer):
    """∂C_b/∂z_b of one layer, exact."""
    q = NETWORK.sites()[f"{layer}/z"]

    def total(shift):
        tap = lambda site, value: value + shift if site == f"{layer}/z" else value  # noqa: E731
        return jnp.sum(costs(NETWORK(theta, X, tap)))

    return jax.grad(total)(jnp.zeros((len(X), *q)))


@pytest.mark.parametrize(
    ("layer", "per_example", "noise"),
    [
        ("dense1", False, CostNoise(0.0, DELTA)),
        ("dense0", False, CostNoise(SIGMA, DELTA, "central")),
        ("dense0", True, CostNoise(SIGMA, DELTA, "baseline")),
    ],
)
@pytest.mark.usefixtures("x64")
def test_variance_of_a_dense_layer_by_node_perturbation(layer, per_example, noise):
    theta, exact = setting()
    x, G = node_estimates(theta, layer, per_example, noise)
    e = errors_of(theta, layer)
    law = dense_node_variance(x, e, per_example, noise)
    within(jnp.sum((G - exact[layer]) ** 2, axis=1), law)

    def pullback(e):
        return jnp.ravel(jnp.concatenate([jnp.ones((len(X), 1)), x], axis=1).T @ e)

    probed = node_variance(jax.random.key(0), e, pullback, 4000, per_example, noise)
    assert abs(probed.value - law) < 4.5 * probed.standard_error


@pytest.mark.usefixtures("x64")
def test_node_perturbation_of_a_convolution():
    network = CNN(image=(6, 6, 1), channels=(2,), classes=3, activation="tanh")
    theta = network.init(jax.random.key(2))
    images = jax.random.normal(jax.random.key(4), (3, 6, 6, 1))
    exact = flat(jax.grad(lambda own: jnp.mean(costs(network(own, images))))(theta))
    layers = network.layers
    seen = {}

    def record(site, value):
        seen[site] = value
        return value

    network(theta, images, record)

    def one(key):
        total = []
        for number, layer in enumerate(layers):
            shape = (1, *layer.nodes)
            s = jax.random.rademacher(jax.random.fold_in(key, number), shape, float)

            def at(side, name=layer.name, s=s):
                tap = lambda site, v: v + side * DELTA * s if site == f"{name}/z" else v  # noqa: E731
                return costs(network(theta, images, tap))

            u = (at(1) - at(-1)) / (2 * DELTA)
            _, vjp = jax.vjp(lambda own, f=layer: f(own, seen[f"{f.name}/x"]), theta)
            e = u.reshape(-1, *[1] * len(layer.nodes)) * s
            total.append(vjp(e)[0])
        G = jax.tree.map(lambda *of: sum(of), *total)
        return jnp.sum((flat(G) / 3 - exact) ** 2) / jnp.sum(exact**2)

    draws = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(5), 2000))
    law = node_angle_time(jax.random.key(6), network, theta, images, costs, probes=2000)
    spread = np.hypot(draws.std() / np.sqrt(2000), law.relative_error * law.kappa)
    assert abs(float(draws.mean()) - law.kappa) < 4.5 * spread
    assert law.measurements == 2 * 2 * law.iterations
    assert law.split_measurements <= law.measurements


@pytest.mark.parametrize(("d", "mean", "sd"), [(1, 1132.3, 344.9), (4, 15390.0, 2879.6)])
def test_published_angle_times_of_weight_perturbation(d, mean, sd):
    """Oripov2025, figure 3: iterations to 15°."""
    if find_files("fashion-mnist") is None:
        pytest.skip("the Fashion-MNIST files are not on this machine")
    task = FashionMNIST().load()
    network = CNN(
        channels=(d, 2 * d, 4 * d),
        depth=2,
        padding="same",
        dense=(4 * d, 4 * d),
        activation="tanh",
    )

    @jax.jit
    def gradient(theta, x, labels):
        smoothed = jnp.where(jax.nn.one_hot(labels, 10) > 0, 1.0, 0.01)

        def cost(theta):
            return -jnp.mean(jnp.sum(smoothed * jax.nn.log_softmax(network(theta, x)), axis=1))

        return jax.grad(cost)(theta)

    times = []
    for seed in range(5):
        rows = slice(100 * seed, 100 * seed + 100)
        theta = network.init(jax.random.key(seed))
        found = weight_angle_time(gradient(theta, task.inputs[rows], task.targets[rows]))
        times.append(found.iterations)
    assert abs(np.mean(times) - mean) < 2 * sd


def test_what_has_no_answer_is_refused():
    one = np.ones(2)
    with pytest.raises(RequestError, match="gradient is zero"):
        angle_time(0 * one, one)
    with pytest.raises(RequestError, match="amplitude of every layer"):
        weight_variances(one, np.array([3, 3]), sigma=0.1, deltas=0 * one)
    with pytest.raises(RequestError, match="sum must be 1"):
        split_kappa(one, one, one)
    with pytest.raises(RequestError, match="nothing to split"):
        optimal_shares(0 * one)
    with pytest.raises(RequestError, match="above 0"):
        dense_node_variance(jnp.ones((2, 3)), jnp.ones((2, 1)), noise=CostNoise(0.1, 0.0))
    with pytest.raises(RequestError, match="at least 2 probes"):
        node_variance(jax.random.key(0), jnp.ones((2, 1)), jnp.ravel, probes=1)
