"""How many measurements a Boolean readout will take, and to what error it comes."""

import math
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dither._threefry import random_key
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices.readout import ReadoutDevice, on_grid
from dither.laws import ridge_readout, statistics_of
from dither.planning.floor import Floor
from dither.planning.predict import Prediction
from dither.tasks.task import Task
from dither.training.fused import FusedLoop
from dither.training.replicas import deal_out
from dither.training.train import evaluation_period
from dither.training.until import Until

FURTHER = 3
"""A search ends where the score has not risen for so many tests of every mirror."""


@dataclass(frozen=True)
class Descents:
    """Descents on surrogates: measurements to the target, infinite where it is not reached; the
    score that each has come to; the measurements made with each in the computer.
    """

    reached: Float[np.ndarray, " draws"]
    final: Float[np.ndarray, " draws"]
    made: int


def silent(device: ReadoutDevice) -> str:
    """Why surrogates cannot stand for a readout; empty where they can."""
    if (device.weights, device.readout) != ("boolean", "incoherent"):
        return "there is no law yet for ternary or coherent readouts"
    return ""


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
    """Train surrogates of the readout: `dither.laws.CorrelatedTraces`, with its own noise.

    A surrogate has the covariance in time, the amplitudes and the first output of the neurons that
    it stands for, and none of their signals, so that what is predicted is the law's and not the
    training itself; the score is that over the training part.

    Arguments: device, task, algorithm, until and score_every as in a run; `draws`, the surrogates;
    `seed` of the first instance. Source: derived in `dither.laws.surrogate`.
    """
    there = replace(task, test_inputs=task.inputs, test_targets=task.targets)
    loop = FusedLoop(algorithm, device, there, [seed + k for k in range(draws)])
    loop.carry = deal_out(device, _with_surrogates(loop.carry, algorithm, there))
    every = evaluation_period(score_every, until)
    patience = FURTHER * device.space.size
    reached, best = np.full(draws, np.inf), np.full(draws, -np.inf)
    made = risen = 0
    most = until.measurements or math.inf
    target = math.inf if until.score is None else until.score
    while made < most and made - risen < patience:
        step = int(min(every, most - made))
        loop.advance(step)
        made += step
        score = loop.evaluate().score
        reached[(score >= target) & np.isinf(reached)] = made
        risen = made if np.any(score > best + 1e-6) else risen
        best = np.fmax(best, score)
    return Descents(reached, best, made)


def _with_surrogates(carry: Any, algorithm: AbstractAlgorithm, task: Task) -> Any:
    real = np.asarray(carry.device.columns.train)
    weights = np.asarray(carry.device.weights)
    if not algorithm.sparse:
        weights = np.zeros_like(weights)
    drawn = []
    for number, (columns, own) in enumerate(zip(real, weights)):
        told = statistics_of(columns, task.targets[0], own, traces="correlated", error="nmse")
        x, _ = told.draw(random_key(number))
        # what is centred has no mean: that of the real ones matters to noise alone
        drawn.append(on_grid(x + np.mean(columns, axis=1, keepdims=True)))
    surrogate = jnp.stack(drawn)
    light = jax.vmap(lambda w, x: w @ x)(jnp.asarray(weights), surrogate)
    state = carry.device
    squares = state.squares
    if not isinstance(squares, tuple):
        squares = jax.vmap(lambda w, x: w**2 @ x**2)(jnp.asarray(weights), surrogate)
    columns = jax.vmap(type(state.columns))(surrogate, jnp.array(surrogate))
    after = eqx.tree_at(lambda s: (s.columns, s.light, s.squares), state, (columns, light, squares))
    return eqx.tree_at(lambda c: c.device, carry, after)


def predict_readout(found: Descents, until: Until, batches: float = 1.0) -> Prediction:
    """The prediction that descents on surrogates lead to: the median and the whole range.

    Arguments: the descents; `until`; `batches`, passes of the training's for each of theirs.
    """
    middle = float(np.median(found.reached))
    passes = float(found.made * len(found.reached) * batches)
    if math.isinf(middle):
        end = float(np.median(found.final))
        target = math.inf if until.score is None else until.score
        reason = f"the descent ends at {end:.4g}, below {target:g}"
        if until.measurements is not None and found.made >= until.measurements:
            reason = f"not reached within {until.measurements:g} measurements, at {end:.4g} then"
        return Prediction(math.inf, float(np.min(found.reached)), math.inf, passes, reason)
    low, high = float(np.min(found.reached)), float(np.max(found.reached))
    return Prediction(middle, low, high, passes)


def readout_floor(device: ReadoutDevice, task: Task, seed: int = 0) -> Floor:
    """The score of the best readout with real-valued weights, by ridge regression, on the test.

    No bits and no noise are in it: an estimate from above for Boolean weights.
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
