"""The loop around a traceable device: compiled as a whole, with replicas side by side."""

import importlib
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from dither._threefry import first_key, key_for, lasting
from dither.algorithms.algorithm import AbstractAlgorithm, Info
from dither.contract import AccessLevel, Batch, Known, Probe, Problem, Status
from dither.devices.device import AbstractDevice
from dither.tasks.task import Task
from dither.training.acts import perturbed, written
from dither.training.fit import problem_of
from dither.training.known import Kept, keep, nothing_kept
from dither.training.ledger import Ledger
from dither.training.loop import AbstractLoop, Carry, Evaluation, Tally
from dither.training.replicas import deal_out, replica_axes, replica_sharding
from dither.training.settings import Varied, vary


def start(
    algorithm: AbstractAlgorithm,
    device: AbstractDevice,
    problem: Problem,
    seed: Int[Array, ""],
    varied: Varied | None = None,
    parameters: Float[Array, " P"] | None = None,
    sampling: Any = (),
) -> Carry:
    """A new instance of the device and an initial state of the algorithm, from a seed.

    The device draws the parameters unless they are given; `sampling` is the sampler's state.
    """
    varied = dict(varied or {})
    algorithm, device = vary(algorithm, "algorithm", varied), vary(device, "device", varied)
    if varied:
        problem = replace(problem, space=device.space)
    initial, learning, data, fabrication = jax.random.split(first_key(seed), 4)
    theta = device.initial(key_for(device, initial)) if parameters is None else parameters
    carry = Carry(
        algorithm=algorithm.init(key_for(algorithm, learning), theta, problem),
        device=device.fabricate(key_for(device, fabrication)),
        data=data,
        tally=Tally.empty(),
        varied=varied,
        sampling=sampling,
    )
    begun: Carry = lasting(carry)
    return begun


def measure_once(
    algorithm: AbstractAlgorithm,
    device: AbstractDevice,
    task: Task,
    carry: Carry,
    known: Known | None = None,
) -> tuple[Carry, Probe, Info]:
    """Ask, write, measure, tell: one measurement, part of which may be known already."""
    algorithm = vary(algorithm, "algorithm", carry.varied)
    device = vary(device, "device", carry.varied)
    probe, asked = algorithm.ask(carry.algorithm)
    first_try = carry.tally.failed_in_a_row == 0
    instance, writes = written(device, carry.device, probe, first_try)
    sampling = task.sampler.begin(carry.sampling, probe.batch_index)
    rows = None if known is None else known.rows
    if rows is None:
        rows = task.sample(carry.data, probe.batch_index, sampling)
    batch = Batch(task.inputs[rows], task.targets[rows])
    see = max(algorithm.access_level, task.sampler.access_level)
    cost_of = task.weighted_cost(sampling, rows)
    shared = {} if known is None else {"known": known}
    measurement, status, instance = device.measure(
        instance, batch, cost_of, probe.sites, see, **shared
    )
    if task.sampler.learns:
        sampling = task.sampled(sampling, rows, measurement.outputs.y)
    told, info = algorithm.tell(asked, probe, measurement)
    cost, failed, timed_out = measurement.cost, jnp.int32(0), jnp.int32(0)
    if device.fails:
        done = status == Status.DONE
        before = carry.algorithm
        retried = algorithm.retry(problem_of(device, task), before.clock)
        before = eqx.tree_at(lambda state: state.clock, before, retried)
        told, sampling = jax.tree.map(
            lambda new, old: jnp.where(done, new, old), (told, sampling), (before, carry.sampling)
        )
        cost, failed = jnp.where(done, cost, 0.0), (~done).astype(jnp.int32)
        timed_out = (status == Status.TIMED_OUT).astype(jnp.int32)
    tally = Tally(
        measurements=carry.tally.measurements + 1,
        failed=carry.tally.failed + failed,
        failed_in_a_row=(carry.tally.failed_in_a_row + 1) * failed,
        cost=carry.tally.cost + cost,
        timed_out=carry.tally.timed_out + timed_out,
        writes=carry.tally.writes + writes,
        perturbations=carry.tally.perturbations + perturbed(probe),
    )
    after = Carry(told, instance, carry.data, tally, carry.varied, sampling=sampling)
    return after, probe, info


@eqx.filter_jit
def _start_all(
    algorithm: AbstractAlgorithm,
    device: AbstractDevice,
    problem: Problem,
    seeds: Int[Array, " R"],
    varied: Varied,
    parameters: Float[Array, "R P"] | None,
    sampling: Any,
) -> Carry:
    def one(seed: Int[Array, ""], varied: Varied, theta: Float[Array, " P"] | None) -> Carry:
        return start(algorithm, device, problem, seed, varied, theta, sampling)

    carry: Carry = jax.vmap(one)(seeds, dict(varied), parameters)
    if not device.fails:
        clock = jax.tree.map(lambda leaf: leaf[0], carry.algorithm.clock)
        carry = eqx.tree_at(lambda c: c.algorithm.clock, carry, clock)
    return carry


@eqx.filter_jit
def _program_all(algorithm: AbstractAlgorithm, device: AbstractDevice, carry: Carry) -> Carry:
    def program(one: Carry) -> Carry:
        mine = vary(device, "device", one.varied)
        theta = vary(algorithm, "algorithm", one.varied).parameters(one.algorithm)
        written = mine.write(one.device, theta, jnp.bool_(False))
        after: Carry = eqx.tree_at(lambda c: c.device, one, written)
        return after

    axes = replica_axes(carry, device)
    programmed: Carry = jax.vmap(program, in_axes=(axes,), out_axes=axes)(carry)
    return programmed


def start_all(
    algorithm: AbstractAlgorithm,
    device: AbstractDevice,
    task: Task,
    seeds: Int[Array, " R"],
    varied: Varied | None = None,
    parameters: Float[Array, "R P"] | None = None,
) -> Carry:
    """The start of every replica; a common clock is stored once.

    `varied` has one value and `parameters` one initial row for each replica. For sparse probes the
    devices hold the initial parameters from the beginning; the first probe, which changes nothing,
    counts as the write of these.
    """
    problem = problem_of(device, task)
    carry = _start_all(
        algorithm, device, problem, seeds, dict(varied or {}), parameters, task.sampling()
    )
    carry = eqx.tree_at(lambda c: c.device, carry, device.prepare(carry.device, task))
    return _program_all(algorithm, device, carry) if algorithm.sparse else carry


@eqx.filter_jit(donate="all-except-first")
def advance(
    setting: tuple[AbstractAlgorithm, AbstractDevice, Task, Int[Array, ""]], carry: Carry
) -> Carry:
    """Advance every replica by n measurements.

    The number of measurements is a traced loop bound. Every measurement is therefore computed by
    the same code, bit for bit, however a run is divided into calls.
    """
    algorithm, device, task, n = setting
    axes = replica_axes(carry, device)

    def once(task: Task, one: Carry, kept: Kept | None) -> tuple[Carry, Kept | None]:
        known = None
        if kept is not None:
            kept, known = keep(algorithm, device, task, one, kept)
        return measure_once(algorithm, device, task, one, known)[0], kept

    def plain(carry: Carry, task: Task, n: Int[Array, ""]) -> Carry:
        R = carry.tally.cost.shape[0]
        first = jax.tree.map(lambda leaf, axis: leaf if axis is None else leaf[0], carry, axes)
        kept, kept_axes = nothing_kept(algorithm, device, task, first, R)
        now: Any = carry, kept
        along = axes, kept_axes
        if R == 1:
            # for a single replica, matrix products are faster without the replica axis
            now = jax.tree.map(lambda leaf, axis: leaf if axis is None else leaf[0], now, along)
            now = jax.lax.fori_loop(0, n, lambda _, now: once(task, *now), now)
            alone: Carry = jax.tree.map(
                lambda leaf, axis: leaf if axis is None else leaf[None], now[0], axes
            )
            return alone
        step: Any = jax.vmap(lambda now: once(task, *now), in_axes=(along,), out_axes=along)
        after: Carry = jax.lax.fori_loop(0, n, lambda _, now: step(now), now)[0]
        return after

    def every_replica(carry: Carry, task: Task, n: Int[Array, ""]) -> Carry:
        # imported by name: they know rules, devices and this loop, which only knows that they exist
        loops = importlib.import_module("dither.loops")
        kernel = loops.compiled(algorithm, device, task, carry)
        if kernel is None:
            return plain(carry, task, n)
        after: Carry = jax.lax.platform_dependent(carry, task, n, cpu=kernel, default=plain)
        return after

    sharding = replica_sharding(carry, axes)
    if sharding is None:
        return every_replica(carry, task, n)
    mesh, specs = sharding
    whole = PartitionSpec()
    run = jax.shard_map(
        every_replica,
        mesh=mesh,
        in_specs=(specs, whole, whole),
        out_specs=specs,
        check_vma=False,
    )
    return run(carry, task, n)


@eqx.filter_jit
def evaluate(
    algorithm: AbstractAlgorithm, device: AbstractDevice, task: Task, carry: Carry
) -> tuple[Float[Array, " R"], Float[Array, " R"], Float[Array, "R P"], Float[Array, " R"]]:
    """Each replica's test score, test cost, parameters and rate; not a measurement."""

    def one(carry: Carry) -> tuple[Array, ...]:
        mine, rule = (vary(device, "device", carry.varied),
                      vary(algorithm, "algorithm", carry.varied))  # fmt: skip
        theta = rule.parameters(carry.algorithm)
        instance = mine.write(carry.device, theta, jnp.bool_(False))
        outputs = mine.outputs(instance, task.test_inputs)
        cost = jnp.mean(task.cost(outputs, task.wanted_tests))
        score = task.score(outputs, task.wanted_tests)
        return score, cost, theta, rule.rate_of(carry.algorithm)

    # one replica at a time, to limit memory
    axes = replica_axes(carry, device)
    everyone, common = eqx.partition(
        carry, jax.tree.map(lambda a: a == 0, axes, is_leaf=lambda a: a is None)
    )
    seen: Any = jax.lax.map(lambda mine: one(eqx.combine(mine, common)), everyone)
    return tuple(seen)


class FusedLoop(AbstractLoop):
    """Advances the replicas of a simulated device and keeps their ledger."""

    def __init__(
        self,
        algorithm: AbstractAlgorithm,
        device: AbstractDevice,
        task: Task,
        seeds: list[int],
        varied: Varied | None = None,
        parameters: Float[np.ndarray, "R P"] | None = None,
    ) -> None:
        self.algorithm, self.device, self.task = algorithm, device, task
        self.replicas = len(seeds)
        theta = None if parameters is None else jnp.asarray(parameters, jnp.result_type(float))
        seed_each = jax.device_put(np.asarray(seeds, np.int32))
        carry = start_all(algorithm, device, task, seed_each, varied, theta)
        self.carry = deal_out(device, carry)
        self.scores = True
        self.alarms: list[str] = []
        self.last_failure = "a simulated read failed"

    def resume(self, carry: Carry, partial: Ledger) -> None:
        del partial  # the carry holds it
        prepared = self.device.prepare(carry.device, self.task)
        carry = eqx.tree_at(lambda c: c.device, carry, prepared)
        self.carry = deal_out(self.device, carry)

    def to_save(self) -> Carry:
        bare = self.device.bare(self.carry.device)
        carry: Carry = eqx.tree_at(lambda c: c.device, self.carry, bare)
        return carry

    def advance(self, n: int) -> None:
        setting = (self.algorithm, self.device, self.task, jax.device_put(np.int32(n)))
        self.carry = jax.block_until_ready(advance(setting, self.carry))

    def account(self) -> tuple[Ledger, Float[np.ndarray, " R"], int]:
        tally = jax.device_get(self.carry.tally)
        measured = tally.measurements.astype(np.int64)
        device = self.device
        ledger = Ledger(
            measurements=measured,
            writes=(writes := tally.writes.astype(np.int64)),
            samples=measured * self.task.batch,
            failed=tally.failed.astype(np.int64),
            perturbations=(added := tally.perturbations.astype(np.int64)),
            device_seconds=writes * device.write_seconds
            + added * device.perturbation_seconds
            + measured * device.measurement_seconds
            + tally.timed_out * device.time_out,
            joules=writes * device.write_joules
            + added * device.perturbation_joules
            + measured * (device.measurement_joules + self.task.batch * device.sample_joules),
        )
        done = np.maximum(measured - ledger.failed, 1)
        return ledger, tally.cost.astype(float) / done, int(tally.failed_in_a_row.max())

    def given_up(self) -> str:
        return "The simulated device failed too many times in a row; increase until.failures."

    def clear(self) -> None:
        def zero(leaf: Array) -> Array:
            # from the host to the leaf's device: no program is compiled for it
            where = leaf.sharding if leaf.committed else None
            fresh: Array = jax.device_put(np.zeros(leaf.shape, leaf.dtype), where)
            return fresh

        tally = self.carry.tally
        fresh = jax.tree.map(zero, tally)
        fresh = eqx.tree_at(lambda t: t.failed_in_a_row, fresh, tally.failed_in_a_row)
        self.carry = eqx.tree_at(lambda c: c.tally, self.carry, fresh)

    def evaluate(self) -> Evaluation:
        seen = evaluate(self.algorithm, self.device, self.task, self.carry)
        score, cost, rate = (np.asarray(seen[k], float) for k in (0, 1, 3))
        return Evaluation(score, cost, np.asarray(seen[2]), rate)

    def parameters(self) -> Float[Array, "R P"]:
        """The present parameters of every replica."""
        now: Float[Array, "R P"] = jax.vmap(
            lambda one: self.algorithm.parameters(one.algorithm),
            in_axes=(replica_axes(self.carry, self.device),),
        )(self.carry)
        return now

    def drift(self) -> Float[np.ndarray, " R"]:
        return np.full(self.replicas, np.nan)

    def measurements_per_evaluation(self) -> int:
        return 0

    def seconds_per_measurement(self) -> float:
        device = self.device
        at_neurons = self.algorithm.access_level is AccessLevel.SITES
        added = device.perturbation_seconds if at_neurons else 0.0
        return device.write_seconds + added + device.measurement_seconds + device.time_out
