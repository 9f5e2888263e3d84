"""Short runs of an algorithm on a small device and a small task."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Key

import dither
from dither import MLP, RequestError, Result, SimulatedDevice, Until
from dither.algorithms import AbstractAlgorithm
from dither.contract import AccessLevel
from dither.devices import DAC, AbstractDevice, AbstractImperfection
from dither.instruments.python import PythonDevice
from dither.tasks import Parity, Task
from dither.testing.devices import NumpyDevice
from dither.training.fit import check_fit, problem_of
from dither.training.fused import measure_once
from dither.training.loop import Carry, Tally

D = TypeVar("D", bound=NumpyDevice)

NETWORK = MLP(widths=(3, 2, 2), gain=2.0)
P = 14
DEVICE = SimulatedDevice(network=NETWORK)
SMALL_BATCH = Parity(bits=3, batch=3)

# no ±1 symmetry, by which two different settings would have equal costs up to rounding
GRIDS = (None, DAC(bits=1, low=-1.0, high=0.7), DAC(bits=1, low=0.0, high=1.0))
"""Grids that an algorithm may need: none, Boolean, Boolean {0, 1}."""


def keys(number: int, seed: int = 0) -> Key[Array, " number"]:
    """Independent keys from a seed."""
    return jax.random.split(jax.random.key(seed), number)


def grid_of(algorithm: AbstractAlgorithm) -> DAC | None:
    """The first of `GRIDS` that an algorithm can train. Errors: `RequestError` if there is none."""
    for grid in GRIDS:
        device = SimulatedDevice(network=NETWORK, imperfections=() if grid is None else (grid,))
        try:
            check_fit(device, SMALL_BATCH.load(), algorithm, Until(measurements=100))
        except RequestError as error:
            refused = error
        else:
            return grid
    raise refused


def simulated(
    algorithm: AbstractAlgorithm, *imperfections: AbstractImperfection
) -> SimulatedDevice:
    """A simulated device whose parameters the algorithm can train."""
    grid = grid_of(algorithm)
    before = () if grid is None else (grid,)
    return SimulatedDevice(network=NETWORK, imperfections=(*before, *imperfections))


def trainable(algorithm: AbstractAlgorithm, device: D) -> D:
    """A Python device whose parameters the algorithm can train."""
    if grid := grid_of(algorithm):
        device.bounds, device.bits = (grid.low, grid.high), grid.bits
    if algorithm.access_level is AccessLevel.SITES:
        device.show_sites()
    return device


def hosted(algorithm: AbstractAlgorithm, device: D) -> D:
    """The same; the test is skipped if a Python device lacks the required access."""
    try:
        chip = PythonDevice(trainable(algorithm, NumpyDevice()))
        check_fit(chip, SMALL_BATCH.load(), algorithm, Until(measurements=100))
    except RequestError as error:
        pytest.skip(str(error))
    return trainable(algorithm, device)


def train(
    algorithm: AbstractAlgorithm, n: int, device: Any = None, key: int = 3, **more: Any
) -> Result:
    """A run of n measurements on the small batch."""
    device = simulated(algorithm) if device is None else device
    more = {"score_every": 20, **more}
    return dither.train(
        device, SMALL_BATCH, algorithm, key=key, until=Until(measurements=n), **more
    )


@eqx.filter_jit
def collect(
    algorithm: AbstractAlgorithm,
    device: AbstractDevice,
    task: Task,
    theta: Float[Array, " P"],
    keys: Key[Array, " K"],
    n: int,
) -> Any:
    """Run n measurements per key from one theta: probes, estimates, updates, failures."""
    problem = problem_of(device, task)

    def run(key: Key[Array, ""]) -> Any:
        learning, making, data = jax.random.split(key, 3)
        state, instance = algorithm.init(learning, theta, problem), device.fabricate(making)
        if algorithm.sparse:
            instance = device.write(instance, algorithm.parameters(state), jnp.bool_(False))
        carry = Carry(state, instance, data, Tally.empty())

        def step(carry: Carry, _: None) -> Any:
            carry, probe, info = measure_once(algorithm, device, task, carry)
            return carry, (probe, info.estimate, info.updated, carry.tally.failed)

        return jax.lax.scan(step, carry, length=n)[1]

    return jax.vmap(run)(keys)


def same_run(one: Result, two: Result) -> None:
    """Check that two runs agree to the last bit in everything but time."""
    assert np.array_equal(one.parameters, two.parameters)
    assert one.history.drop(columns="wall_seconds").equals(two.history.drop(columns="wall_seconds"))
    assert one.ledger == two.ledger
    assert one.score == two.score
    assert [r.stop_reason for r in one.replicas] == [r.stop_reason for r in two.replicas]


def moments(probes: Any, run: int) -> list[tuple[int, int]]:
    """The clock of every probe of a run, as pairs."""
    tick, part = (np.asarray(x[run]).tolist() for x in (probes.clock.tick, probes.clock.part))
    return list(zip(tick, part))
