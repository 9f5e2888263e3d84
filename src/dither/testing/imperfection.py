"""The test battery of imperfections."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import MLP, ReadoutDevice, SimulatedDevice, Until, WeightMGD
from dither.contract import AccessLevel, Batch, Status
from dither.devices import AbstractImperfection, Blueprint, Write
from dither.networks import EchoState
from dither.tasks import NARMA10, Parity, SeriesTask, mse
from dither.testing.runs import same_run
from dither.testing.settings import SettingsBattery

NETWORK = MLP(widths=(3, 4, 2), output="sigmoid")
P = 26
THETA = jnp.asarray(0.5 * np.random.default_rng(0).standard_normal(P))
BATCH = Batch(jnp.asarray(np.random.default_rng(1).standard_normal((5, 3))), jnp.arange(5) % 2)


def life(imperfection: AbstractImperfection, replicas: int = 1) -> list[np.ndarray]:
    """The costs, statuses and outputs of instances in three writes and three measurements."""
    device = SimulatedDevice(network=NETWORK, imperfections=(imperfection,))

    def one(key: Any) -> list[Any]:
        instance, found = device.fabricate(key), []
        for shift in (0.0, 0.1, 0.0):
            instance = device.write(instance, THETA + shift, jnp.bool_(shift == 0.0))
            measurement, status, instance = device.measure(
                instance, BATCH, mse, None, AccessLevel.OUTPUTS
            )
            found += [measurement.cost, measurement.outputs.y, status]
        return [*found, device.outputs(instance, BATCH.inputs)]

    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(4), jnp.arange(replicas))
    every = jax.jit(jax.vmap(one))(keys)
    return [np.asarray(x) for x in every]


class ImperfectionBattery(SettingsBattery):
    """An imperfection keeps its shapes, depends only on the key, and survives a kill."""

    def test_what_it_holds_keeps_its_form(self, subject: AbstractImperfection) -> None:
        key = jax.random.key(0)
        held = subject.fabricate(key, Blueprint(P, 2, NETWORK.sites()))
        form = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), held)
        write = Write(THETA, THETA + 0.1, jnp.bool_(True), jnp.arange(3))
        after = subject.measured(subject.written(held, key, write), key, jnp.ones((5, 2)))
        assert form == jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after)

    def test_its_readings_are_decided_by_the_key(self, subject: AbstractImperfection) -> None:
        assert all(np.array_equal(a, b) for a, b in zip(life(subject), life(subject)))

    def test_its_readings_are_numbers_of_the_right_shape(
        self, subject: AbstractImperfection
    ) -> None:
        costs, outputs, statuses = (life(subject, 2)[:9][k::3] for k in range(3))
        assert all(np.all(np.isfinite(cost)) and cost.shape == (2,) for cost in costs)
        assert all(np.all(np.isfinite(y)) and y.shape == (2, 5, 2) for y in outputs)
        allowed = set(map(int, Status)) if subject.fails else {int(Status.DONE)}
        assert all(set(np.unique(status)) <= allowed for status in statuses)

    def test_a_replica_is_the_instance_that_its_key_alone_gives(
        self, subject: AbstractImperfection
    ) -> None:
        for together, alone in zip(life(subject, 3), life(subject, 1)):
            assert np.allclose(together[0], alone[0], atol=1e-6)

    def test_stopped_and_resumed_is_the_undisturbed_run(
        self, subject: AbstractImperfection, tmp_path: Path
    ) -> None:
        device = SimulatedDevice(network=NETWORK, imperfections=(subject,))
        rule = WeightMGD(learning_rate=0.1, delta=0.05)
        same_after_a_stop(device, Parity(bits=3, batch=4), rule, tmp_path)

    def test_a_readout_takes_it_or_says_why_not(
        self, subject: AbstractImperfection, tmp_path: Path
    ) -> None:
        parts = {"reservoir": EchoState(neurons=12, degree=3), "imperfections": (subject,)}
        hooks = ("limit", "parameters", "site")
        if any(getattr(type(subject), h) is not getattr(AbstractImperfection, h) for h in hooks):
            with pytest.raises(ValueError, match="does not apply to a readout"):
                ReadoutDevice(**parts)
            return
        task = SeriesTask(series=NARMA10(washout=20, train=60, test=30))
        same_after_a_stop(ReadoutDevice(**parts), task, dither.CoordinateDescent(), tmp_path)


def same_after_a_stop(device: Any, task: Any, algorithm: Any, folder: Path) -> None:
    """74 measurements in one run equal 37 and 37 more, to the last bit."""

    def trained(n: int, **more: Any) -> dither.Result:
        more = {"replicas": 2, "score_every": 20, **more}
        return dither.train(device, task, algorithm, until=Until(measurements=n), **more)

    whole = trained(74)
    trained(37, out=folder / "run")
    same_run(whole, trained(74, out=folder / "run", resume=True))
    assert np.isfinite(whole.parameters).all()
