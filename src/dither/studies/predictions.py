"""What the laws say of a run before it is made, to be drawn over the runs of a study."""

import math
from collections.abc import Callable

import jax
import numpy as np

from dither._threefry import random_key
from dither.algorithms import CoordinateDescent
from dither.devices.readout import ReadoutDevice
from dither.laws import crossing, predicted_curve, statistics_of
from dither.networks import StateNoise
from dither.training.fit import problem_of
from dither.training.specification import Specification
from dither.training.train import evaluation_period

ORDERS = {"uniform": "uniform", "cyclic": "sweep", "greedy": "sweep"}
"""The law's order of tests for each selection rule that it knows."""

MEASUREMENTS = {"keep": 1, "remeasure": 2}
"""Measurements in a test."""

DRAWS = 5


def boolean_coordinate_descent(run: Specification) -> float:
    """The measurements after which a Boolean readout has come to its score, 1 − NMSE.

    The median over surrogates (`dither.laws.predicted_curve`) of where the error over the training
    part first falls to 1 − score, at an evaluation; the run itself is scored over the test part.

    Arguments: a run's specification, of whose seed the reservoir and the first weights are.
    Returns: measurements; infinite where its budget does not suffice; NaN where the law is silent:
    without a score to reach, and for anything but a noiseless incoherent Boolean readout whose
    mirrors are tested one by one, uniformly or in sweeps.
    Source: derived in `dither.laws.surrogate`, checked by the tests.
    """
    device, algorithm, until = run.device, run.algorithm, run.until
    if not isinstance(device, ReadoutDevice) or not isinstance(algorithm, CoordinateDescent):
        return math.nan
    known = (
        until.score is not None
        and (device.weights, device.readout) == ("boolean", "incoherent")
        and device.noise == StateNoise()
        and not device.imperfections
        and algorithm.selection.kind in ORDERS
        and algorithm.decision in MEASUREMENTS
        and (algorithm.flips, algorithm.temperature) == (1, 0.0)
    )
    task = run.task.load()
    if not known or not task.display.lacking:
        return math.nan
    assert until.score is not None
    instance, first, law = jax.random.split(random_key(run.seed), 3)
    bench = jax.jit(lambda keys: device.prepare(jax.vmap(device.fabricate)(keys), task))
    states = bench(instance[None])
    assert states.columns is not None
    weights = algorithm.init(first, device.initial(first), problem_of(device, task)).theta
    told = statistics_of(
        states.columns.train[0], task.targets[0], weights, traces="correlated", error="nmse"
    )
    each = MEASUREMENTS[algorithm.decision]
    every = max(1, evaluation_period(run.score_every, until) // each)
    budget = (until.measurements or 20 * each * weights.size) // each
    curve = predicted_curve(
        law, told, budget // every * every, draws=DRAWS, record_every=every,
        order=ORDERS[algorithm.selection.kind], decision=algorithm.decision,
    )  # fmt: skip
    reached = [crossing(curve.tests, errors, 1 - until.score) for errors in curve.errors]
    return float(np.median(reached)) * each


PREDICTIONS: dict[str, Callable[[Specification], float]] = {
    "boolean-coordinate-descent": boolean_coordinate_descent,
}
"""From a run's specification to the measurements until its target: infinite where it is not
reached, NaN where the law is silent."""
