"""The laws of coordinate descent against brute-force descent."""

import numpy as np
import pytest

from dither import RequestError
from dither.laws import initial_fall, sweep_excess, uniform_excess

N, T, RUNS, TESTS = 20, 24, 1000, 60


def descend(order, X, t, w):
    """Flip, keep where the error fell; the errors before and after every test."""
    w = w.copy()
    errors = [np.sum((t - X @ w) ** 2)]
    for i in order:
        w[i] = 1 - w[i]
        error = np.sum((t - X @ w) ** 2)
        if error < errors[-1]:
            errors.append(error)
        else:
            w[i] = 1 - w[i]
            errors.append(errors[-1])
    return np.array(errors)


def excess_of_orthogonal_columns(rule):
    """RUNS curves of the excess error over its start, on orthogonal columns of many lengths."""
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.normal(size=(T, N)))[0] * np.exp(rng.normal(size=N))
    t = rng.normal(size=T) + X.sum(axis=1) / 2
    best = (X.T @ t > np.sum(X**2, axis=0) / 2).astype(float)
    floor = np.sum((t - X @ best) ** 2)
    curves = []
    for _ in range(RUNS):
        if rule == "uniform":
            order = rng.integers(N, size=TESTS)
        else:
            order = np.concatenate([rng.permutation(N) for _ in range(TESTS // N)])
        errors = descend(order, X, t, 1 - best) - floor
        curves.append(errors / errors[0])
    return np.array(curves)


@pytest.mark.parametrize(("rule", "law"), [("uniform", uniform_excess), ("sweep", sweep_excess)])
def test_orthogonal_columns_follow_the_exact_law(rule, law):
    curves = excess_of_orthogonal_columns(rule)
    k = np.arange(TESTS + 1)
    error = curves.std(axis=0) / np.sqrt(RUNS)
    # every k of one set of runs: five standard errors, and rounding where all runs have ended
    assert np.all(np.abs(curves.mean(axis=0) - law(N, k)) < 5 * error + 1e-9)


def test_laws_take_one_number_too():
    assert uniform_excess(4, 1) == pytest.approx(0.75)
    assert sweep_excess(4, 1) == pytest.approx(0.75)
    assert sweep_excess(4, 9) == 0


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.0])
def test_initial_fall_of_random_columns(sigma):
    rng = np.random.default_rng(1)
    N, T = 250, 1000
    a = np.exp(sigma * rng.normal(size=N))
    ratios = []
    for _ in range(400):
        # float32 columns are drawn three times faster
        X = rng.standard_normal((T, N), dtype=np.float32) * (a / np.sqrt(T)).astype(np.float32)
        w, optimum = rng.integers(0, 2, size=(2, N)).astype(np.float32)
        optimum = optimum + 0.3 * rng.standard_normal(N, dtype=np.float32)
        r = X @ (optimum - w)
        fall = 2 * (1 - 2 * w) * (X.T @ r) - np.sum(X**2, axis=0)
        measured = np.maximum(fall, 0).mean()
        ratios.append(measured / initial_fall(a, w, optimum.astype(float), float(r @ r), T))
    mean, error = np.mean(ratios), np.std(ratios) / np.sqrt(len(ratios))
    assert error < 0.006
    assert abs(mean - 1) < 4 * error


def test_initial_fall_without_crosstalk_is_the_self_term():
    # one column: f = a² (w* − w)², so that a flip from 0 to 1 towards 0.8 lets it fall by 0.6 a²
    a, w, optimum = np.array([2.0]), np.array([0.0]), np.array([0.8])
    assert initial_fall(a, w, optimum, 4 * 0.64, 50) == pytest.approx(4 * 0.6)
    assert initial_fall(a, w, np.array([0.4]), 4 * 0.16, 50) == pytest.approx(0, abs=1e-9)


def test_weights_that_are_not_boolean_are_refused():
    with pytest.raises(RequestError, match="0 or 1"):
        initial_fall(np.ones(2), np.array([0.0, 0.5]), np.ones(2), 1.0, 10)
