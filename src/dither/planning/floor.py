"""The highest score that a device's bits, bounds, imperfections and noise allow."""

import math
import time
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dither.algorithms import Backpropagation, Optimizer, Schedule
from dither.devices.simulated import SimulatedDevice
from dither.tasks.samplers import Uniform
from dither.tasks.task import Task
from dither.training.fused import FusedLoop

STEPS, MORE = 1_000, 4_000
"""Updates of the first search, and of the second if the first does not reach the target."""

RATES = (0.006, 0.002, 0.02)
"""The learning rates of Adam that are tried, each with a cosine schedule."""

STARTS, ROUND, ROUNDS = 3, 200, 25
"""Further starts per constant rate; updates between evaluations; evaluations, at most."""

LOOKS = 10
"""Evaluations of a search; all are at the end, where the rate has decayed."""

LEAST, BATCH, WORK = 16, 128, 2e7
"""Limits of a batch: samples, and floating-point operations of its forward pass."""

UNFINISHED = 0.005
"""The minimum margin for a longer search."""

PATIENCE = 15.0
"""The time after which a search ends if it has passed the target, s."""


@dataclass(frozen=True)
class Floor:
    """The best score found with exact gradients through the device's imperfections.

    Attributes: `score`, on the test set with the device's noise; `margin`, the possible gain of a
    longer search or another start, infinite if not tested; `updates` of the search; `at_least`,
    whether it ended early because it had passed the target.
    """

    score: float
    margin: float
    updates: int
    at_least: bool = False

    def excludes(self, target: float) -> bool:
        """Whether a target exceeds the score by more than the margin."""
        return target > self.score + self.margin


def floor(device: SimulatedDevice, task: Task, target: float | None = None, seed: int = 0) -> Floor:
    """The score that a device allows, found with exact gradients.

    Straight-through training: the cost and its gradient are evaluated at values that the DAC can
    write, through imperfections, noise and converters; the update is made in real numbers.

    ```
    θ ← Adam(θ, ∇C(snap(θ))),  cosine, the best of three rates
    ```

    The result is an upper estimate for rules with less access. If it is below `target`, the search
    at the best rate is repeated at four times the length, and nine further starts are trained in
    small batches at constant rates. The margin is then 0.005, plus twice the gain from the length,
    plus twice the distance of the best of these starts from their median: with few bits a search
    depends on its start, and an unlucky start must not make a target count as impossible.

    Arguments: the device; the task; the target score; `seed` of the instance.
    Source: straight-through estimation, Bengio, Léonard and Courville, arXiv 1308.3432.
    """
    exact = device.model_copy(update={"access": "gradients"})
    whole = replace(task, batch=_batch(exact, task), sampler=Uniform())
    enough = math.inf if target is None else target
    found, rate = _searched(exact, whole, STEPS, RATES, seed, enough)
    if target is None or found.score - UNFINISHED >= target:
        return found
    longer, _ = _searched(exact, whole, MORE, (rate,), seed, enough)
    if longer.at_least:
        return longer
    small = replace(whole, batch=min(whole.batch, LEAST // task.group * task.group or task.group))
    starts = _other_starts(exact, small, seed)
    best = max(found.score, longer.score, float(starts.max()))
    gain, luck = max(longer.score - found.score, 0.0), float(starts.max() - np.median(starts))
    return replace(longer, score=best, margin=UNFINISHED + 2 * gain + 2 * luck)


def _other_starts(device: SimulatedDevice, task: Task, seed: int) -> Float[np.ndarray, " n"]:
    """The best score of each start, at any evaluation."""
    rates = np.repeat(RATES, STARTS)
    seeds = [seed + 1 + k for k in range(len(rates))]
    rule = Backpropagation(learning_rate=RATES[0], optimizer=Optimizer(name="adam"))
    loop = FusedLoop(rule, device, task, seeds, {"algorithm.learning_rate": jnp.asarray(rates)})
    best, began = np.zeros(len(seeds)), time.monotonic()
    for _ in range(ROUNDS):
        loop.advance(ROUND)
        best = np.fmax(best, loop.evaluate().score)
        if time.monotonic() - began > 2 * PATIENCE:
            break
    return best


def _batch(device: SimulatedDevice, task: Task) -> int:
    """A batch size that keeps updates precise and fast, in whole groups."""
    state = jax.eval_shape(device.fabricate, jax.random.key(0))
    one = jax.ShapeDtypeStruct((1, *task.inputs.shape[1:]), task.inputs.dtype)
    told = jax.jit(device.outputs).lower(state, one).cost_analysis()
    work = (told or {}).get("flops", 0.0)
    most = min(BATCH, len(task.inputs), max(LEAST, int(WORK / max(work, 1.0))))
    return max(1, most // task.group) * task.group


def _searched(
    device: SimulatedDevice,
    task: Task,
    updates: int,
    rates: tuple[float, ...],
    seed: int,
    enough: float,
) -> tuple[Floor, float]:
    """The best score over some rates, and its rate."""
    cosine = Schedule(name="cosine_decay_schedule", settings=(("decay_steps", updates),))
    adam = Optimizer(name="adam", schedule=cosine)
    rule = Backpropagation(learning_rate=RATES[0], optimizer=adam)
    best, began = (-math.inf, rates[0]), time.monotonic()
    for rate in rates:
        varied = {"algorithm.learning_rate": jnp.array([rate])}
        loop = FusedLoop(rule, device, task, [seed], varied)
        for _ in range(LOOKS):
            loop.advance(updates // LOOKS)
            best = max(best, (float(loop.evaluate().score[0]), rate))
            late = time.monotonic() - began > PATIENCE
            if late and best[0] - UNFINISHED >= enough:
                return Floor(best[0], math.inf, updates, at_least=True), best[1]
    return Floor(best[0], math.inf, updates), best[1]
