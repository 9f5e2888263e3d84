"""Ridge and quantised readouts, held against numpy.linalg.lstsq and brute force."""

import numpy as np
import pytest

from dither import RequestError
from dither.laws import quantised_readout, ridge_readout


def draw(seed, rows=60, neurons=7, noise=0.3):
    g = np.random.default_rng(seed)
    states = 2 + g.standard_normal((rows, neurons))
    return states, states @ g.standard_normal(neurons) + 5 + noise * g.standard_normal(rows)


def nmse(outputs, targets):
    return 2 * (1 - np.corrcoef(outputs, targets)[0, 1])


def test_ridge_without_penalty_is_least_squares():
    states, targets = draw(0)
    expected = np.linalg.lstsq(np.column_stack([states, np.ones(60)]), targets)[0]
    readout = ridge_readout(states, targets, 0.0)
    np.testing.assert_allclose([*readout.weights, readout.intercept], expected, rtol=1e-9)


@pytest.mark.parametrize("neurons", [7, 90])
def test_ridge_is_least_squares_with_rows_for_the_penalty(neurons):
    states, targets = draw(1, neurons=neurons)
    rows = np.column_stack([states, np.ones(60)])
    penalty_rows = np.sqrt(3.0) * np.eye(neurons, neurons + 1)
    expected = np.linalg.lstsq(
        np.vstack([rows, penalty_rows]), np.append(targets, np.zeros(neurons))
    )[0]
    readout = ridge_readout(states, targets, 3.0)
    np.testing.assert_allclose([*readout.weights, readout.intercept], expected, atol=1e-9)
    np.testing.assert_allclose(readout.outputs(states), rows @ expected, atol=1e-8)


def test_validated_penalty_predicts_better_than_none():
    ratios = []
    for seed in range(12):
        states, targets = draw(seed, rows=160, neurons=50, noise=6.0)
        past, future = slice(0, 80), slice(80, 160)
        error = [
            np.mean(
                (
                    ridge_readout(states[past], targets[past], penalty).outputs(states[future])
                    - targets[future]
                )
                ** 2
            )
            for penalty in (None, 0.0)
        ]
        ratios.append(np.log(error[0] / error[1]))
    assert np.mean(ratios) < -3 * np.std(ratios, ddof=1) / np.sqrt(12)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_quantised_weights_take_few_equally_spaced_values_with_zero(bits):
    states, targets = draw(3, neurons=40)
    weights = quantised_readout(states, targets, bits).weights
    values = np.unique(np.append(weights, 0.0))
    assert len(values) <= 2**bits
    steps = np.diff(values) / np.diff(values).min()
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
    assert round(steps.sum()) <= 2**bits - 1


def test_one_bit_is_the_best_threshold():
    states, targets = draw(4, neurons=12)
    ridge = ridge_readout(states, targets, 0.1).weights
    thresholds = np.sort(ridge[ridge > 0])[:-1] + 1e-12
    lowest = min(nmse(states @ (ridge > threshold), targets) for threshold in [0, *thresholds])
    found = quantised_readout(states, targets, 1, 0.1)
    assert set(np.round(found.weights / found.weights.max(), 9)) == {0.0, 1.0}
    assert lowest - 1e-12 <= nmse(found.outputs(states), targets) < 1.1 * lowest


def test_error_falls_to_that_of_ridge_with_the_bits():
    logs, ridge = [], []
    for seed in range(12):
        states, targets = draw(seed, rows=100, neurons=20, noise=0.01)
        errors = [
            nmse(quantised_readout(states, targets, bits, 1e-3).outputs(states), targets)
            for bits in (1, 2, 4, 6, 8, 16)
        ]
        logs.append(np.log(errors))
        ridge.append(np.log(nmse(ridge_readout(states, targets, 1e-3).outputs(states), targets)))
    falls = -np.diff(logs, axis=1)
    assert np.all(falls.mean(0) > 3 * falls.std(0, ddof=1) / np.sqrt(len(falls)))
    np.testing.assert_allclose(np.array(logs)[:, -1], ridge, atol=0.02)


def test_one_column_that_does_not_vary():
    readout = quantised_readout(np.ones((10, 1)), np.arange(10.0), 1, 0.0)
    np.testing.assert_allclose(readout.outputs(np.ones((10, 1))), 4.5)


def test_wrong_requests():
    states, targets = draw(0)
    with pytest.raises(RequestError, match="60 rows and 59 targets"):
        ridge_readout(states, targets[:-1])
    with pytest.raises(RequestError, match="0 or more"):
        ridge_readout(states, targets, -1.0)
    with pytest.raises(RequestError, match="7 rows are too few"):
        ridge_readout(states[:7], targets[:7])
    with pytest.raises(RequestError, match="1 to 16 bits"):
        quantised_readout(states, targets, 17)
