"""Trainings side by side, one for each learning rate, strength of an imperfection and seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from dither.algorithms import AbstractAlgorithm, AnalogMGD, WeightMGD
from dither.codes import CODES
from dither.contract import Problem as Bound
from dither.devices import SimulatedDevice
from dither.devices.imperfections import AbstractImperfection, Bounds, CostNoise
from dither.networks import MLP
from dither.tasks import XOR, AbstractTask, NIST7x7, Parity, Task
from dither.training.fit import problem_of
from dither.training.fused import (
    deal_out,
    evaluate,
    measure_once,
    replica_axes,
    replica_sharding,
    start,
)
from dither.training.loop import Carry

LASTING = 10
"""Evaluations in a row that a solution has to last, lest a lucky moment counts as one."""

LOOKS = 10
"""Evaluations in one call of the compiled loop."""

FRESH = 1000
"""The first seed of those that no learning rate was chosen by."""


@dataclass(frozen=True)
class Problem:
    """A task with its network, the score that solves it, measurements between evaluations.

    Attributes: `noise`, the cost noise that it has where none is asked for; `bound`, of weights.
    """

    name: str
    task: AbstractTask
    network: MLP
    score: float
    every: int
    noise: float = 0.0
    bound: float | None = None

    def device(self, imperfection: AbstractImperfection | None = None) -> SimulatedDevice:
        """The device, with one more imperfection."""
        chosen: list[AbstractImperfection] = []
        if self.bound is not None:
            chosen.append(Bounds(low=-self.bound, high=self.bound))
        if self.noise and not isinstance(imperfection, CostNoise):
            chosen.append(CostNoise(sigma=self.noise))
        if imperfection is not None:
            chosen.append(imperfection)
        return SimulatedDevice(network=self.network, imperfections=tuple(chosen))


def _sigmoid(*widths: int, bias: float) -> MLP:
    return MLP(widths=widths, activation="sigmoid", output="sigmoid", bias=bias)


PROBLEMS = {
    "xor": Problem("xor", XOR(), _sigmoid(2, 2, 1, bias=1.0), 1.0, 200, 0.01, 10.0),
    "parity4": Problem(
        "parity4", Parity(bits=4), _sigmoid(4, 8, 1, bias=1.0), 1.0, 500, 0.003, 10.0
    ),
    "nist7x7": Problem("nist7x7", NIST7x7(), _sigmoid(49, 4, 4, bias=0.0), 0.95, 500),
}
"""The problems by their names; noise and bounds are those of the presets."""


def method(form: str, code: str = "rademacher", tau_theta: int | None = None) -> AbstractAlgorithm:
    """The digital or the analog form, at a learning rate to be replaced.

    Both perturb by 0.1. Digital: central pairs, an update after each, or after tau_theta of them.
    Analog: tau_hp = 1.6, tau_x = 10, the low-pass over tau_theta = 10 unless another is given.
    """
    chosen = CODES[code].model_validate({})
    if form == "weight-mgd":
        return WeightMGD(
            learning_rate=1.0, delta=0.1, pairs="central", code=chosen, tau_theta=tau_theta or 1
        )
    time = 10.0 if tau_theta is None else float(tau_theta)
    return AnalogMGD(learning_rate=1.0, delta=0.1, tau_x=10, tau_theta=time, code=chosen)


class Trials(NamedTuple):
    """What distinguishes trainings side by side: learning rate, sigma, seed of each."""

    rate: Float[Array, " R"]
    sigma: Float[Array, " R"]
    seed: Int[Array, " R"]


class Cell(NamedTuple):
    """What they share: an algorithm at any rate, a device whose last imperfection has any sigma."""

    algorithm: AbstractAlgorithm
    device: SimulatedDevice
    varied: bool = False

    def of(
        self, rate: Float[Array, ""], sigma: Float[Array, ""]
    ) -> tuple[AbstractAlgorithm, SimulatedDevice]:
        """The algorithm at a learning rate, the device at a sigma; both may be traced."""
        algorithm = self.algorithm.model_copy(update={"learning_rate": rate})
        if not self.varied:
            return algorithm, self.device
        *others, last = self.device.imperfections
        last = last.model_copy(update={"sigma": sigma})
        return algorithm, self.device.model_copy(update={"imperfections": (*others, last)})


@eqx.filter_jit
def _start(cell: Cell, problem: Bound, trials: Trials) -> Carry:
    def one(rate: Float[Array, ""], sigma: Float[Array, ""], seed: Int[Array, ""]) -> Carry:
        return start(*cell.of(rate, sigma), problem, seed)

    carry = jax.vmap(one)(*trials)
    clock = jax.tree.map(lambda leaf: leaf[0], carry.algorithm.clock)  # common to all of them
    first: Carry = eqx.tree_at(lambda c: c.algorithm.clock, carry, clock)
    return first


@eqx.filter_jit
def _advance(
    cell: Cell, task: Task, every: Int[Array, ""], trials: Trials, carry: Carry
) -> tuple[Carry, Float[Array, "looks R"]]:
    """Ten times: every training so many measurements on, and its score then."""
    axes = replica_axes(carry, cell.device)

    def side_by_side(one: Callable[..., Any], out_axes: Any) -> Callable[..., Any]:
        return jax.vmap(one, in_axes=(0, 0, axes), out_axes=out_axes)

    def measure(rate: Array, sigma: Array, carry: Carry) -> Carry:
        return measure_once(*cell.of(rate, sigma), task, carry)[0]

    def leg(
        trials: Trials, task: Task, every: Int[Array, ""], carry: Carry
    ) -> tuple[Carry, Float[Array, "looks R"]]:
        rate, sigma, _ = trials
        step = side_by_side(measure, axes)

        def until_look(carry: Carry, _: Any) -> tuple[Carry, Float[Array, " R"]]:
            carry = jax.lax.fori_loop(0, every, lambda _, now: step(rate, sigma, now), carry)
            score, _, _ = evaluate(cell.algorithm, cell.device, task, carry)
            return carry, score

        after: tuple[Carry, Float[Array, "looks R"]] = jax.lax.scan(until_look, carry, length=LOOKS)
        return after

    sharding = replica_sharding(carry, axes)
    if sharding is None:
        return leg(trials, task, every, carry)
    mesh, specs = sharding
    each, whole = PartitionSpec("replicas"), PartitionSpec()
    run = jax.shard_map(
        leg,
        mesh=mesh,
        in_specs=(each, whole, whole, specs),
        out_specs=(specs, PartitionSpec(None, "replicas")),
        check_vma=False,
    )
    return run(trials, task, every, carry)


def scores(
    cell: Cell,
    task: Task,
    trials: Trials,
    most: int,
    every: int,
    done: Callable[[Float[np.ndarray, "looks R"]], bool],
    observe: Callable[[float], None],
) -> Float[np.ndarray, "looks R"]:
    """The test score of each training after every so many measurements.

    Arguments: `most` measurements of one training; `every`, those between evaluations; `done`,
    whether the scores so far are enough to end early; what to call with the share done.
    """
    carry = deal_out(cell.device, _start(cell, problem_of(cell.device, task), trials))
    found = np.zeros((0, trials.seed.size))
    while len(found) * every < most:
        carry, more = _advance(cell, task, jnp.int32(every), trials, carry)
        found = np.concatenate([found, np.asarray(more, float)])
        observe(min(1.0, len(found) * every / most))
        if done(found):
            break
    return found[: most // every]


def lasting(
    found: Float[np.ndarray, "looks R"], enough: float, every: int
) -> Float[np.ndarray, " R"]:
    """Measurements to the first of ten evaluations in a row with a score; infinite if never."""
    if len(found) < LASTING:
        return np.full(found.shape[1], np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(found >= enough, LASTING, axis=0)
    lasts = windows.all(axis=-1)
    return np.where(lasts.any(axis=0), (1 + np.argmax(lasts, axis=0)) * every, np.inf)


Decided: TypeAlias = Callable[[Float[np.ndarray, " R"]], bool]
"""Whether the times to a lasting solution so far are all that is asked for."""


class Tuned(NamedTuple):
    """The learning rate chosen for a sigma, and what fresh seeds took with it.

    Attributes: `sigma`; `rate`; `measurements` of each seed, infinite where it is not solved.
    """

    sigma: float
    rate: float
    measurements: Float[np.ndarray, " seeds"]


def tuned(
    problem: Problem,
    cell: Cell,
    sigmas: Sequence[float],
    rates: Sequence[float],
    tuning_seeds: int,
    most: int,
    observe: Callable[[float], None],
) -> list[Tuned]:
    """Choose the learning rate of each sigma by a few seeds, then run it with fresh ones.

    The rate is chosen at which three quarters of the seeds are solved first, or, where that is
    never, at which most are. The fresh seeds are as many as it was chosen by.
    """
    task = problem.task.load()
    shape = (len(sigmas), len(rates), tuning_seeds)
    fresh = len(rates) * tuning_seeds

    def took(
        rate: np.ndarray, sigma: np.ndarray, seed: np.ndarray, decided: Decided, begun: float
    ) -> Float[np.ndarray, " R"]:
        dtype = jnp.result_type(float)
        trials = Trials(jnp.asarray(rate, dtype), jnp.asarray(sigma, dtype), jnp.asarray(seed))
        found = scores(
            cell, task, trials, most, problem.every,
            lambda found: decided(lasting(found, problem.score, problem.every)),
            lambda share: observe(begun + share / 2),
        )  # fmt: skip
        return lasting(found, problem.score, problem.every)

    grid = np.meshgrid(sigmas, rates, np.arange(tuning_seeds), indexing="ij")
    sigma, rate, seed = (axis.reshape(-1) for axis in grid)

    def one_rate_each(times: Float[np.ndarray, " R"]) -> bool:
        first = _by_three_quarters(times.reshape(shape)).min(axis=1)
        return bool(np.isfinite(first).all())

    tried = took(rate, sigma, seed, one_rate_each, 0.0).reshape(shape)
    chosen = [rates[_best(one)] for one in tried]
    again = took(
        np.repeat(chosen, fresh), np.repeat(sigmas, fresh),
        np.tile(FRESH + np.arange(fresh), len(sigmas)),
        lambda times: bool(np.isfinite(times).all()), 0.5,
    )  # fmt: skip
    return [Tuned(*one) for one in zip(sigmas, chosen, again.reshape(len(sigmas), fresh))]


def _by_three_quarters(times: Float[np.ndarray, "... seeds"]) -> Float[np.ndarray, "..."]:
    """The time by which three quarters of the seeds are solved."""
    return np.asarray(np.quantile(times, 0.75, axis=-1, method="higher"))


def _best(times: Float[np.ndarray, "rates seeds"]) -> int:
    """The number of the rate to take."""
    solved = np.isfinite(times).sum(axis=1)
    first = _by_three_quarters(times)
    return min(range(len(times)), key=lambda rate: (first[rate], -solved[rate]))
