"""The choice of learning rate and amplitude, from the law at the start and from predictions."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from dither._threefry import key_for, random_key
from dither._words import rounded
from dither.algorithms import NodePerturbation, nodes
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.contract import AccessLevel, Batch
from dither.devices.simulated import SimulatedDevice
from dither.planning.here import Here
from dither.planning.predict import Prediction
from dither.planning.rules import AbstractRule, rule_of
from dither.planning.walk import adam
from dither.tasks.task import Task
from dither.training.fit import problem_of

SAMPLES, DRAWS, READS = 256, 8, 32

REACH = 0.15
"""The total length of a perturbation without noise, `δ √N`, for linear cost differences."""

SHARE = 0.1
"""The allowed share of cost noise in the scatter of an estimate at the start."""

UNSURE = 3.0
"""The factor by which a rate counts as slower if a predicted trajectory misses the target."""

FACTOR, BELOW = 3.0, 9.0
"""The factor between the rates of a scan, and that between its first rate and the greedy one."""

MOST, AGAIN = 5, 3
"""Predictions per scan: for the first one, and for one that starts from a neighbour's rate."""


@dataclass(frozen=True)
class Tried:
    """An algorithm with a rate and an amplitude, and its prediction."""

    algorithm: Any
    prediction: Prediction

    @property
    def worth(self) -> float:
        """The measurements to the target, `UNSURE` times if a trajectory misses it.

        Infinite if most miss it.
        """
        n, sure = self.prediction.measurements, math.isfinite(self.prediction.high)
        return n * (1.0 if sure else UNSURE) if math.isfinite(n) else math.inf


def scanned(
    algorithm: Any,
    start: "Start",
    predict: Callable[[AbstractAlgorithm, float], Prediction],
    near: float | None = None,
) -> Tried:
    """The rate and the amplitude with the fewest predicted measurements.

    The amplitude is chosen first. The rate then rises by factors from below the greedy one, because
    low rates take the fewest steps to predict. It falls if the first rate was the best. The
    amplitude is doubled once if there is noise. A prediction stops when it needs more measurements
    than the best one.

    Arguments: an algorithm; the `Start`; `predict`, for an algorithm and a budget; `near`, the best
    rate of a similar device, if known.
    """
    algorithm = with_settings(algorithm, delta=start.amplitude(algorithm))
    first = start.greedy_rate(algorithm) / BELOW if near is None else near
    most, tries = MOST if near is None else AGAIN, 0

    def tried(rate: float, best: Tried | None) -> Tried:
        nonlocal tries
        tries += 1
        one = with_settings(algorithm, learning_rate=rounded(rate, 2))
        return Tried(one, predict(one, math.inf if best is None else best.worth))

    best = tried(first, None)
    stuck = math.isnan(best.prediction.measurements)  # at what its noise allows: lower is better
    for step in (1 / FACTOR, FACTOR) if stuck else (FACTOR, 1 / FACTOR):
        if best.algorithm.learning_rate != rounded(first, 2):
            break
        rate = first
        while tries < most:
            rate *= step
            one = tried(rate, best)
            if one.worth >= best.worth and math.isfinite(best.worth):
                break
            best = min(best, one, key=lambda one: one.worth)
    if start.sigma > 0 and "delta" in type(algorithm).model_fields:
        wider = with_settings(best.algorithm, delta=rounded(2 * best.algorithm.delta, 2))
        other = Tried(wider, predict(wider, best.worth))
        best = min(best, other, key=lambda one: one.worth)
    return best


def with_settings(algorithm: Any, **settings: Any) -> Any:
    """An algorithm with the given settings, as far as it has them."""
    known = {k: v for k, v in settings.items() if k in type(algorithm).model_fields}
    return algorithm.model_copy(update=known)


class Start(eqx.Module):
    """Quantities of the simulation at the initial parameters.

    Attributes: `sigma`, the noise of the measured cost of a batch.
    """

    here: Here
    sigma: float

    @staticmethod
    def of(device: SimulatedDevice, task: Task, seed: int = 0) -> "Start":
        """The start of the training with a seed."""
        initial, _, _, fabrication = jax.random.split(random_key(seed), 4)
        chip = device.fabricate(key_for(device, fabrication))
        theta = device.space.snap(device.initial(key_for(device, initial)))
        chip = device.write(chip, theta, jnp.bool_(False))
        rows = jnp.arange(min(SAMPLES, len(task.inputs)))
        sigma = _noise(device, task, chip) if device.imperfections else 0.0
        here = Here(device, task, chip, rows, jnp.asarray(sigma**2), jnp.zeros(()))
        return Start(here, sigma)

    def amplitude(self, algorithm: AbstractAlgorithm) -> float:
        """δ, as small as the noise allows.

        Without noise `δ = 0.15/√N`, N the weights or neurons perturbed together; with noise, δ is
        such that the noise causes a tenth of the scatter at the start. The two variances are
        `c sigma²/δ²` and |g|² for a weight; for a neuron `c sigma² |x|²/δ²` and |g|², |x|² the mean
        square of the inputs of a layer, summed over them.
        """
        here, sites = self.here, isinstance(algorithm, NodePerturbation)
        layers = here.device.network.layers
        together = nodes.count(layers) if sites else here.space.size
        g = float(_gradient_square(here))
        x = float(_input_square(here)) if sites else 1.0
        of_noise = self.sigma * math.sqrt(0.5 * x / (SHARE * max(g, 1e-30)))
        delta = max(REACH / math.sqrt(together), of_noise)
        return rounded(delta if sites else float(jnp.max(here.space.amplitude(delta))), 2)

    def greedy_rate(self, algorithm: AbstractAlgorithm) -> float:
        """The rate with the largest decrease of the mean cost in the first update.

        `eta = g·Dg / (Dg·H Dg + E[Dε·H Dε])`, ε the scatter of the estimate, D the optimiser's
        scale: the minimum of the expected cost to second order. Source: derived here.
        """
        problem = problem_of(self.here.device, self.here.task)
        rule = rule_of(algorithm, problem, self.here.device.network.layers)
        if isinstance(rule, str):
            return 0.01
        return rounded(float(_greedy(rule, self.here, random_key(1))), 2)


@eqx.filter_jit
def _greedy(rule: AbstractRule, here: Here, key: Key[Array, ""]) -> Float[Array, ""]:
    def curvature(v: Float[Array, " P"]) -> Float[Array, ""]:
        _, _, curved = here.curved(jnp.ones(()), v)
        return v @ curved

    def drawn(key: Key[Array, ""]) -> tuple[Array, Array, Array]:
        found = rule.estimate(here, key, rule.delta, rule.batches / here.batch)
        D: Any = 1.0
        if adam(rule):
            D = 1 / (jnp.sqrt(found.gradient**2 + found.variance) + 1e-8)
        along, beside = D * found.gradient, D * found.noise
        return found.gradient @ along, curvature(along), curvature(beside)

    slope, bend, scatter = jax.lax.map(drawn, jax.random.split(key, DRAWS))
    steep = jnp.mean(bend) + jnp.mean(scatter)
    # without a minimum (a non-convex cost), the first update may remove a fifth of the cost
    flat = 0.2 * here.mean_cost(here.theta) / jnp.mean(slope)
    return jnp.where(steep > 0, jnp.minimum(jnp.mean(slope) / steep, flat), flat)


@eqx.filter_jit
def _gradient_square(here: Here) -> Float[Array, ""]:
    return jnp.sum(jax.grad(here.mean_cost)(here.theta) ** 2)


@eqx.filter_jit
def _input_square(here: Here) -> Float[Array, ""]:
    _, inputs = here.costs(here.theta)
    squares = [jnp.sum(x**2) / x.shape[0] + 1 for x in inputs.values()]
    return jnp.mean(jnp.stack(squares))


@eqx.filter_jit
def _read(device: SimulatedDevice, task: Task, chip: Any) -> Float[Array, " n"]:
    batch = Batch(task.inputs[: task.batch], task.targets[: task.batch])

    def read(number: Array) -> Array:
        one = eqx.tree_at(lambda c: c.measured, chip, number)
        return device.measure(one, batch, task.cost, None, AccessLevel.COST)[0].cost

    reads: Array = jax.lax.map(read, jnp.arange(READS))
    return reads


def _noise(device: SimulatedDevice, task: Task, chip: Any) -> float:
    return float(jnp.std(_read(device, task, chip), ddof=1))
