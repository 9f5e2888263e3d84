"""Local losses beside exact gradients of every block's own cost."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import CNN, MLP, RequestError, SimulatedDevice
from dither.algorithms import LocalLosses
from dither.contract import AccessLevel, Batch
from dither.networks.network import through
from dither.tasks import Parity
from dither.training.fit import problem_of
from test_node_perturbation import Opaque, random_task, start


def local_cost(network, parameters, readouts, task, block, groups):
    """The sum of all blocks' costs, with nothing passing back from one block to another."""
    x, total = task.inputs.reshape(len(task.inputs), *network.input_shape), 0.0
    ends = list(range(block, len(network.layers), block))
    for number, stop in enumerate([*ends, len(network.layers)]):
        layers = network.layers[number * block : stop]
        x = through(layers, parameters, jax.lax.stop_gradient(x))
        if stop == len(network.layers):
            return total + jnp.mean(task.cost(x, task.targets))
        channels = layers[-1].nodes[-1]
        images, size = x.reshape(len(x), -1, channels), channels // groups
        for g in range(groups):
            own = images[:, :, g * size : (g + 1) * size].reshape(len(x), -1)
            total += jnp.mean(task.cost(own @ readouts[number][g], task.targets))
    raise AssertionError


NETWORKS = {
    "dense": (MLP(widths=(4, 6, 6, 3)), 1, 2),
    "dense blocks": (MLP(widths=(4, 6, 4, 6, 3)), 2, 2),
    "conv": (CNN(image=(4, 4, 1), channels=(2,), depth=2, padding="same", dense=(4,), classes=3,
                 activation="tanh"), 1, 2),
    "one block": (MLP(widths=(4, 5, 3)), 2, 1),
}  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.usefixtures("x64")
def test_estimates_every_blocks_own_gradient(network):
    network, block, groups = NETWORKS[network]
    task = random_task(network.input_shape)
    device, theta = start(network)
    algorithm = LocalLosses(
        learning_rate=0.0, delta=1e-4, block=block, groups=groups, readout_rate=0.1
    )
    state = algorithm.init(jax.random.key(0), theta, problem_of(device, task))
    batch = Batch(task.inputs, task.targets)
    instance = device.fabricate(jax.random.key(0))

    def estimate(key):
        now, info = eqx.tree_at(lambda s: s.key, state, key), None
        for _ in range(2):
            probe, now = algorithm.ask(now)
            written = device.write(instance, probe.parameters, probe.updated)
            measured, *_ = device.measure(written, batch, task.cost, probe.sites, AccessLevel.SITES)
            now, info = algorithm.tell(now, probe, measured)
        return info.estimate, now.memory

    runs = 4000
    G, learned = jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(1), runs))
    G = np.asarray(G)

    def exact(theta, readouts):
        parameters = device.space.unravel(theta)
        return local_cost(network, parameters, readouts, task, block, groups)

    g, by_readout = jax.grad(exact, argnums=(0, 1))(theta, state.memory)
    error = G.std(axis=0) / math.sqrt(runs)
    size = np.linalg.norm(g)
    # 5 standard errors, and terms of order delta, under 1e-3 of |g|
    assert np.all(np.abs(G.mean(axis=0) - g) < 5 * error + 1e-3 * size)
    assert np.linalg.norm(error) < 0.3 * size
    for before, after, gradient in zip(state.memory, learned, by_readout):
        assert np.allclose(after[0], before - 0.1 * gradient, rtol=0, atol=1e-3)
        assert np.abs(0.1 * gradient).max() > 3e-3


@pytest.mark.parametrize(
    ("device", "settings", "part"),
    [
        (SimulatedDevice(network=MLP(widths=(3, 5, 2))), {"groups": 2}, "5 channels of .*dense0"),
        (SimulatedDevice(network=Opaque()), {}, "names no layers"),
        (SimulatedDevice(network=MLP(widths=(3, 5, 2)), access="cost"), {}, "must see sites"),
    ],
)
def test_what_does_not_fit_is_refused(device, settings, part):
    with pytest.raises(RequestError, match=part):
        dither.train(device, Parity(bits=3), LocalLosses(learning_rate=0.1, **settings))
