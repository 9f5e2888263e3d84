"""Fast prediction of the measurements of a training."""

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import stats

from dither.algorithms.algorithm import AbstractAlgorithm
from dither.contract import Problem
from dither.devices.simulated import SimulatedDevice
from dither.planning.rules import AbstractRule, rule_of
from dither.planning.walk import STEPS, Walk, scores, walked
from dither.tasks.task import AbstractTask, Task
from dither.training.fit import problem_of
from dither.training.until import Until

SAMPLES, WIDER = 512, 8
"""The samples of a gradient, at most; the factor on it if a step combines many more samples."""

BATCHES = 128
"""The batches of the rule that are read for a gradient, at most."""

SPREAD, DEGREES = 0.2, 4
"""The assumed scatter of log measurements between trainings, and its degrees of freedom."""

MOST_STEPS = 20_000
"""The maximum number of steps."""


@dataclass(frozen=True)
class Prediction:
    """The predicted cost of a training.

    Attributes: `measurements` to the target, infinite if it is not reached; `low`, `high`, a 90 %
    interval for one training; `cost_of_prediction`, the forward passes of one training batch used
    for the prediction; `reason`, why there is no prediction, or why it is infinite; `curve`,
    measurements and the median score during training.
    """

    measurements: float
    low: float
    high: float
    cost_of_prediction: float
    reason: str = ""
    curve: tuple[tuple[float, float], ...] = ()


def predict(
    device: Any,
    task: AbstractTask | Task,
    algorithm: AbstractAlgorithm,
    until: Until,
    *,
    trajectories: int = 3,
    key: int = 0,
    seconds: float = math.inf,
    start: Float[np.ndarray, "R P"] | None = None,
) -> Prediction:
    """Predict the measurements of a training to its score.

    ```
    θ ← θ − h D g − √(h eta) D ε,   cov ε = cov G,   h = k eta        measurements = M Σ k
    ```

    This is the stochastic modified equation with exact gradients of the simulation, and with the
    scatter that the rule's law gives for its perturbations, batches and cost noise. A step combines
    k updates, as many as the largest curvature allows.

    Arguments: device, task, algorithm and until as in `dither.train`; `trajectories`, their number,
    ≥ 1; `key`, the seed: trajectory i starts like the training with key + i; `seconds`, the limit
    of computing time. After it, or after `MOST_STEPS`, only a lower bound is predicted;
        `start`, trained parameters: trajectory i takes row i mod R.
    Returns: the `Prediction`. Source: the equation, Li, Tai and E, arXiv 1511.06251; where noise is
    added, Leimkuhler and Matthews 2013; the rest derived here, checked by the tests.
    """
    data = task.load() if isinstance(task, AbstractTask) else task
    rule = _law(device, data, algorithm, until)
    if isinstance(rule, str):
        return Prediction(math.nan, math.nan, math.nan, 0.0, rule)
    samples = min(len(data.inputs), max(data.batch, min(SAMPLES, BATCHES * data.batch)))
    most = math.inf if until.measurements is None else float(until.measurements)
    walks = _starts(device, data, algorithm, key, trajectories, start)
    path = _Path(device, data, rule, samples, walks, float(until.score or 0.0), most, seconds)
    times, seen = path.follow()
    M, passes = float(rule.per_update), seen / data.batch
    if path.late and np.isinf(np.median(times)):
        at, score = path.curve[-1]
        reason = f"the prediction stopped at {score:.4g}, after {M * at:.0f} measurements"
        return Prediction(math.nan, M * at, math.inf, passes, reason)
    told = of_trajectories(M * times, passes, min(most, M * max(1.0, path.curve[-1][0])))
    known = ((M * k, score) for k, score in path.curve if math.isfinite(k + score))
    return replace(told, curve=tuple(known))


def _law(device: Any, task: Task, algorithm: AbstractAlgorithm, until: Until) -> Any:
    if type(device) is not SimulatedDevice:
        return "only simulated devices with a network can be predicted"
    if until.score is None:
        return "until.score is not set"
    if task.sampler.learns or task.group > 1:
        return "adaptive samplers and grouped samples have no law yet"
    layers = device.network.layers
    return rule_of(algorithm, problem_of(device, task), layers)


@eqx.filter_jit
def _start(
    device: SimulatedDevice,
    problem: Problem,
    reach: Array,
    seed: Int[Array, ""],
    given: Float[Array, " P"] | None,
) -> tuple[Array, Any]:
    """The initial parameters, if none are given, and the chip for a training's seed."""
    # JAX's own keys draw the same as the training's, and compile faster
    initial, _, _, fabrication = jax.random.split(jax.random.key(seed), 4)
    theta = device.initial(initial) if given is None else given
    return problem.space.confine(theta, reach), device.fabricate(fabrication)


def _starts(
    device: Any,
    task: Task,
    algorithm: Any,
    key: int,
    trajectories: int,
    start: Float[np.ndarray, "R P"] | None,
) -> Walk:
    problem = problem_of(device, task)
    reach = jnp.asarray(algorithm.reach(problem))
    walks = []
    for seed in range(key, key + trajectories):
        given = None if start is None else jnp.asarray(start[(seed - key) % len(start)])
        theta, chip = _start(device, problem, reach, jnp.int32(seed), given)
        draw = np.random.default_rng(seed)
        top = draw.normal(size=theta.size)
        order = draw.permutation(len(task.inputs))
        walks.append(Walk.start(theta, top, order, chip, jax.random.key(seed, impl="unsafe_rbg")))
    stacked: Walk = jax.tree.map(lambda *leaves: jnp.stack(leaves), *walks)
    return stacked


class _Path:
    """The state of the trajectories."""

    def __init__(
        self, device: Any, task: Task, rule: AbstractRule, samples: int, walks: Walk,
        target: float, most: float, seconds: float,
    ) -> None:  # fmt: skip
        self.device, self.task, self.rule = device, task, rule
        self.samples, self.widest = samples, min(len(task.inputs), WIDER * samples)
        self.walks, self.target, self.most = walks, target, most
        self.seconds, self.late = seconds, False
        self.curve: list[tuple[float, float]] = []

    def scores(self, thetas: Float[Array, "n P"]) -> Float[np.ndarray, " n"]:
        return np.asarray(scores(self.device, self.task, self.walks.chip, thetas))

    def follow(self) -> tuple[Float[np.ndarray, " n"], int]:
        """The updates to the target, infinite if not reached; the total number of samples."""
        n = self.walks.updates.shape[0]
        times, steps, seen, tests = np.full(n, np.inf), 0, 0, len(self.task.test_inputs)
        M, began = float(self.rule.per_update), time.monotonic()
        before = self.scores(self.walks.theta)
        at = np.zeros(n)
        self.curve = [(0.0, float(np.median(before)))]
        times[before >= self.target] = 1.0
        while not np.all(np.isfinite(times)) and steps < MOST_STEPS:
            self.walks, thetas, updates = walked(
                self.rule, self.device, self.task, self.samples, self.walks
            )
            steps += STEPS
            seen += n * (4 * STEPS + 8) * self.samples + n * tests
            after, reached = self.scores(thetas[:, -1]), np.asarray(updates)
            crossed = (after >= self.target) & np.isinf(times)
            if crossed.any():
                times[crossed] = self._crossing(thetas, reached, at, before)[crossed]
                seen += n * STEPS * tests
            self.samples = self._samples_for((reached[:, -1] - at) / STEPS)
            at, before = reached[:, -1], after
            self.curve.append((float(np.max(at)), float(np.median(after))))
            if np.all(M * at > self.most) or not np.all(np.isfinite(at)):
                break
            self.late = time.monotonic() - began > self.seconds and bool(np.isinf(times).any())
            if self.late:
                break
        else:  # at the target, or out of steps
            self.late = bool(np.isinf(times).any())
        return times, seen

    def _samples_for(self, k: Float[np.ndarray, " n"]) -> int:
        """The samples for which a gradient scatters no more than k updates, within limits."""
        own = float(np.median(k)) * self.task.batch / float(self.rule.batches)
        return self.samples if own <= 2 * self.samples else self.widest

    def _crossing(
        self, thetas: Array, updates: np.ndarray, at: np.ndarray, before: np.ndarray
    ) -> Float[np.ndarray, " n"]:
        """The first step at the target, interpolated between evaluations."""
        n, S, _ = thetas.shape
        curve = np.stack([before, *(self.scores(thetas[:, s]) for s in range(S))], axis=1)
        times = np.concatenate([at[:, None], updates], axis=1)
        found = np.full(n, np.inf)
        for r in range(n):
            there = np.flatnonzero(curve[r] >= self.target)
            if len(there) and there[0] > 0:
                s = there[0]
                share = (self.target - curve[r, s - 1]) / (curve[r, s] - curve[r, s - 1])
                found[r] = times[r, s - 1] + share * (times[r, s] - times[r, s - 1])
        return found


def of_trajectories(
    measurements: Float[np.ndarray, " n"], passes: float, most: float
) -> Prediction:
    """The median, and an interval from the assumed scatter and that of the trajectories."""
    finite = measurements[measurements <= most]
    if len(finite) * 2 <= len(measurements):
        low = float(finite.min()) if len(finite) else math.inf
        reason = f"not reached within {most:g} measurements"
        return Prediction(math.inf, low, math.inf, passes, reason)
    logs = np.log(finite)
    n, middle = len(logs), float(np.median(logs))
    squares = float(np.sum((logs - middle) ** 2)) + DEGREES * SPREAD**2
    degrees = DEGREES + n - 1
    reach = float(stats.t.ppf(0.95, degrees)) * math.sqrt(squares / degrees * (1 + 1 / n))
    high = math.inf if n < len(measurements) else math.exp(middle + reach)
    return Prediction(math.exp(middle), math.exp(middle - reach), high, passes, "")
