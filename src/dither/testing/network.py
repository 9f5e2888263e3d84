"""The test battery of networks."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from dither.networks import AbstractNetwork
from dither.testing.settings import SettingsBattery


class NetworkBattery(SettingsBattery):
    """A network is a pure function of its parameters with its declared shapes."""

    def test_it_says_its_own_shapes(self, subject: AbstractNetwork) -> None:
        inputs = jnp.zeros((7, *subject.input_shape))
        outputs = subject(subject.init(jax.random.key(0)), inputs)
        assert outputs.shape == (7, subject.outputs)

    def test_the_key_draws_its_parameters(self, subject: AbstractNetwork) -> None:
        one, same, other = (subject.init(jax.random.key(k)) for k in (0, 0, 1))
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], same[name]) for name in one)
        assert any(not np.array_equal(one[name], other[name]) for name in one)

    def test_each_sample_is_by_itself(self, subject: AbstractNetwork) -> None:
        parameters = subject.init(jax.random.key(0))
        inputs = jax.random.normal(jax.random.key(1), (3, *subject.input_shape))
        together = jax.jit(subject)(parameters, inputs)
        alone = jnp.concatenate([subject(parameters, one[None]) for one in inputs])
        assert np.allclose(together, alone, atol=1e-5)

    def test_its_layers_have_their_sites(self, subject: AbstractNetwork) -> None:
        sites = subject.sites()
        for layer in {site.split("/")[0] for site in sites}:
            assert {f"{layer}/x", f"{layer}/z", f"{layer}/a"} <= set(sites)
        assert {f"{layer.name}/{at}" for layer in subject.layers for at in "xz"} <= set(sites)

    def test_a_tap_changes_what_goes_on(self, subject: AbstractNetwork) -> None:
        parameters = subject.init(jax.random.key(0))
        inputs = jax.random.normal(jax.random.key(1), (2, *subject.input_shape))
        plain = subject(parameters, inputs)
        for layer in subject.layers:

            def tap(site: str, value: Array, at: str = f"{layer.name}/z") -> Array:
                shift = jax.random.normal(
                    jax.random.key(2), value.shape
                )  # a norm removes other shifts
                return value + 0.3 * shift if site == at else value

            assert not np.allclose(subject(parameters, inputs, tap), plain, atol=1e-6), layer.name
