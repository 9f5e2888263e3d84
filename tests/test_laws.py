"""The laws of the estimate against its simulation in NumPy, on a linear cost."""

import math

import numpy as np
import pytest

from dither import RequestError
from dither.laws import cosine, growth, noise_kappa, ticks_to_angle

P, DELTA, RUNS = 40, 0.1, 4000


def averages(ticks: int, sigma: float = 0.0, pairs: str = "baseline") -> tuple[np.ndarray, ...]:
    """RUNS averaged estimates of the gradient of C(θ) = g·θ at θ = 0, and g."""
    rng = np.random.default_rng(ticks)
    g = rng.normal(size=P)
    signs = rng.choice((-1.0, 1.0), size=(RUNS, ticks, P))
    noise = sigma * rng.normal(size=(2, RUNS, ticks))
    plus = DELTA * signs @ g + noise[0]
    minus = -DELTA * signs @ g + noise[1]
    change = (plus - minus) / 2 if pairs == "central" else plus - noise[1]
    return np.einsum("rt,rtp->rp", change, signs) / (DELTA * ticks), g


@pytest.mark.parametrize("ticks", [1, 5, 50])
@pytest.mark.parametrize("pairs", ["baseline", "central"])
@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_growth_is_the_root_mean_square_length(ticks: int, pairs: str, sigma: float) -> None:
    G, g = averages(ticks, sigma, pairs)
    squares = (G**2).sum(axis=1) / (g @ g)
    kappa = P - 1.0 + noise_kappa(sigma, P, DELTA, float(g @ g), pairs)
    error = squares.std() / math.sqrt(RUNS)
    assert abs(squares.mean() - growth(kappa, float(ticks)) ** 2) < 4 * error


@pytest.mark.parametrize("ticks", [20, 200])
def test_cosine_and_the_ticks_to_an_angle(ticks: int) -> None:
    G, g = averages(ticks)
    measured = (G @ g / np.linalg.norm(G, axis=1) / np.linalg.norm(g)).mean()
    law = cosine(P - 1.0, float(ticks))
    # the law is for the mean square; at P = 40 the mean of the cosine differs by order 1 / P
    assert measured == pytest.approx(law, rel=1 / P)
    assert ticks_to_angle(P - 1.0, math.degrees(math.acos(law))) == pytest.approx(ticks)


def test_fifteen_degrees_take_the_published_factor() -> None:
    assert ticks_to_angle(1.0, 15.0) == pytest.approx(13.93, abs=0.005)


@pytest.mark.parametrize("degrees", [0.0, 90.0, -3.0])
def test_an_angle_outside_is_refused(degrees: float) -> None:
    with pytest.raises(RequestError, match="between 0 and 90"):
        ticks_to_angle(1.0, degrees)
