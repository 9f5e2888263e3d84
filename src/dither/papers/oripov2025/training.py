"""Trainings of the paper's networks, which go on from their last checkpoint."""

import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dither.contract import Parameters
from dither.networks.network import through
from dither.papers.oripov2025.network import examples_last, images_last, network_of
from dither.papers.oripov2025.simulation import Scheme, State, begin, iterate
from dither.tasks import FashionMNIST, Task
from dither.training.checkpoint import digest, load_checkpoint, save_checkpoint

CHECKPOINT_SECONDS = 60.0
TESTED_AT_ONCE = 100


class Goal(NamedTuple):
    """When a training stops: at a test accuracy, or after so many iterations."""

    accuracy: float
    iterations: int


class Curve(NamedTuple):
    """Test accuracy, over all test images, after each of some numbers of iterations."""

    iterations: Int[np.ndarray, " records"]
    accuracies: Float[np.ndarray, " records"]

    def first(self, accuracy: float) -> float:
        """The iterations of the first record at or above an accuracy; infinite where none is."""
        reached = self.accuracies >= accuracy
        return float(self.iterations[np.argmax(reached)]) if reached.any() else np.inf

    def meets(self, goal: Goal) -> bool:
        """Whether the training is over."""
        return bool(
            len(self.iterations)
            and (self.iterations[-1] >= goal.iterations or self.accuracies.max() >= goal.accuracy)
        )


@lru_cache(1)
def fashion_mnist() -> Task:
    """The paper's task."""
    return FashionMNIST().load()


def train(
    scheme: Scheme,
    seed: int,
    task: Task,
    goal: Goal,
    every: int,
    file: Path | None = None,
    observe: Callable[[Curve], None] | None = None,
) -> Curve:
    """Train until a goal is met and record the test accuracy on the way.

    Arguments: how to train; the seed; the task; when to stop; iterations between records; the file
    that the training is kept in, once a minute, and goes on from bit for bit where it is there;
    what to call after each record. Errors: `RequestError` where the file is of another training.
    """
    name = digest({"scheme": scheme.model_dump(), "seed": seed, "every": every})
    start_key, key = jax.random.split(jax.random.key(seed))
    state, curve = begin(scheme, start_key), Curve(np.zeros(0, int), np.zeros(0))
    if file is not None and file.exists():
        state, kept, _ = load_checkpoint(file, state, name)
        curve = Curve(kept["iterations"], kept["accuracies"])
    saved = time.monotonic()
    while not curve.meets(goal):
        state = _iterate_many(scheme, every, key, task, state)
        reached = float(accuracy(scheme.d, state.parameters, task))
        curve = Curve(
            np.append(curve.iterations, int(state.iteration)), np.append(curve.accuracies, reached)
        )
        due = time.monotonic() - saved > CHECKPOINT_SECONDS or curve.meets(goal)
        if file is not None and due:
            save_checkpoint(file, state, curve._asdict(), {"digest": name})
            saved = time.monotonic()
        if observe is not None:
            observe(curve)
    return curve


@partial(jax.jit, static_argnums=(0, 1))
def _iterate_many(scheme: Scheme, number: int, key: Array, task: Task, state: State) -> State:
    def step(state: State, _: None) -> tuple[State, None]:
        return iterate(scheme, key, task, state), None

    return jax.lax.scan(step, state, None, length=number)[0]


@partial(jax.jit, static_argnums=0)
def accuracy(d: int, parameters: Parameters, task: Task) -> Float[Array, ""]:
    """The share of the test images whose largest output is the right class."""
    layers = examples_last(network_of(d))

    def right(one: tuple[Array, Array]) -> Float[Array, ""]:
        images, labels = one
        outputs = through(layers, parameters, images_last(images))
        return jnp.mean(jnp.argmax(outputs[:, 0], axis=0) == labels)

    parts = len(task.test_inputs) // TESTED_AT_ONCE
    images = task.test_inputs.reshape(parts, TESTED_AT_ONCE, *task.test_inputs.shape[1:])
    return jnp.mean(jax.lax.map(right, (images, task.test_targets.reshape(parts, -1))))
