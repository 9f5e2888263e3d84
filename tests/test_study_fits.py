"""Fits through the runs of a study, those that were stopped before the target included."""

import math
import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import CensoredData, ecdf, norm

from dither import RequestError
from dither.laws import Interval, power_law_fit
from dither.studies import FORMS, fit, median_with_interval
from dither.studies.fits import _going

SIZES = np.geomspace(4, 128, 6)
CRITERION = "measurements to accuracy 0.95"


def study(rng, exponent, noise, one_budget=True, unfinished=0.3):
    """Sizes, ends or stops, and marks of 48 runs `20 x^exponent e^noise`, with a share stopped.

    The budget is one of all the sizes, so that mostly large ones are stopped, or grows with them.
    """
    x = np.repeat(SIZES, 8)
    middle = math.log(20) + exponent * np.log(x)
    error = noise(rng, x.size)
    ends = middle + error
    budget = (
        np.full(x.size, np.quantile(ends, 1 - unfinished))
        if one_budget
        else middle + np.quantile(error, 1 - unfinished)
    )
    return x, np.exp(np.minimum(ends, budget)), ends > budget


def covered(noise, one_budget=True, drop=False, studies=100):
    """In how many studies the interval holds the planted exponent, and the share unfinished."""
    hits, unfinished = 0, 0.0
    for seed in range(studies):
        rng = np.random.default_rng(seed)
        exponent = rng.uniform(0.5, 2.0)
        x, y, censored = study(rng, exponent, noise, one_budget)
        unfinished += censored.mean() / studies
        if drop:
            x, y, censored = x[~censored], y[~censored], censored[~censored]
        interval = fit(x, y, censored, "power law", CRITERION, draws=200).parameters["exponent"]
        hits += interval.low <= exponent <= interval.high
    return hits, unfinished


def log_normal(rng, runs):
    return 0.5 * rng.normal(size=runs)


def waiting_times(rng, runs):
    return np.log(rng.exponential(size=runs))


@pytest.mark.long
@pytest.mark.parametrize("one_budget", [True, False], ids=["one budget", "growing budget"])
def test_a_planted_exponent_lies_in_its_interval_in_ninety_of_a_hundred_studies(one_budget):
    hits, unfinished = covered(log_normal, one_budget)
    assert unfinished == pytest.approx(0.3, abs=0.02)
    assert hits >= 90


def test_dropping_the_unfinished_runs_misses_the_planted_exponent():
    assert covered(log_normal, drop=True)[0] < 80


@pytest.mark.long
def test_waiting_times_of_another_distribution_are_covered_too():
    # Exponential times, as of rare events: a log-normal is wrong. Of 100 intervals that each
    # cover with 90 %, fewer than 82 do so once in 200 such tests.
    assert covered(waiting_times)[0] >= 82


def planted(form, x):
    return {
        "power law": 3 * x**1.5,
        "exponential": 3 * np.exp(x / 40),
        "saturating": 1000 * x / (x + 30),
    }[form]


TRUE = {
    "power law": {"coefficient": 3, "exponent": 1.5},
    "exponential": {"coefficient": 3, "rate": 1 / 40},
    "saturating": {"ceiling": 1000, "half_size": 30},
}


@pytest.mark.parametrize("form", FORMS)
def test_without_scatter_the_parameters_are_the_planted_ones(form):
    x = np.repeat(SIZES, 3)
    y = planted(form, x)
    stop = (y[-1] + y[-4]) / 2  # every run of the largest size is stopped
    found = fit(x, np.minimum(y, stop), y > stop, form, CRITERION, draws=50)
    assert found.censored == 3
    for name, true in TRUE[form].items():
        assert found.parameters[name].value == pytest.approx(true, rel=1e-4)
    between = np.array([5.0, 50.0, 500.0])
    assert found.curve(between).value == pytest.approx(planted(form, between), rel=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_with_scatter_the_planted_parameters_lie_in_their_intervals(form):
    # Held to twice the 95 % interval, about four standard errors.
    rng = np.random.default_rng(1)
    x = np.repeat(SIZES, 50)
    y = planted(form, x) * np.exp(0.4 * rng.normal(size=x.size))
    stop = np.quantile(y, 0.7)
    found = fit(x, np.minimum(y, stop), y > stop, form, CRITERION, draws=300)
    for name, true in TRUE[form].items():
        value, low, high = found.parameters[name]
        assert value - 2 * (value - low) < true < value + 2 * (high - value)
        assert 0 < high - low < value
    band = found.curve(SIZES)
    assert np.all((band.low < band.value) & (band.value < band.high))


@pytest.mark.parametrize("form", FORMS)
def test_the_estimate_is_where_an_independent_search_finds_the_largest_likelihood(form):
    rng = np.random.default_rng(2)
    x = np.repeat(SIZES, 8)
    y = planted(form, x) * np.exp(0.5 * rng.normal(size=x.size))
    stop = np.quantile(y, 0.7)
    censored = y > stop
    log_y = np.log(np.minimum(y, stop))

    def curve(first, second):
        return {
            "power law": lambda: first + second * np.log(x),
            "exponential": lambda: first + second * x / 40,
            "saturating": lambda: first + np.log(x / (x + 30 * np.exp(second))),
        }[form]()

    def cost(theta):
        middle, sigma = curve(*theta[:2]), math.exp(theta[2])
        ended = norm.logpdf(log_y[~censored], middle[~censored], sigma).sum()
        return -ended - norm.logsf(log_y[censored], middle[censored], sigma).sum()

    enough = {"maxiter": 4000, "maxfev": 4000}
    best = minimize(cost, [math.log(3), 1.0, 0.0], method="Nelder-Mead", tol=1e-9, options=enough).x
    found = fit(x, np.exp(log_y), censored, form, CRITERION, draws=20)
    assert "scatter_exponent" not in found.parameters
    assert found.curve(SIZES).value == pytest.approx(np.exp(curve(*best[:2])[::8]), rel=1e-4)
    assert found.parameters["scatter"].value == pytest.approx(math.exp(best[2]), rel=1e-4)


def test_with_all_runs_finished_the_exponent_is_that_of_least_squares():
    rng = np.random.default_rng(3)
    x = np.repeat(SIZES, 20)
    y = 5 * x**1.1 * np.exp(0.1 * rng.normal(size=x.size))
    found = fit(x, y, np.zeros(x.size, bool), "power law", CRITERION).parameters["exponent"]
    assert found.value == pytest.approx(np.polyfit(np.log(x), np.log(y), 1)[0], rel=1e-6)
    of_means = power_law_fit(SIZES, list(y.reshape(6, 20)))
    assert found.high - found.low == pytest.approx(of_means.high - of_means.low, rel=0.3)


def test_scatter_that_grows_with_the_size_is_found_and_the_exponent_allows_for_it():
    rng = np.random.default_rng(4)
    x = np.repeat(SIZES, 60)
    y = 20 * x * np.exp(0.1 * (x / 4) ** 0.6 * rng.normal(size=x.size))
    stop = np.quantile(y, 0.7)
    found = fit(x, np.minimum(y, stop), y > stop, "power law", CRITERION, draws=300)
    _, low, high = found.parameters["scatter_exponent"]
    assert 0 < low < 0.6 < high
    assert found.parameters["exponent"].value == pytest.approx(1, abs=0.1)


def test_a_size_at_which_every_run_was_stopped_still_informs():
    rng = np.random.default_rng(5)
    x = np.repeat([4.0, 8.0, 16.0, 64.0], 10)
    y = 10 * x**0.3 * np.exp(0.3 * rng.normal(size=x.size))
    last = x == 64
    y[last] = 10 * y[last]  # stopped far above the curve that the others follow
    exponents = [
        fit(x[rows], y[rows], last[rows], "power law", CRITERION, draws=20).parameters["exponent"]
        for rows in (~last, np.ones(40, bool))
    ]
    assert exponents[1].value > exponents[0].value


def test_a_curve_that_does_not_saturate_has_no_ceiling():
    x = np.repeat(SIZES, 5)
    y = 3 * x**1.2 * np.exp(0.2 * np.random.default_rng(6).normal(size=x.size))
    found = fit(x, y, np.zeros(x.size, bool), "saturating", CRITERION, draws=100)
    assert found.parameters["ceiling"].high == math.inf
    assert found.parameters["half_size"].high == math.inf
    assert "∞" in str(found)
    assert np.all(np.isfinite(np.stack(found.curve(SIZES))))


def test_the_fit_in_words_names_what_it_counts():
    rng = np.random.default_rng(0)
    x, y, censored = study(rng, 1.0, lambda rng, runs: 0.3 * rng.normal(size=runs))
    found = fit(x, y, censored, "power law", CRITERION, "hidden")
    value, low, high = found.parameters["exponent"]
    assert low < value < high
    exponent = f"{value:.2f} ({low:.2f}–{high:.2f})"
    assert str(found) == (
        f"exponent of measurements to accuracy 0.95 against hidden: {exponent}, "
        f"48 runs, {censored.sum()} of them unfinished"
    )
    assert fit(x, y, censored, "power law", CRITERION, "hidden").parameters == found.parameters


def test_the_median_by_kaplan_and_meier_is_that_of_the_hand():
    # After 2, 5 of 6 go on; 3 was stopped; after 5, 3 of 4 of those, 5/8; after 7, 2 of 3, 5/12.
    y = np.array([9.0, 2.0, 7.0, 3.0, 5.0, 11.0])
    censored = np.array([False, False, False, True, False, True])
    assert median_with_interval(y, censored).value == 7.0


def test_the_median_of_runs_that_all_finished_is_the_ordinary_one():
    for runs in (1, 2, 7, 8):
        y = np.random.default_rng(runs).exponential(size=runs)
        found = median_with_interval(y, np.zeros(runs, bool))
        assert found.value == pytest.approx(np.median(y))
        assert found.low <= found.value <= found.high


def test_a_median_that_is_not_reached_is_infinite():
    y = np.arange(1.0, 9.0)
    assert median_with_interval(y, y > 3) == Interval(math.inf, 1.0, math.inf)
    assert median_with_interval(y, y > 0) == Interval(math.inf, 1.0, math.inf)


def test_the_interval_of_a_median_covers_it():
    # 200 studies: the standard error of a share of 95 % is 0.015.
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(200):
        y, stop = rng.exponential(size=20), rng.exponential(2.0, size=20)
        found = median_with_interval(np.minimum(y, stop), y > stop)
        hits += found.low <= math.log(2) <= found.high
    assert hits / 200 > 0.95 - 4 * 0.015


def test_the_share_that_goes_on_and_its_interval_are_those_of_scipy():
    rng = np.random.default_rng(8)
    for _ in range(50):
        y, stop = rng.integers(1, 9, 30).astype(float), rng.integers(1, 12, 30)
        ended, censored = np.minimum(y, stop), y > stop
        going = ecdf(CensoredData.right_censored(ended, censored)).sf
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # undefined where the share is 0 or 1
            sure = going.confidence_interval(0.95, method="log-log")
        times, share, low, high = _going(ended, censored)
        assert np.array_equal(times, going.quantiles)
        assert share == pytest.approx(going.probabilities, abs=1e-12)
        inside = (share > 0) & (share < 1)
        assert low[inside] == pytest.approx(sure.low.probabilities[inside], rel=1e-9)
        assert high[inside] == pytest.approx(sure.high.probabilities[inside], rel=1e-9)


FOUR = np.array([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"form": "powr law"}, "did you mean power law"),
        ({"x": FOUR[:, None], "y": FOUR[:, None]}, "columns of equal length"),
        ({"y": np.array([1.0, np.inf, 3.0, 4.0])}, "finite and above 0"),
        ({"y": np.array([1.0, 0.0, 3.0, 4.0])}, "finite and above 0"),
        ({"x": np.array([-1.0, 2.0, 3.0, 4.0])}, "finite and above 0"),
        ({"x": np.ones(4)}, "two or more different sizes"),
        ({"censored": np.ones(4, bool)}, "finished runs at two or more sizes"),
        ({"censored": np.array([False, True, True, True])}, "finished runs at two or more sizes"),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_a_sentence(change, says):
    asked = {"x": FOUR, "y": FOUR, "censored": np.zeros(4, bool), "form": "power law"}
    # Past the check of shapes that tests add, as a user without it would ask.
    unchecked = getattr(fit, "__wrapped__", fit)
    with pytest.raises(RequestError, match=says):
        unchecked(**(asked | {"criterion": CRITERION} | change))


def test_a_median_of_nothing_is_refused():
    with pytest.raises(RequestError, match="one or more runs"):
        median_with_interval(np.array([]), np.array([], bool))


def test_the_median_of_equal_runs_is_sure_from_six_of_them_on() -> None:
    """All of n below it has the chance 2^−n, which is under 2.5 % for n ≥ 6."""
    for n, high in ((5, math.inf), (6, 1000.0), (8, 1000.0)):
        told = median_with_interval(np.full(n, 1000.0), np.zeros(n, bool))
        assert told == (1000.0, 1000.0, high)
