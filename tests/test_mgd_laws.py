"""The laws of multiplexed gradient descent against simulation, exact gradients and publication."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dither import CNN, MLP, RequestError
from dither.laws import (
    Curvature,
    DifferenceNoise,
    angle_time,
    baseline_scatter,
    best_baseline_amplitude,
    best_central_amplitude,
    best_learning_rate,
    central_bias,
    central_scatter,
    cosine,
    curvature,
    curvature_square,
    dense_node_variance,
    growth,
    layerwise_kappa,
    measurement_kappa,
    node_angle_time,
    node_variance,
    optimal_kappa,
    optimal_shares,
    perturbations_per_progress,
    probe_curvature,
    probe_largest,
    split_kappa,
    stability_limit,
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
        ("dense1", False, DifferenceNoise(0.0, DELTA)),
        ("dense0", False, DifferenceNoise(SIGMA, DELTA, "central")),
        ("dense0", True, DifferenceNoise(SIGMA, DELTA, "baseline")),
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


@pytest.mark.long
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


@pytest.mark.quick("1-1132.3-344.9")
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
        dense_node_variance(jnp.ones((2, 3)), jnp.ones((2, 1)), noise=DifferenceNoise(0.1, 0.0))
    with pytest.raises(RequestError, match="at least 2 probes"):
        node_variance(jax.random.key(0), jnp.ones((2, 1)), jnp.ravel, probes=1)


N = 12


def bowl(cubic):
    """A cost of N parameters with known derivatives at 0: g, H, and third ones if cubic is 1."""
    rng = np.random.default_rng(3)
    g, a = rng.normal(size=N), rng.normal(size=(N, N))
    H = a @ a.T / N
    directions = rng.normal(size=(5, N))

    def cost(theta):
        cubes = (theta @ directions.T) ** 3
        return (
            theta @ g
            + 0.5 * np.einsum("...i,ij,...j", theta, H, theta)
            + cubic * cubes.sum(axis=-1)
        )

    third = 6 * cubic * np.einsum("ki,kj,kl->ijl", directions, directions, directions)
    return cost, g, H, third


def squared_errors(delta, sigma, pairs, ticks, runs):
    """|G − g|² of averaged estimates at θ = 0, in plain NumPy."""
    cost, g, _, _ = bowl(cubic=float(pairs == "central"))
    rng = np.random.default_rng(1)
    s = rng.choice((-1.0, 1.0), size=(runs, ticks, N))
    noise = sigma * rng.normal(size=(2, runs, ticks))
    plus, minus = cost(delta * s) + noise[0], cost(-delta * s) + noise[1]
    change = (plus - minus) / 2 if pairs == "central" else plus - noise[1]
    G = np.einsum("rt,rti->ri", change, s) / (delta * ticks)
    return ((G - g) ** 2).sum(axis=1), g


def test_scatter_of_a_baseline_and_its_best_amplitude():
    _, g, H, _ = bowl(cubic=0.0)
    sigma, q = 0.02, curvature_square(H)
    best = best_baseline_amplitude(sigma, q)
    for delta in (best / 2, best, best * 2):
        squares, _ = squared_errors(delta, sigma, "baseline", 1, 40_000)
        added = np.asarray(squares - (N - 1) * (g @ g))
        law = baseline_scatter(delta, sigma, N, q)
        assert abs(added.mean() - law) < 4.5 * squares.std() / 200
    assert baseline_scatter(best, sigma, N, q) < baseline_scatter(1.1 * best, sigma, N, q)
    assert baseline_scatter(best, sigma, N, q) < baseline_scatter(best / 1.1, sigma, N, q)


def test_scatter_of_central_pairs_and_their_best_amplitude():
    _, g, _, third = bowl(cubic=1.0)
    sigma, ticks = 0.5, 4000
    bias = central_bias(third)
    best = best_central_amplitude(sigma, N, float(bias @ bias), float(ticks))
    law = [
        central_scatter(d, sigma, N, float(bias @ bias), float(ticks)) for d in (best / 1.1, best)
    ]
    assert law[1] < law[0]
    assert law[1] < central_scatter(1.1 * best, sigma, N, float(bias @ bias), float(ticks))
    errors = {}
    for delta in (best / 2, best, best * 2):
        squares, _ = squared_errors(delta, sigma, "central", ticks, 60)
        errors[delta] = squares.mean()
        # what the law leaves out: |g + δ² b|² (N − 1) / T, and the scatter of the cubic part
        left_out = N * ((g + delta**2 * bias) ** 2).sum() / ticks * 2
        law = central_scatter(delta, sigma, N, float(bias @ bias), float(ticks))
        assert law < errors[delta] + 5 * squares.std() / np.sqrt(60)
        assert errors[delta] < law + left_out + 5 * squares.std() / np.sqrt(60)
    assert errors[best] == min(errors.values())


def quadratic(eigenvalues, seed=0, rotated=True):
    """½ xᵀHx with a known spectrum, and H."""
    rng = np.random.default_rng(seed)
    n = len(eigenvalues)
    Q = np.linalg.qr(rng.normal(size=(n, n)))[0] if rotated else np.eye(n)
    H = Q @ np.diag(eigenvalues) @ Q.T
    return (lambda x: 0.5 * x @ H @ x), H


@pytest.mark.usefixtures("x64")
def test_curvature_of_a_network_is_that_of_its_exact_hessian():
    theta, _ = setting()
    x, rebuild = jax.flatten_util.ravel_pytree(theta)
    of = jax.jit(lambda x: cost(rebuild(x)))
    found = curvature(of, x, jax.random.key(0), probes=500)
    g, H = np.asarray(jax.grad(of)(x)), np.asarray(jax.hessian(of)(x))
    off = H - np.diag(np.diag(H))
    error = np.sqrt(2 * (off**2).sum() / 500)
    assert found.squared_gradient == pytest.approx(g @ g)
    assert found.along == pytest.approx(g @ H @ g)
    assert abs(found.trace - np.trace(H)) < 4.5 * error
    off_g = g[:, None] * off * g
    error = np.sqrt(2 * (off_g**2).sum() / 500)
    assert abs(found.diagonal - g**2 @ np.diag(H)) < 4.5 * error


@pytest.mark.parametrize("ticks", [1, 4])
def test_progress_at_the_best_rate(ticks):
    of, H = quadratic(np.geomspace(0.1, 3.0, N))
    rng = np.random.default_rng(2)
    x = rng.normal(size=N)
    g = H @ x
    here = Curvature(float(g @ g), float(np.trace(H)), float(g @ H @ g), float(g**2 @ np.diag(H)))
    s = rng.choice((-1.0, 1.0), size=(40_000, ticks, N))
    G = np.einsum("rt,rti->ri", s @ g, s) / ticks
    met = np.einsum("ri,ij,rj->r", G, H, G)
    assert abs(met.mean() - here.of_estimate(float(ticks))) < 4.5 * met.std() / 200
    eta = best_learning_rate(here, float(ticks))
    after = x - eta * G
    falls = of(x) - 0.5 * np.einsum("ri,ij,rj->r", after, H, after)
    assert abs(falls.mean() - eta * here.squared_gradient / 2) < 4.5 * falls.std() / 200
    exact = here.squared_gradient**2 / (2 * here.along)
    needed = ticks * exact / (eta * here.squared_gradient / 2)
    assert needed == pytest.approx(perturbations_per_progress(here, float(ticks)))


@pytest.mark.parametrize("ticks", [1, 8, 200])
def test_stability_limit(ticks):
    eigenvalues = np.array([4.0, 1.0, 0.5, 0.5, 0.25, 0.25])
    limit = stability_limit(float(eigenvalues.sum()), float(eigenvalues.max()), float(ticks))

    def grows(eta):
        # the exact recursion of the second moments for a diagonal Hessian and random signs
        h = eigenvalues
        keep = 1 - 2 * eta * h + (eta * h) ** 2 * (1 - 1 / ticks)
        M = np.diag(keep) + eta**2 / ticks * np.ones((len(h), 1)) * h**2
        return np.abs(np.linalg.eigvals(M)).max() > 1

    assert not grows(0.999 * limit)
    assert grows((1.001 if ticks == 1 else 1.25) * limit)


def test_second_differences_of_measured_costs():
    eigenvalues = np.geomspace(0.05, 2.0, N)
    of, H = quadratic(eigenvalues)
    rng = np.random.default_rng(5)
    x, sigma = rng.normal(size=N), 1e-3
    asked = []

    def measure(theta):
        asked.append(theta)
        return float(of(theta) + sigma * rng.normal())

    found = probe_curvature(measure, x, rng, delta=0.3, probes=400, sigma=sigma)
    assert found.measurements == len(asked) == 3 * 401
    assert abs(found.trace - eigenvalues.sum()) < 4.5 * found.trace_error
    g = H @ x
    spread = (g @ g) * np.sqrt(2 / 400)
    assert abs(found.squared_gradient - g @ g) < 4.5 * spread
    exact = Curvature(
        float(g @ g), float(eigenvalues.sum()), float(g @ H @ g), float(g**2 @ np.diag(H))
    )
    assert found.of_estimate == pytest.approx(exact.of_estimate(400.0), rel=0.5)
    assert found.learning_rate == 1 / found.trace

    asked.clear()
    largest, took = probe_largest(measure, x, rng, delta=0.3, steps=12, probes=2 * N)
    assert took == len(asked)
    assert 0.85 * eigenvalues.max() < largest < eigenvalues.max() + 1e-2


def test_costs_without_curvature_are_refused():
    with pytest.raises(RequestError, match="no curvature"):
        best_baseline_amplitude(0.1, 0.0)
    with pytest.raises(RequestError, match="is not significant"):
        probe_curvature(lambda _: 1.0, np.ones(3), np.random.default_rng(0), 0.1)
    with pytest.raises(RequestError, match="is not convex"):
        _ = Curvature(1.0, 1.0, -1.0).effective_rank
    with pytest.raises(RequestError, match="is not positive"):
        best_learning_rate(Curvature(1.0, -1.0, -1.0), 1.0)
