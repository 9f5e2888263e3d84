"""Prediction of the training time from the initial weights by forward passes alone.

The mean of every unbiased method follows the gradient flow `dθ/dτ = −g`, by a time eta per update.
The method scatters about it: `dθ = −g dτ + √eta dW`, with the covariance of its estimates. The
prediction takes the mean from the fastest method, and combines the scatter of many updates in one
step.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from dither._errors import RequestError
from dither._threefry import key_for, random_key
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.contract import Batch
from dither.devices.device import AbstractDevice
from dither.tasks.task import Task
from dither.training.fit import problem_of


class Flow(NamedTuple):
    """The simulated gradient flow from some weights to an accuracy.

    Attributes: `time`, τ, in units of eta times updates, infinite if the accuracy was not reached;
    `measurements`, the cost of the simulation, and the `samples` in them.
    """

    time: float
    measurements: int
    samples: int


class Scatter(NamedTuple):
    """The source of scatter: an unbiased rule, its rate eta, and the task with its batches."""

    algorithm: AbstractAlgorithm
    learning_rate: float
    task: Task


def time_to_accuracy(flow_time: float, learning_rate: float, per_update: int) -> float:
    """Measurements until an accuracy, from the flow time τ: `M τ / eta`.

    Arguments: `flow_time`, τ ≥ 0, as from `follow_flow`; `learning_rate`, eta > 0, of plain
    descent; `per_update`, M ≥ 1, the measurements per update.
    Errors: `RequestError` for a rate of 0. Source: derived here, checked by the tests.
    """
    _check_rate(learning_rate)
    return per_update * flow_time / learning_rate


def follow_flow(
    key: Key[Array, ""],
    guide: AbstractAlgorithm,
    device: AbstractDevice,
    task: Task,
    theta: Float[Array, " P"],
    target: float,
    *,
    learning_rate: float,
    steps: int = 2000,
    scatter: Scatter | None = None,
) -> Flow:
    """Follow the gradient flow to an accuracy in long steps, by forward passes alone.

    ```
    without scatter:  θ ← θ − h G                     dθ = −g dτ
    with scatter:     θ ← θ − h G − √(h eta) (E − G)  dθ = −g dτ + √eta dW,  cov dW = cov E dτ
    ```

    G is the guide's estimate of the gradient, E that of the rule to be predicted, at the rate eta.
    In the time h the rule makes h/eta updates. Their means add up to h and the variances of their
    scatter to h/eta eta²; a single estimate scaled by √(h/eta) has the same variance. At h = eta
    the steps are the rule's own. The difference between the times of the two equations is the price
    of the rule's noise at eta.

    Arguments: `guide`, an unbiased algorithm with low-variance estimates, such as node perturbation
    per example; its own rate is not used. `task`, with the largest batch that can be read at once;
    `theta`, the initial parameters; `target`, the score on the test set; `learning_rate`, h > 0,
    well below the limit of stability `2 / lambda_max`; `steps`, the maximum number of steps;
    `scatter`, the rule, with a task that has its own batches. Evaluations are not counted, as in
    simulated training.
    Returns: the `Flow`. Errors: `RequestError` for a rate of 0. Source: derived here, checked by
    the tests; the equation with scatter is the stochastic modified equation of Li, Tai and E.
    """
    _check_rate(learning_rate)
    rate, goal = jnp.asarray(learning_rate), jnp.asarray(target)
    noise = None
    if scatter is not None:
        _check_rate(scatter.learning_rate)
        noise = scatter.algorithm, jnp.asarray(scatter.learning_rate), scatter.task
    n, used, own, arrived = _follow(
        guide, device, task, key, theta, goal, rate, jnp.int32(steps), noise
    )
    time = learning_rate * int(n) if arrived else float("inf")
    samples = int(used) * task.batch + (int(own) * scatter.task.batch if scatter else 0)
    return Flow(time, int(used) + int(own), samples)


def measurements_per_update(
    algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task
) -> int:
    """M, the measurements that an algorithm makes for its first update."""
    key = random_key(0)
    own = key_for(device, key)
    _, used, _ = _estimate(algorithm, device, task, key, device.fabricate(own), device.initial(own))
    return int(used)


@eqx.filter_jit
def _follow(
    guide: AbstractAlgorithm,
    device: AbstractDevice,
    task: Task,
    key: Key[Array, ""],
    theta: Float[Array, " P"],
    target: Float[Array, ""],
    learning_rate: Float[Array, ""],
    steps: Int[Array, ""],
    scatter: tuple[AbstractAlgorithm, Float[Array, ""], Task] | None,
) -> tuple[Int[Array, ""], Int[Array, ""], Int[Array, ""], Bool[Array, ""]]:
    """The steps, the measurements of guide and rule, and whether the target was reached."""

    def at_target(chip: Any, theta: Float[Array, " P"]) -> Bool[Array, ""]:
        chip = device.write(chip, theta, jnp.bool_(False))
        return task.score(device.outputs(chip, task.test_inputs), task.test_targets) >= target

    def step(now: Any) -> Any:
        n, used, own, _, theta, chip = now
        guiding, training = jax.random.split(jax.random.fold_in(key, n))
        G, more, chip = _estimate(guide, device, task, guiding, chip, theta)
        after = theta - learning_rate * G
        if scatter is not None:
            rule, eta, batches = scatter
            E, further, chip = _estimate(rule, device, batches, training, chip, theta)
            after, own = after - jnp.sqrt(learning_rate * eta) * (E - G), own + further
        return n + 1, used + more, own, at_target(chip, after), after, chip

    chip = device.fabricate(key_for(device, key))
    none = jnp.int32(0)
    start = (none, none, none, at_target(chip, theta), theta, chip)
    n, used, own, arrived, *_ = jax.lax.while_loop(
        lambda now: ~now[3] & (now[0] < steps), step, start
    )
    return n, used, own, arrived


@eqx.filter_jit
def _estimate(
    algorithm: AbstractAlgorithm,
    device: AbstractDevice,
    task: Task,
    key: Key[Array, ""],
    chip: Any,
    theta: Float[Array, " P"],
) -> tuple[Float[Array, " P"], Int[Array, ""], Any]:
    """An algorithm's first estimate at theta, its measurements, and the device after them."""
    learning, data = jax.random.split(key)

    def measure(now: Any) -> Any:
        state, chip, n, _, _ = now
        probe, asked = algorithm.ask(state)
        chip = device.write(chip, probe.parameters, jnp.bool_(False))
        rows = task.sample(data, probe.batch_index)
        batch = Batch(task.inputs[rows], task.targets[rows])
        measurement, _, chip = device.measure(
            chip, batch, task.cost, probe.sites, algorithm.access_level
        )
        state, info = algorithm.tell(asked, probe, measurement)
        return state, chip, n + 1, info.updated, info.estimate

    start = algorithm.init(key_for(algorithm, learning), theta, problem_of(device, task))
    first = (start, chip, jnp.int32(0), jnp.bool_(False), jnp.zeros_like(theta))
    _, chip, n, _, G = jax.lax.while_loop(lambda now: ~now[3], measure, first)
    return G, n, chip


def _check_rate(learning_rate: float) -> None:
    if not learning_rate > 0:
        raise RequestError(f"The learning rate is {learning_rate:g}; set it above 0.")
