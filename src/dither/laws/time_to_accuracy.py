"""How long training will take, from the initial weights and a short probe without backpropagation.

All unbiased methods follow the gradient flow `dθ/dτ = −g` in the mean, eta of its time an update:
one flow, followed by whatever method is quickest, serves all methods, sizes of batch and rates.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from dither._errors import RequestError
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices.device import AbstractDevice, Batch
from dither.tasks.task import Task


class Flow(NamedTuple):
    """The gradient flow from some weights to an accuracy, as a probe has followed it.

    Attributes: `time`, τ, in units of eta times updates, infinite where it did not arrive;
    `measurements` that the probe took, and the `samples` in them.
    """

    time: float
    measurements: int
    samples: int


class TimeToAccuracy(NamedTuple):
    """The measurements foretold, and the least and most that the law allows."""

    measurements: float
    least: float
    most: float


def time_to_accuracy(
    flow_time: float, learning_rate: float, per_update: int, lost: float = 0.5
) -> TimeToAccuracy:
    """Measurements until an accuracy, from the time of the flow.

    `M τ/eta ≤ measurements ≤ M τ/eta / (1 − x)`, foretold `M τ/eta / √(1 − x)`

    An update lowers a quadratic cost by `eta |g|² (1 − x)`, with `x = eta E[GᵀHG] / 2|g|²` what the
    scatter of the estimate G loses of it. Where the scatter fades no faster than the cost itself,
    as in a cost that curves alike in all directions, time grows by 1/(1 − x); where it fades
    sooner, not at all; the geometric mean is wrong by `1/√(1 − x)` at most. At the best rate of
    `best_learning_rate` x is one half, which leaves a factor √2 to either side.

    Arguments: `flow_time`, τ ≥ 0, as from `follow_flow`; `learning_rate`, eta > 0, of plain
    descent; `per_update`, M ≥ 1, the measurements in an update; `lost`, x in [0, 1): one half for a
    tuned rate, nearly 0 for one far below.
    Errors: `RequestError` for a rate of 0 and for x outside. Source: derived here, checked by the
    tests.
    """
    _check_rate(learning_rate)
    if not 0 <= lost < 1:
        raise RequestError(f"The share lost to scatter must be in [0, 1), not {lost:g}.")
    least = per_update * flow_time / learning_rate
    return TimeToAccuracy(least / (1 - lost) ** 0.5, least, least / (1 - lost))


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
) -> Flow:
    """Follow the gradient flow to an accuracy by forward passes alone.

    `θ ← θ − eta G`, eta of flow time a step

    Arguments: `guide`, an unbiased algorithm whose estimates G scatter little, such as node
    perturbation with signs for every example; its own rate is not used. `task`, its batch as large
    as can be read at once; `theta`, the initial parameters; `target`, the score on the test set;
    `learning_rate`, eta > 0, well below the limit of stability `2 / lambda_max`; `steps`, after
    which it gives up. Looks at the test set are not counted, as in simulated training.
    Returns: the `Flow`. Errors: `RequestError` for a rate of 0. Source: derived here, checked by
    the tests.
    """
    _check_rate(learning_rate)
    guide = guide.for_task(task).for_device(device)
    rate, goal = jnp.asarray(learning_rate), jnp.asarray(target)
    n, used, arrived = _follow(guide, device, task, key, theta, goal, rate, jnp.int32(steps))
    time = learning_rate * int(n) if arrived else float("inf")
    return Flow(time, int(used), int(used) * task.batch)


def measurements_per_update(
    algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task
) -> int:
    """M, the measurements that an algorithm makes for its first update."""
    algorithm = algorithm.for_task(task).for_device(device)
    key = jax.random.key(0)
    _, used, _ = _estimate(algorithm, device, task, key, device.fabricate(key), device.initial(key))
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
) -> tuple[Int[Array, ""], Int[Array, ""], Bool[Array, ""]]:
    """Steps, measurements, whether the flow has arrived."""

    def at_target(chip: Any, theta: Float[Array, " P"]) -> Bool[Array, ""]:
        chip = device.write(chip, theta, jnp.bool_(False))
        return task.score(device.outputs(chip, task.test_inputs), task.test_targets) >= target

    def step(now: Any) -> Any:
        n, used, _, theta, chip = now
        G, more, chip = _estimate(guide, device, task, jax.random.fold_in(key, n), chip, theta)
        theta = theta - learning_rate * G
        return n + 1, used + more, at_target(chip, theta), theta, chip

    chip = device.fabricate(key)
    none = jnp.int32(0)
    start = (none, none, at_target(chip, theta), theta, chip)
    n, used, arrived, *_ = jax.lax.while_loop(lambda now: ~now[2] & (now[0] < steps), step, start)
    return n, used, arrived


@eqx.filter_jit
def _estimate(
    algorithm: AbstractAlgorithm,
    device: AbstractDevice,
    task: Task,
    key: Key[Array, ""],
    chip: Any,
    theta: Float[Array, " P"],
) -> tuple[Float[Array, " P"], Int[Array, ""], Any]:
    """An algorithm's first estimate from theta, the measurements it took, the chip after them."""
    learning, data = jax.random.split(key)

    def measure(now: Any) -> Any:
        state, chip, n, _, _ = now
        probe, asked = algorithm.ask(state)
        chip = device.write(chip, probe.parameters, jnp.bool_(False))
        rows = task.sample(data, probe.draw)
        batch = Batch(task.inputs[rows], task.targets[rows])
        measurement, _, chip = device.measure(chip, batch, task.cost, probe.sites, algorithm.sees)
        state, info = algorithm.tell(asked, probe, measurement)
        return state, chip, n + 1, info.updated, info.estimate

    start = algorithm.init(learning, theta, device.space)
    first = (start, chip, jnp.int32(0), jnp.bool_(False), jnp.zeros_like(theta))
    _, chip, n, _, G = jax.lax.while_loop(lambda now: ~now[3], measure, first)
    return G, n, chip


def _check_rate(learning_rate: float) -> None:
    if not learning_rate > 0:
        raise RequestError(f"Nothing is learned at a rate of {learning_rate:g}; set it above 0.")
