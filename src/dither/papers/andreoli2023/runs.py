"""Trainings of a Boolean readout, recorded as the curves that the figures are made of."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices import ReadoutDevice
from dither.laws import PredictedCurve, predicted_curve, statistics_of
from dither.tasks import MackeyGlass, Task, nmse_cost, series_task
from dither.training.fused import FusedLoop

RECORDS = 20
"""Records of a curve in N measurements."""


class Curves(NamedTuple):
    """Trainings side by side, each on a reservoir of its own.

    Attributes: `measurements`, counted from 1, after which the errors were recorded; `errors`, the
    noiseless training NMSE of the weights kept; `last_kept`, the measurements before the last
    record at which the weights had changed; `start` and `weights`, the first and the last ones;
    `columns` and `target` of the training part, `test_columns` and `test_target` of the test part.
    """

    measurements: Int[np.ndarray, " records"]
    errors: Float[np.ndarray, "runs records"]
    last_kept: Int[np.ndarray, " runs"]
    start: Float[np.ndarray, "runs N"]
    weights: Float[np.ndarray, "runs N"]
    columns: Float[np.ndarray, "runs N T"]
    target: Float[np.ndarray, " T"]
    test_columns: Float[np.ndarray, "runs N M"]
    test_target: Float[np.ndarray, " M"]

    def test_errors(self) -> Float[np.ndarray, " runs"]:
        """The noiseless test NMSE of the last weights."""
        outputs = np.einsum("rn,rnm->rm", self.weights, self.test_columns)
        return np.array([nmse_of(y, self.test_target) for y in outputs])

    def after(self, measurements: float) -> Float[np.ndarray, " runs"]:
        """The errors at the last record within so many measurements."""
        return self.errors[:, np.searchsorted(self.measurements, measurements, "right") - 1]


@lru_cache(1)
def mackey_glass() -> Task:
    """One-step prediction of the Mackey-Glass series."""
    return series_task(MackeyGlass().load())


def nmse_of(output: Float[np.ndarray, " T"], target: Float[np.ndarray, " T"]) -> float:
    """2 (1 − c), c the correlation."""
    return float(2 * (1 - np.corrcoef(output, target)[0, 1]))


def descent_curves(
    algorithm: AbstractAlgorithm,
    device: ReadoutDevice,
    seeds: int,
    measurements: int,
    observe: Callable[[float], None],
    task: Task | None = None,
) -> Curves:
    """Train the readouts of as many reservoirs as seeds, and record the errors on the way.

    Arguments: the algorithm and the device; the seeds 0 … n − 1; the number of `measurements` after
    the first, cut to whole records; what to call with the share done; the task, Mackey-Glass if not
    given.
    """
    task = mackey_glass() if task is None else task
    loop = FusedLoop(algorithm, device, task, list(range(seeds)))
    neurons = device.space.size
    every = max(1, neurons // RECORDS)
    # copies, since advancing takes over the memory of what it starts from
    columns = jax.tree.map(lambda x: np.array(x), loop.carry.device.columns)
    weights = start = np.array(loop.parameters())
    loop.advance(1)
    errors, last_kept = [_kept_errors(loop, weights)], np.zeros(seeds, int)
    after = np.arange(0, measurements + 1, every)
    for k in after[1:]:
        loop.advance(every)
        before, weights = weights, np.array(loop.parameters())
        errors.append(_kept_errors(loop, weights))
        last_kept = np.where(np.any(weights != before, axis=1), k, last_kept)
        observe(k / after[-1])
    return Curves(
        1 + after,
        np.stack(errors, axis=1),
        last_kept,
        start,
        weights,
        columns.train,
        np.asarray(task.targets[0]),
        columns.test,
        np.asarray(task.test_targets[0]),
    )


def _kept_errors(loop: FusedLoop, weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, " R"]:
    columns, targets = loop.carry.device.columns.train, loop.task.targets
    return np.asarray(_errors_of(jnp.asarray(weights), columns, targets), float)


@jax.jit
def _errors_of(
    weights: Float[Array, "R N"], columns: Float[Array, "R N T"], targets: Float[Array, "1 T"]
) -> Float[Array, " R"]:
    return jax.vmap(lambda w, x: nmse_cost((w @ x)[None], targets)[0])(weights, columns)


def predicted(
    curves: Curves, tests: int, noise: float = 0.0, decision: str = "keep"
) -> PredictedCurve:
    """The law for each run, from its reservoir's statistics and its first weights.

    One surrogate of correlated traces for each run, in sweep order, which greedy's is in effect.
    """
    every = max(1, curves.start.shape[1] // RECORDS)
    found = [
        predicted_curve(
            jax.random.key(seed),
            statistics_of(columns, curves.target, start, traces="correlated", error="nmse"),
            tests // every * every,
            draws=1,
            order="sweep",
            noise=noise,
            decision=decision,
            record_every=every,
        )
        for seed, (columns, start) in enumerate(zip(curves.columns, curves.start))
    ]
    return PredictedCurve(
        found[0].tests,
        np.concatenate([one.errors for one in found]),
        np.concatenate([one.last_accepted for one in found]),
    )
