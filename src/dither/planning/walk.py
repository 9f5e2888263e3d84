"""Integration of a rule's law in steps of many updates."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from dither.contract import AccessLevel, Batch
from dither.devices.simulated import DeviceInstance, SimulatedDevice
from dither.planning.here import Here
from dither.planning.rules import AbstractRule
from dither.tasks.task import Task

STEPS = 8
"""Steps between evaluations of the curvature, the noise and the score."""

REACH = 0.5
"""The step in units of the inverse of the largest curvature: h lambda_max."""

FALL = 0.3
"""The largest relative decrease of the cost per step, to first order."""

READS = 16
"""The measurements of one batch for estimating its cost noise."""


class Walk(eqx.Module):
    """The state of the integration.

    Attributes: `theta`; `noise`, the half of the last step's scatter not yet added; `m`, `v`, the
    optimiser's moments; `updates` so far; `top`, the direction of the largest curvature; `order`,
    of the training samples; `steps`; `key`.
    """

    theta: Float[Array, " P"]
    noise: Float[Array, " P"]
    m: Float[Array, " P"]
    v: Float[Array, " P"]
    updates: Float[Array, ""]
    top: Float[Array, " P"]
    order: Int[Array, " N"]
    steps: Int[Array, ""]
    chip: DeviceInstance
    key: Key[Array, ""]

    @staticmethod
    def start(theta: Float[Array, " P"], top: Any, order: Any, chip: Any, key: Any) -> "Walk":
        """The state at the initial parameters."""
        none = jnp.zeros_like(theta)
        top = jnp.asarray(top / np.linalg.norm(top), theta.dtype)
        start = jnp.zeros(()), top, jnp.asarray(order, jnp.int32), jnp.int32(0), chip, key
        return Walk(theta, none, none, none, *start)


def adam(rule: AbstractRule) -> bool:
    """Whether the optimiser normalises by the magnitude of the estimates."""
    return rule.optimizer.name in ("adam", "uncorrected_adam")


def _settings(rule: AbstractRule) -> dict[str, float]:
    known = {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "momentum": 0.0}
    return known | {k: float(v) for k, v in rule.optimizer.settings if k in known}


def _scale(rule: AbstractRule, walk: Walk) -> Float[Array, "*P"]:
    """D, the optimiser's factor on the mean estimate, without eta."""
    own = _settings(rule)
    if not adam(rule):
        return jnp.asarray(1 / (1 - own["momentum"]))
    v = walk.v
    if rule.optimizer.name == "adam":
        v = v / (1 - own["b2"] ** jnp.maximum(walk.updates, 1.0))
    return 1 / (jnp.sqrt(v) + own["eps"])


def _moved(
    rule: AbstractRule, walk: Walk, k: Float[Array, ""], g: Array, variance: Array
) -> tuple[Walk, Float[Array, " P"], Float[Array, "*P"]]:
    """The moments after k updates, the mean direction, and D."""
    own = _settings(rule)
    v = walk.v
    if adam(rule):
        kept = own["b2"] ** k
        v = kept * v + (1 - kept) * (g**2 + variance)
    b1 = own["b1"] if adam(rule) else own["momentum"]
    m = g
    if b1 > 0:
        kept = b1**k
        m = kept * walk.m + (1 - kept) * g
    after = walk.updates + k
    walk = eqx.tree_at(lambda w: (w.m, w.v, w.updates), walk, (m, v, after))
    if rule.optimizer.name == "adam":
        m = m / (1 - b1**after)
    return walk, m, _scale(rule, walk)


@eqx.filter_jit
def walked(
    rule: AbstractRule, device: SimulatedDevice, task: Task, samples: int, walks: Walk
) -> tuple[Walk, Float[Array, "n S P"], Float[Array, "n S"]]:
    """Advance all trajectories by `STEPS` steps: the final states, parameters, updates."""

    def one(walk: Walk) -> tuple[Walk, Array, Array]:
        return _one(rule, device, task, samples, walk)

    # not by vmap, under which XLA miscompiled sums of products with signs
    after: tuple[Walk, Array, Array] = jax.lax.map(one, walks)
    return after


def _one(
    rule: AbstractRule, device: SimulatedDevice, task: Task, samples: int, walk: Walk
) -> tuple[Walk, Array, Array]:
    N = task.inputs.shape[0]
    key, for_reads, for_bend = jax.random.split(jax.random.fold_in(walk.key, walk.steps), 3)

    def here(walk: Walk, theta: Array, variance: Array, bend: Array) -> Here:
        rows = walk.order[(walk.steps * samples + jnp.arange(samples)) % N]
        chip = device.write(walk.chip, device.space.snap(theta), jnp.bool_(False))
        chip = eqx.tree_at(lambda c: c.measured, chip, walk.steps)
        return Here(device, task, chip, rows, variance, bend)

    none = jnp.zeros(())
    at = here(walk, walk.theta, none, none)
    variance = _cost_variance(rule, device, task, at, for_reads)
    D = jnp.where(walk.updates > 0, _scale(rule, walk), 1.0)
    cost, g, curved = at.curved(D, walk.top)
    steepest = jnp.linalg.norm(curved)
    delta = rule.delta_at(walk.updates)
    bend = none
    if rule.bends:
        there = rule.smoothed(for_bend, walk.theta, delta)
        beyond = here(walk, there, none, none)
        C_there, slope = jax.value_and_grad(beyond.mean_cost)(beyond.theta)
        bend = ((cost - C_there + slope @ (beyond.theta - at.theta)) / delta) ** 2
    walk = eqx.tree_at(lambda w: w.top, walk, curved / jnp.maximum(steepest, 1e-30))
    eta = rule.rate_at(walk.updates)
    slope = jnp.sum(D * g**2)
    k = jnp.minimum(REACH / (eta * steepest), FALL * cost / (eta * slope))
    # the curvature and the optimiser's scale are unknown in the first steps
    k = jnp.clip(k, 1.0, jnp.where(walk.steps == 0, 8.0, jnp.inf))

    def step(walk: Walk, key: Key[Array, ""]) -> tuple[Walk, Any]:
        for_point, for_rule = jax.random.split(key)
        delta, eta = rule.delta_at(walk.updates), rule.rate_at(walk.updates + k / 2)
        point = rule.smoothed(for_point, walk.theta, delta)
        now = here(walk, point, variance, bend)
        lacking = 0.0 if task.batch >= N else rule.batches / task.batch
        drawn = k / samples if samples < N else 0.0  # covered by the samples of the step
        excess = jnp.maximum(lacking - drawn, 0.0)
        found = rule.estimate(now, for_rule, delta, excess)
        walk, m, D = _moved(rule, walk, k, found.gradient, found.variance)
        new = jnp.sqrt(k) * eta * D * found.noise
        c = (1 - 1 / k) / 2
        theta = walk.theta - k * eta * D * m + (1 - c) * walk.noise + c * new
        theta = device.space.confine(theta, delta)
        walk = eqx.tree_at(
            lambda w: (w.theta, w.noise, w.steps), walk, (theta, new, walk.steps + 1)
        )
        return walk, (theta, walk.updates)

    walk, (thetas, updates) = jax.lax.scan(step, walk, jax.random.split(key, STEPS))
    return walk, thetas, updates


def _cost_variance(
    rule: AbstractRule, device: SimulatedDevice, task: Task, here: Here, key: Key[Array, ""]
) -> Float[Array, ""]:
    """sigma² of one cost, of a batch or a sample as the rule uses it, from repeated reads."""
    if not device.imperfections or rule.sees is AccessLevel.GRADIENTS:
        return jnp.zeros(())
    rows = here.rows[jnp.arange(task.batch) % here.samples]
    batch = Batch(task.inputs[rows], task.targets[rows])

    def read(number: Int[Array, ""]) -> Array:
        chip = eqx.tree_at(lambda c: c.measured, here.chip, number)
        measurement, _, _ = device.measure(chip, batch, task.cost, None, rule.sees)
        singly = rule.sees is AccessLevel.SITES
        return measurement.sites.costs if singly else measurement.cost

    first = jax.random.randint(key, (), 0, 2**29)
    return jnp.mean(jnp.var(jax.vmap(read)(first + jnp.arange(READS)), axis=0, ddof=1))


@eqx.filter_jit
def scores(
    device: SimulatedDevice, task: Task, chips: DeviceInstance, thetas: Float[Array, "n P"]
) -> Float[Array, " n"]:
    """The test score of parameters, each on its own chip."""

    def one(at: tuple[Any, Array]) -> Array:
        chip, theta = at
        chip = device.write(chip, device.space.snap(theta), jnp.bool_(False))
        return task.score(device.outputs(chip, task.test_inputs), task.wanted_tests)

    found: Array = jax.lax.map(one, (chips, thetas))
    return found
