"""The test battery of training algorithms."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import SimulatedDevice, Until
from dither.algorithms import AbstractAlgorithm
from dither.devices import DAC, FailedReads
from dither.testing.devices import FlakyDevice, NumpyDevice, Recorder
from dither.testing.runs import (
    DEVICE,
    NETWORK,
    SMALL_BATCH,
    P,
    collect,
    grid_of,
    hosted,
    keys,
    moments,
    same_run,
    simulated,
    train,
)
from dither.testing.settings import SettingsBattery
from dither.training.hosted import HostedLoop


def hosted_until(algorithm: AbstractAlgorithm, tick: int, device: NumpyDevice) -> HostedLoop:
    """The loop around a Python device at the first measurement of a tick."""
    chip, task = dither.PythonDevice(hosted(algorithm, device)), SMALL_BATCH.load()
    loop = HostedLoop(algorithm, chip, task, 3, 100)
    while int(loop.carry.algorithm.clock.tick) < tick:
        loop.advance(1)
    return loop


def numbers(state: Any) -> list[np.ndarray]:
    """The arrays of a state, with keys as their data."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(state)]
    is_key = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    return [np.asarray(jax.random.key_data(x) if k else x) for x, k in zip(leaves, is_key)]


class AlgorithmBattery(SettingsBattery):
    """Runs depend only on the key, survive kills and failures, and stay on the grid.

    The algorithm's `example()` must change the parameters visibly in 74 measurements of a batch of
    three samples.
    """

    def test_the_key_decides_the_run(self, subject: AbstractAlgorithm) -> None:
        first, again, other = (train(subject, 74, key=key) for key in (3, 3, 4))
        assert np.array_equal(first.parameters, again.parameters)
        assert not np.allclose(first.parameters, other.parameters, rtol=1e-3)

    def test_stopped_and_resumed_is_the_undisturbed_run(
        self, subject: AbstractAlgorithm, tmp_path: Path
    ) -> None:
        """74 measurements in one run equal 37 + 37; 37 is not a multiple of the period 20."""
        whole = train(subject, 74, replicas=2)
        train(subject, 37, replicas=2, out=tmp_path / "run")
        again = train(subject, 74, replicas=2, out=tmp_path / "run", resume=True)
        same_run(whole, again)

    def test_a_python_device_gives_the_fused_trajectory(self, subject: AbstractAlgorithm) -> None:
        with jax.enable_x64(True):
            n, key = 150, 3
            start = jax.random.split(jax.random.key(key), 4)[0]
            device = hosted(subject, NumpyDevice((3, 2, 2), initial=DEVICE.initial(start)))
            device.parameters = {p.name: p.shape for p in DEVICE.space.parameters}
            bounds = getattr(device, "bounds", (-np.inf, np.inf))
            device.initial = np.clip(device.initial, *bounds)
            fused = train(subject, n, key=key, score_every=10**6)
            # on a real device the self-test of 3 samples and the final evaluation of 8 test
            # samples, in # batches of 3, are also measurements
            around = train(subject, n + 4, device, key=key, score_every=10**6)
        assert np.abs(fused.parameters - np.asarray(device.initial)).max() > 1e-3
        # rounding of 1e-16 over delta = 1e-2, growing over 150 steps
        assert np.allclose(around.parameters, fused.parameters, rtol=0, atol=1e-9)
        assert fused.ledger["measurements"] == n
        assert fused.ledger["samples"] == 3 * n
        assert around.ledger["measurements"] == n + 4
        # self-test and evaluation also write; a probe need not declare that it changes nothing
        assert around.ledger["writes"] <= fused.ledger["writes"] + 4
        assert around.ledger["samples"] == 3 * n + 8 + 3
        assert around.score == fused.score

    @pytest.mark.parametrize("share", [0.0, 0.3])
    def test_the_ledger_is_the_devices_own_count(
        self, subject: AbstractAlgorithm, share: float
    ) -> None:
        device = FlakyDevice(share, seed=1)
        ledger = train(subject, 120, hosted(subject, device), score_every=50).ledger
        counted = device.calls, device.writes, device.samples
        assert counted == (ledger["measurements"], ledger["writes"], ledger["samples"])
        assert ledger["failed"] == device.failures
        assert (device.failures > 0) == (share > 0)
        assert device.made_safe == 1
        assert ledger["measurements"] >= 120

    def test_a_failed_measurement_changes_nothing_but_the_ledger(
        self, subject: AbstractAlgorithm
    ) -> None:
        """Training equals that of a reliable device bit for bit, with repeated pairs."""
        steady = hosted_until(subject, 40, FlakyDevice(0.0, seed=0))
        device = FlakyDevice(0.3, seed=2)
        flaky = hosted_until(subject, 40, device)
        assert device.failures == flaky.ledger.failed[0] > 5
        assert flaky.ledger.measurements[0] >= steady.ledger.measurements[0] + device.failures
        one, other = numbers(steady.carry.algorithm), numbers(flaky.carry.algorithm)
        assert len(one) == len(other)
        assert all(np.array_equal(a, b) for a, b in zip(one, other))

    def test_a_failed_simulated_read_changes_nothing_but_the_count(
        self, subject: AbstractAlgorithm
    ) -> None:
        with jax.enable_x64(True):
            task, theta = SMALL_BATCH.load(), jnp.full(P, 0.1)
            failing = simulated(subject, FailedReads(probability=0.3))
            steady, *_ = collect(subject, simulated(subject), task, theta, keys(2), 100)
            probes, _, _, failed = collect(subject, failing, task, theta, keys(2), 140)
        for run in range(2):
            fails = np.diff(np.asarray(failed[run]), prepend=0) > 0
            assert 10 < fails.sum() < 80
            asked, wanted = moments(probes, run), moments(steady, run)
            kept: list[int] = []
            for k, moment in enumerate(asked):
                # a repeated reading replaces the earlier one
                kept = [j for j in kept if asked[j] < moment]
                if not fails[k]:
                    kept.append(k)
            # a baseline that is measured again is not in the reliable run
            kept = [k for k in kept if asked[k] in wanted]
            assert [asked[k] for k in kept] == wanted[: len(kept)]
            assert len(kept) > 20
            for mine, right in zip(jax.tree.leaves(probes), jax.tree.leaves(steady)):
                # the same numbers in a differently compiled program: equal up to rounding
                mine = np.asarray(mine[run])[kept]
                assert np.allclose(mine, np.asarray(right[run])[: len(kept)], rtol=0, atol=1e-10)

    def test_a_device_that_fails_for_ever_is_given_up(self, subject: AbstractAlgorithm) -> None:
        device = hosted(subject, FlakyDevice(1.0, seed=0))
        until = Until(measurements=1000, failures=7)
        result = dither.train(device, SMALL_BATCH, subject, until=until)
        assert result.stop_reason == "failures"
        assert not result.succeeded
        assert result.failure
        assert result.ledger["failed"] == device.calls - 1
        assert result.ledger["measurements"] == device.calls
        assert result.ledger["failed"] in (7, 14)  # the final evaluation may retry
        assert device.made_safe == 1
        assert result.history.empty

    @pytest.mark.filterwarnings("ignore::dither.training.train.TrapWarning")
    @pytest.mark.parametrize(
        ("low", "span", "bits"), [(-10.0, 1.0, None), (2.0, 0.05, 9), (-0.5, 1.0, 3)]
    )
    def test_no_write_leaves_the_bounds_or_the_grid(
        self, subject: AbstractAlgorithm, low: float, span: float, bits: int | None
    ) -> None:
        if dac := grid_of(subject):
            low, span, bits = dac.low, dac.high - dac.low, dac.bits
        device = hosted(subject, Recorder((low, low + span), bits, seed=0))
        dither.train(device, SMALL_BATCH, subject, key=1, until=Until(measurements=40))
        device.check_received(40)

    def test_a_dac_is_written_only_on_its_grid(self, subject: AbstractAlgorithm) -> None:
        with jax.enable_x64(True):
            dac = grid_of(subject) or DAC(bits=4, low=-0.75, high=0.75)
            device = SimulatedDevice(network=NETWORK, imperfections=(dac,))
            theta, task = device.initial(jax.random.key(1)), SMALL_BATCH.load()
            probes, *_ = collect(subject, device, task, theta, keys(3), 100)
        written = probes.parameters
        if subject.sparse:
            written = np.asarray(written.values)[np.asarray(written.places) < P]
        highest = 2**dac.bits - 1
        level = (np.asarray(written) - dac.low) / (dac.high - dac.low) * highest
        assert np.abs(level - np.round(level)).max() < 1e-9
        assert -1e-9 <= level.min() <= level.max() <= highest + 1e-9
