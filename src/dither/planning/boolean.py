"""Prediction of the measurements and the final error of a Boolean readout."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dither._threefry import random_key
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices.readout import ReadoutDevice
from dither.laws import ridge_readout
from dither.planning.floor import Floor
from dither.planning.predict import Prediction
from dither.tasks.task import Task
from dither.training.fused import FusedLoop
from dither.training.train import evaluation_period
from dither.training.until import Until

FURTHER = 3
"""A search ends if the score has not risen for this many tests of every mirror."""


@dataclass(frozen=True)
class Descents:
    """Descents on simulated readouts: measurements to the target, final scores, simulated tests."""

    reached: Float[np.ndarray, " draws"]
    final: Float[np.ndarray, " draws"]
    made: int


def descents(
    device: ReadoutDevice,
    task: Task,
    algorithm: AbstractAlgorithm,
    until: Until,
    *,
    draws: int = 5,
    score_every: int | None = None,
    seed: int = 0,
) -> Descents:
    """Train further instances of the readout, each with its own reservoir and noise.

    A simulated test takes well under a microsecond, so the descent itself is simulated. If only the
    statistics of a real reservoir are known, use `dither.laws.predicted_curve`.

    Arguments: device, task, algorithm, until and score_every as in a run; `draws`, the number of
    instances; `seed`, from which their seeds are drawn.
    """
    others = np.random.default_rng([seed, draws]).integers(2**31, size=draws)
    loop = FusedLoop(algorithm, device, task, [int(other) for other in others])
    every = evaluation_period(score_every, until)
    patience = FURTHER * device.space.size
    reached, best = np.full(draws, np.inf), np.full(draws, -np.inf)
    made = risen = 0
    most = until.measurements or math.inf
    target = math.inf if until.score is None else until.score
    while made < most and made - risen < patience and np.isinf(reached).any():
        step = int(min(every, most - made))
        loop.advance(step)
        made += step
        score = loop.evaluate().score
        reached[(score >= target) & np.isinf(reached)] = made
        risen = made if np.any(score > best + 1e-6) else risen
        best = np.fmax(best, score)
    return Descents(reached, best, made)


def predict_readout(found: Descents, until: Until, batches: float = 1.0) -> Prediction:
    """The prediction from descents on further instances: their median and full range.

    Arguments: the descents; `until`; `batches`, passes of the training per pass of a descent.
    """
    middle = float(np.median(found.reached))
    passes = float(found.made * len(found.reached) * batches)
    if math.isinf(middle):
        end = float(np.median(found.final))
        target = math.inf if until.score is None else until.score
        reason = f"the descent ends at {end:.4g}, below {target:g}"
        if until.measurements is not None and found.made >= until.measurements:
            reason = (
                f"not reached within {until.measurements:g} measurements, where it is at {end:.4g}"
            )
        return Prediction(math.inf, float(np.min(found.reached)), math.inf, passes, reason)
    low, high = float(np.min(found.reached)), float(np.max(found.reached))
    return Prediction(middle, low, high, passes)


def readout_floor(device: ReadoutDevice, task: Task, seed: int = 0) -> Floor:
    """The test score of the best readout with real-valued weights, by ridge regression.

    It ignores quantisation and noise: an upper estimate for Boolean weights.
    """
    *_, fabrication = jax.random.split(random_key(seed), 4)
    states = device.prepare(jax.vmap(device.fabricate)(fabrication[None]), task)
    columns = states.columns
    assert columns is not None
    train, test = (np.asarray(part[0], float).T for part in (columns.train, columns.test))
    found = ridge_readout(train, np.asarray(task.targets[0], float))
    outputs = jnp.asarray(found.outputs(test))[None]
    score = float(task.score(outputs, task.wanted_tests))
    return Floor(score, math.inf, 0)
