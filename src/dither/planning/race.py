"""Prediction of the measurements of a training by simulated trainings at several rates."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dither._words import rounded
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices.simulated import SimulatedDevice
from dither.planning.predict import Prediction, of_trajectories
from dither.planning.rates import Start, Tried, with_settings
from dither.tasks.task import Task
from dither.training.fused import FusedLoop
from dither.training.until import Until

BELOW_GREEDY = (1 / 81, 1 / 27, 1 / 9, 1 / 3, 1.0)
"""The rates of a race in units of the greedy one."""

BESIDE = (1 / 3, 1.0, 3.0)
"""The rates of a race with a known neighbour, in units of its rate."""

FIRST, GROWTH = 100, 1.15
"""Measurements to the first evaluation; the factor between evaluations."""


def raced(
    device: SimulatedDevice,
    task: Task,
    algorithm: Any,
    start: Start,
    until: Until,
    *,
    near: float | None = None,
    key: int = 0,
    seconds: float = math.inf,
) -> Tried:
    """Train one simulation at several learning rates in parallel: the first at the target wins.

    The amplitude is `start.amplitude`, the rates are around the greedy one or around `near`. The
    race costs the measurements of the best rate times the number of rates.
    """
    algorithm = with_settings(algorithm, delta=start.amplitude(algorithm))
    middle, factors = (
        (start.greedy_rate(algorithm), BELOW_GREEDY) if near is None else (near, BESIDE)
    )
    rates = [rounded(middle * factor, 2) for factor in factors]
    seeds = [key] * len(rates)
    winner, prediction = trained(device, task, algorithm, seeds, until, 1, seconds, rates)
    return Tried(with_settings(algorithm, learning_rate=rates[winner]), prediction)


def trained(
    device: SimulatedDevice,
    task: Task,
    algorithm: AbstractAlgorithm,
    seeds: Sequence[int],
    until: Until,
    enough: int,
    seconds: float = math.inf,
    rates: Sequence[float] | None = None,
) -> tuple[int, Prediction]:
    """Train simulations until `enough` of them reach the target, and predict from these.

    Arguments: `seeds`, one for each simulation; `seconds`, the limit of computing time; `rates`,
    one for each simulation, by default the algorithm's own.
    Returns: the number of the best simulation, and the `Prediction`: NaN if the time ran out.
    """
    varied = None if rates is None else {"algorithm.learning_rate": jnp.asarray(rates)}
    loop = FusedLoop(algorithm, device, task, list(seeds), varied)
    most, target = until.measurements or 2**31 - 1, float(until.score or 0.0)
    reached, began = np.full(len(seeds), np.inf), time.monotonic()
    made, looks, late = 0, 1, False
    before = _scores(loop)
    curve = [(0, before)]
    while np.isfinite(reached).sum() < enough and made < most and not late:
        step = min(most - made, max(FIRST, int(made * (GROWTH - 1))))
        loop.advance(step)
        after = _scores(loop)
        there = (after >= target) & np.isinf(reached)
        reached[there] = _crossing(made, made + step, before, after, target)[there]
        made, looks, before = made + step, looks + 1, after
        curve.append((made, after))
        late = time.monotonic() - began > seconds
    best = int(np.argmin(reached)) if np.isfinite(reached).any() else int(np.argmax(before))
    path = tuple((float(m), float(scores[best])) for m, scores in curve)
    passes = len(seeds) * (made + looks * len(task.test_inputs) / task.batch)
    if late and np.isfinite(reached).sum() < enough:
        score = np.sort(before)[-enough]  # what so many have come to
        reason = f"the prediction stopped at {score:.4g}, after {made} measurements"
        return best, Prediction(math.nan, made, math.inf, passes, reason, path)
    finite = np.sort(reached)[: 2 * enough - 1]  # the winner of a race, else all
    return best, replace(of_trajectories(finite, passes, float(most)), curve=path)


def _scores(loop: FusedLoop) -> Float[np.ndarray, " R"]:
    """The scores; a diverged training is below all others."""
    score: Float[np.ndarray, " R"] = np.nan_to_num(loop.evaluate().score, nan=-math.inf)
    return score


def _crossing(
    a: int, b: int, before: Float[np.ndarray, " R"], after: Float[np.ndarray, " R"], target: float
) -> Float[np.ndarray, " R"]:
    """The measurements at the target, interpolated linearly in the score between evaluations."""
    share = np.clip((target - before) / np.where(after > before, after - before, 1.0), 0.0, 1.0)
    return np.maximum(a + share * (b - a), 1.0)
