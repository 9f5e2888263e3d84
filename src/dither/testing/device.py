"""The test battery of simulated devices."""

import jax
import jax.numpy as jnp
import numpy as np

from dither.contract import AccessLevel
from dither.devices import AbstractDevice
from dither.testing.settings import SettingsBattery


class DeviceBattery(SettingsBattery):
    """A device's state keeps its structure, and its start lies within bounds and grid."""

    def test_it_starts_within_its_bounds(self, subject: AbstractDevice) -> None:
        theta = subject.initial(jax.random.key(0))
        assert theta.shape == (subject.space.size,)
        assert np.array_equal(theta, subject.initial(jax.random.key(0)))
        assert np.all(subject.space.low <= theta)
        assert np.all(theta <= subject.space.high)

    def test_its_key_makes_an_instance(self, subject: AbstractDevice) -> None:
        one, same = (subject.fabricate(jax.random.key(0)) for _ in range(2))
        forms = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), x) for x in (one, same)]
        assert forms[0] == forms[1]

    def test_it_says_what_can_be_seen(self, subject: AbstractDevice) -> None:
        assert subject.access_level in AccessLevel
        if subject.access_level < AccessLevel.SITES:
            assert subject.layers == ()
        assert min(subject.measurement_seconds, subject.time_out, subject.measurement_joules) >= 0

    def test_what_is_snapped_stays_snapped(self, subject: AbstractDevice) -> None:
        space = subject.space
        theta = space.snap(subject.initial(jax.random.key(1)) + 0.1)
        assert np.array_equal(theta, space.snap(jnp.asarray(theta)))
