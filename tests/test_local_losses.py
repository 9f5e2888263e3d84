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
from dither.networks import Mixer
from dither.networks.network import through
from dither.tasks import Parity
from dither.training.fit import problem_of
from test_node_perturbation import Opaque, random_task, start


def local_cost(network, parameters, readouts, task, settings):
    """The sum of all blocks' costs; where greedy, nothing passes back from one to another."""
    rule = LocalLosses(learning_rate=0.0, **settings)
    x, total = task.inputs.reshape(len(task.inputs), *network.input_shape), 0.0
    ends = list(range(rule.block, len(network.layers), rule.block))
    for number, stop in enumerate([*ends, len(network.layers)]):
        layers = network.layers[number * rule.block : stop]
        x = through(layers, parameters, jax.lax.stop_gradient(x) if rule.greedy else x)
        if stop == len(network.layers):
            return total + jnp.mean(task.cost(x, task.targets))
        channels = layers[-1].nodes[-1]
        images, size = x.reshape(len(x), -1, channels), channels // rule.groups
        patches = np.split(np.arange(images.shape[1]), images.shape[1] if rule.patches else 1)
        parts = [
            images[:, some, g * size : (g + 1) * size].reshape(len(x), -1) @ readouts[number][g]
            for some in patches
            for g in range(rule.groups)
        ]
        if rule.replicated:
            parts = [sum(parts) / len(patches)]
        total += sum(jnp.mean(task.cost(y, task.targets)) for y in parts)
    raise AssertionError


MIXER = Mixer(image=(4, 4, 1), patches=2, channels=4, groups=2, classes=3,
              activation="tanh")  # fmt: skip
CONV = CNN(image=(4, 4, 1), channels=(2,), depth=2, padding="same", dense=(4,), classes=3,
           activation="tanh")  # fmt: skip
NETWORKS = {
    "dense": (MLP(widths=(4, 6, 6, 3)), {"groups": 2}),
    "dense blocks": (MLP(widths=(4, 6, 4, 6, 3)), {"block": 2, "groups": 2}),
    "not greedy": (MLP(widths=(4, 6, 6, 3)), {"groups": 2, "greedy": False}),
    "replicated": (MLP(widths=(4, 6, 6, 3)), {"groups": 2, "replicated": True}),
    "conv": (CONV, {"groups": 2}),
    "patches": (MIXER, {"block": 2, "groups": 2, "patches": True, "replicated": True}),
    "one block": (MLP(widths=(4, 5, 3)), {"block": 2}),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.usefixtures("x64")
def test_estimates_every_blocks_own_gradient(network):
    network, settings = NETWORKS[network]
    task = random_task(network.input_shape)
    device, theta = start(network)
    algorithm = LocalLosses(learning_rate=0.0, delta=1e-4, readout_rate=0.1, **settings)
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
        return info.estimate, drawn(now.memory)

    def drawn(memory):
        return memory[0] if algorithm.replicated else memory

    runs = 3000
    G, learned = jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(1), runs))
    G = np.asarray(G)

    def exact(theta, readouts):
        parameters = device.space.unravel(theta)
        return local_cost(network, parameters, readouts, task, settings)

    g, by_readout = jax.grad(exact, argnums=(0, 1))(theta, drawn(state.memory))
    error = G.std(axis=0) / math.sqrt(runs)
    size = np.linalg.norm(g)
    # 5 standard errors, and terms of order delta, under 1e-3 of |g|
    assert np.all(np.abs(G.mean(axis=0) - g) < 5 * error + 1e-3 * size)
    assert np.linalg.norm(error) < 0.3 * size
    for before, after, gradient in zip(drawn(state.memory), learned, by_readout):
        assert np.allclose(after[0], before - 0.1 * gradient, rtol=0, atol=1e-3)
        assert np.abs(0.1 * gradient).max() > 3e-3


@pytest.mark.parametrize(
    ("device", "settings", "part"),
    [
        (SimulatedDevice(network=MLP(widths=(3, 5, 2))), {"groups": 2}, "5 channels of .*dense0"),
        (
            SimulatedDevice(network=MLP(widths=(3, 4, 2))),
            {"patches": True},
            r"layer 'dense0' have the shape \(4,\) and no patches",
        ),
        (SimulatedDevice(network=Opaque()), {}, "names no layers"),
        (SimulatedDevice(network=MLP(widths=(3, 5, 2)), access="cost"), {}, "needs sites"),
    ],
)
def test_what_does_not_fit_is_refused(device, settings, part):
    with pytest.raises(RequestError, match=part):
        dither.train(device, Parity(bits=3), LocalLosses(learning_rate=0.1, **settings))
