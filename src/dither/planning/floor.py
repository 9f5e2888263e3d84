"""The score that a device's bits, bounds, defects and noise allow at all."""

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
"""Updates of a first try, and of the second where that falls short of what is asked."""

RATES = (0.006, 0.002, 0.02)
"""Adam's learning rates that are tried, with a cosine each."""

STARTS, ROUND, ROUNDS = 3, 200, 25
"""Other starts at each rate, held constant; updates between looks, and looks at the most."""

LOOKS = 10
"""Evaluations of a try, the last ones where the rate has fallen."""

LEAST, BATCH, WORK = 16, 128, 2e7
"""The samples in a batch, and the floating-point operations of its forward pass at the most."""

UNFINISHED = 0.005
"""What a longer search may add at the least."""

PATIENCE = 15.0
"""Seconds after which a search ends that has passed what was asked for."""


@dataclass(frozen=True)
class Floor:
    """The best score found with exact gradients through the device's own imperfections.

    Attributes: `score`, on the test set with the device's noise; `margin`, what a longer search or
    another start may add, infinite where none was made to tell; `updates` of the search;
    `at_least`, whether it ended early, where it had passed the target.
    """

    score: float
    margin: float
    updates: int
    at_least: bool = False

    def excludes(self, target: float) -> bool:
        """Whether a target is beyond what was found by more than the margin."""
        return target > self.score + self.margin


def floor(device: SimulatedDevice, task: Task, target: float | None = None, seed: int = 0) -> Floor:
    """The score that a device allows, by exact gradients that it does not show.

    Straight-through training: the cost and its gradient are taken at the values that the DAC can
    write, through defects, noise and converters; the update is made in real numbers.

    ```
    θ ← Adam(θ, ∇C(snap(θ))),  cosine, the best of three rates
    ```

    It is an estimate from above of what rules reach that see less. Where it falls short of
    `target`, the search at the best rate is made four times as long, and nine other starts are
    trained in small batches at constant rates. The margin is then 0.005, twice what the length has
    added, and twice by how much the best of these starts is above their median: with few bits a
    search depends on where it begins, and no target is called impossible for want of luck.

    Arguments: the device; the task; the score asked for; `seed` of the instance.
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
    """The best score of each start, on the way too."""
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
    """As many samples as make an update neither noisy nor slow, in whole groups."""
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
    """The best score of some rates, and the rate that it was found at."""
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
