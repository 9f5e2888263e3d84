"""The hash without a loop draws what JAX draws, bit for bit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import SimulatedDevice, Until, WeightMGD
from dither._threefry import first_key, lasting, random_key
from dither.devices.imperfections import OutputNoise
from dither.networks import MLP
from dither.tasks import XOR
from dither.testing.devices import NumpyDevice

DRAWS = {
    "normal": lambda key: jax.random.normal(key, (3, 5)),
    "uniform": lambda key: jax.random.uniform(key, (70,)),
    "randint": lambda key: jax.random.randint(key, (4,), 0, 77),
    "one": lambda key: jax.random.randint(key, (), 0, 77),
    "bytes": lambda key: jax.random.bits(key, (9,), jnp.uint8),
    "permutation": lambda key: jax.random.permutation(key, 11),
    "split": lambda key: jax.random.key_data(jax.random.split(key, (2, 3))),
    "folded": lambda key: jax.random.bits(jax.random.fold_in(key, jnp.int32(-3)), (40,)),
    "side by side": lambda key: jax.vmap(
        lambda n: jax.random.bits(jax.random.fold_in(key, n), (6,))
    )(jnp.arange(4)),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("seed", [0, 7, 2**31 - 1, -5])
def test_the_same_numbers_as_jax(draw, seed, compiled):
    drawn = jax.jit(draw) if compiled else draw
    assert np.array_equal(drawn(random_key(seed)), drawn(jax.random.key(seed)))


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_first_key_draws_the_same_and_becomes_a_lasting_one(draw):
    first = first_key(7)
    assert np.array_equal(jax.jit(draw)(first), draw(jax.random.key(7)))
    kept, number = lasting((first, 3))
    assert kept.dtype == random_key(7).dtype
    assert number == 3
    assert np.array_equal(draw(kept), draw(first))


@pytest.mark.usefixtures("x64")
def test_the_same_numbers_in_double_precision():
    for seed in (3, 2**40 + 1, -1):
        ours, theirs = random_key(seed), jax.random.key(seed)
        assert np.array_equal(jax.random.normal(ours, (50,)), jax.random.normal(theirs, (50,)))
        assert np.array_equal(jax.random.key_data(ours), jax.random.key_data(theirs))


def test_too_many_numbers_at_once_are_refused():
    with pytest.raises(ValueError, match="at most 2\\^32"):
        jax.jit(lambda: jax.random.bits(random_key(0), (2**17, 2**16))).lower()


class Mixing(WeightMGD):
    """Weight MGD that chooses between its key and one that it makes itself: always the former."""

    def ask(self, state):
        chosen = jnp.where(state.clock.tick >= 0, state.key, jax.random.key(5))
        return super().ask(eqx.tree_at(lambda s: s.key, state, chosen))

    def tell(self, state, probe, measurement):
        again = jax.random.wrap_key_data(jax.random.key_data(state.key))
        return super().tell(eqx.tree_at(lambda s: s.key, state, again), probe, measurement)


class MixingNoise(OutputNoise):
    """Output noise that chooses in the same way."""

    def outputs(self, instance, key, outputs):
        chosen = jax.lax.cond(outputs[0, 0] > -1e9, lambda: key, lambda: jax.random.key(5))
        return super().outputs(instance, chosen, outputs)


@pytest.mark.quick("1")
@pytest.mark.parametrize("replicas", [1, 3])
def test_foreign_classes_may_mix_their_keys_with_keys_of_jax(replicas):
    def run(rule, noise):
        network = MLP(widths=(2, 2, 1), activation="sine")  # which no kernel knows
        device = SimulatedDevice(network=network, imperfections=(noise(sigma=0.1),))
        rule = rule(learning_rate=0.5, delta=0.1)
        return dither.train(device, XOR(), rule, until=Until(measurements=50), replicas=replicas)

    ours, theirs = run(WeightMGD, OutputNoise), run(Mixing, MixingNoise)
    assert np.array_equal(ours.parameters, theirs.parameters)
    inputs = np.eye(2)
    assert np.array_equal(ours.predict(inputs), theirs.predict(inputs))


def test_a_foreign_rule_around_a_python_device_may_mix_its_keys():
    def run(rule):
        device = NumpyDevice((2, 2, 1), initial=np.linspace(-0.5, 0.5, 9))
        rule = rule(learning_rate=0.5, delta=0.1)
        return dither.train(device, XOR(), rule, until=Until(measurements=50)).parameters

    assert np.array_equal(run(WeightMGD), run(Mixing))
