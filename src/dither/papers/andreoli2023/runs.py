"""Trainings of a Boolean readout, recorded as curves for the figures."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dither.laws import (
    PredictedCurve,
    predicted_curves,
    quantised_readout,
    ridge_readout,
)
from dither.studies.plan import planned
from dither.studies.study import Cell
from dither.studies.together import programs
from dither.tasks import nmse, nmse_cost
from dither.training.fused import FusedLoop

BITS = (1, 2, 4)
"""The quantised readouts for comparison with Boolean weights."""


class Curves(NamedTuple):
    """Parallel trainings, each on its own reservoir.

    Attributes: `measurements`, counted from 1, after which the errors were recorded; `errors`, the
    noiseless training NMSE of the accepted weights; `last_kept`, the measurements before the last
    record with changed weights; `start` and `weights`, the first and the last ones; `columns` and
    `target` of the training part, `test_columns` and `test_target` of the test part.
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

    @property
    def tests(self) -> Int[np.ndarray, " records"]:
        """The measurements after the first: one for each test of a mirror."""
        return np.asarray(self.measurements - 1)

    def test_errors(self) -> Float[np.ndarray, " runs"]:
        """The noiseless test NMSE of the last weights."""
        outputs = np.einsum("rn,rnm->rm", self.weights, self.test_columns)
        return np.array([nmse(y, self.test_target) for y in outputs])

    def after(self, measurements: float) -> Float[np.ndarray, " runs"]:
        """The errors at the last record within a number of measurements."""
        return self.errors[:, np.searchsorted(self.measurements, measurements, "right") - 1]

    def readouts(self) -> dict[str, Float[np.ndarray, "runs 2"]]:
        """Training and test NMSE of readouts computed from the same states."""
        errors: dict[str, list[tuple[float, float]]] = {}
        target, test_target = self.target.astype(float), self.test_target.astype(float)
        for columns, test_columns in zip(self.columns, self.test_columns):
            states = columns.T.astype(float)
            found = {"ridge readout": ridge_readout(states, target)}
            found |= {f"{bits}-bit readout": quantised_readout(states, target, bits)
                      for bits in BITS}  # fmt: skip
            for method, readout in found.items():
                seen = nmse(readout.outputs(states), target)
                unseen = nmse(readout.outputs(test_columns.T.astype(float)), test_target)
                errors.setdefault(method, []).append((seen, unseen))
        return {method: np.array(both) for method, both in errors.items()}


def descents(cell: Cell, seeds: tuple[int, ...], observe: Callable[[float], None]) -> Curves:
    """Run a cell of a study and record the training errors, which a study does not.

    Arguments: the cell, whose `score_every` is the measurements between records after the first;
    the seeds; a function called with the finished share.
    """
    ((_, loop, every, _),) = programs([planned(cell, seed) for seed in seeds], ())
    most = (cell.specification.until.measurements or 1) - 1
    # copies, since advancing donates the memory of its start
    columns = jax.tree.map(np.array, loop.carry.device.columns)
    weights = start = np.array(loop.parameters())
    loop.advance(1)
    errors, last_kept = [_kept_errors(loop, weights)], np.zeros(len(seeds), int)
    after = np.arange(0, most + 1, every)
    for k in after[1:]:
        loop.advance(every)
        before, weights = weights, np.array(loop.parameters())
        errors.append(_kept_errors(loop, weights))
        last_kept = np.where(np.any(weights != before, axis=1), k, last_kept)
        observe(k / after[-1])
    target, test_target = np.asarray(loop.task.targets[0]), np.asarray(loop.task.test_targets[0])
    return Curves(1 + after, np.stack(errors, axis=1), last_kept, start, weights,
                  columns.train, target, columns.test, test_target)  # fmt: skip


def _kept_errors(loop: FusedLoop, weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, " R"]:
    columns, targets = loop.carry.device.columns.train, loop.task.targets
    return np.asarray(_errors_of(jnp.asarray(weights), columns, targets), float)


@jax.jit
def _errors_of(
    weights: Float[Array, "R N"], columns: Float[Array, "R N T"], targets: Float[Array, "1 T"]
) -> Float[Array, " R"]:
    return jax.vmap(lambda w, x: nmse_cost((w @ x)[None], targets)[0])(weights, columns)


def predicted(
    curves: Curves, noise: float = 0.0, decision: str = "keep", each: int = 1
) -> PredictedCurve:
    """The law for each run; `each`, the measurements per test.

    In sweep order, which is effectively that of greedy.
    """
    every, tests = int(curves.tests[1]), int(curves.tests[-1]) // each
    return predicted_curves(
        curves.columns, curves.target, curves.start, tests // every * every, every,
        noise=noise, decision=decision, order="sweep",
    )  # fmt: skip
