"""Forward gradients of local losses beside exact gradients and the law of their variance."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dither
from dither import MLP, RequestError, SimulatedDevice
from dither.algorithms import LocalForwardGradient
from dither.contract import AccessLevel, Batch
from dither.networks import Mixer
from dither.networks.network import through
from dither.tasks import Parity
from dither.training.fit import problem_of
from test_cli import dither as shell
from test_cli import refused
from test_node_perturbation import Opaque, exact_gradient, near, random_task, start

MIXER = Mixer(image=(4, 4, 1), patches=2, channels=4, groups=2, blocks=2, classes=3,
              activation="tanh")  # fmt: skip
ONE_PATCH = Mixer(image=(2, 2, 1), channels=8, groups=4, classes=3, activation="tanh")
CASES = [
    (MLP(widths=(4, 6, 6, 3)), {"directions": "activity", "block": 1, "groups": 2}),
    (MLP(widths=(4, 6, 6, 3)), {"directions": "weights", "block": 1, "groups": 3}),
    (MIXER, {"directions": "activity", "block": 3, "groups": 2, "greedy": False}),
    (MIXER, {"directions": "activity", "block": 3, "groups": 2, "patches": True}),
    (MIXER, {"directions": "weights", "block": 3, "groups": 2, "patches": True}),
    (MIXER, {"directions": "backward", "block": 3, "groups": 2, "greedy": False}),
    (MIXER, {"directions": "backward", "block": 1, "groups": 4, "patches": True}),
]


def local_cost(network, parameters, readouts, task, algorithm):
    """The sum of the costs of all blocks, the last of which has the network's own readout."""
    *inner, last = network.layers
    x, total = task.inputs.reshape(len(task.inputs), *network.input_shape), 0.0
    size = algorithm.block or len(inner)
    blocks = [inner[n : n + size] for n in range(0, len(inner), size)]
    for number, block in enumerate(blocks):
        x = through(block, parameters, jax.lax.stop_gradient(x) if algorithm.greedy else x)
        if number < len(blocks) - 1:
            flat = x.reshape(len(x), -1)
            y = flat @ readouts[number] / np.sqrt(flat.shape[1])
            total += jnp.mean(task.cost(y, task.targets))
    return total + jnp.mean(task.cost(last(parameters, x), task.targets))


def estimator(network, algorithm, task):
    """From a key to an estimate and the readouts after it; the state; the device and θ."""
    device, theta = start(network)
    state = algorithm.init(jax.random.key(0), theta, problem_of(device, task))
    instance = device.fabricate(jax.random.key(0))
    batch = Batch(task.inputs, task.targets)

    def estimate(key):
        probe, now = algorithm.ask(eqx.tree_at(lambda s: s.key, state, key))
        written = device.write(instance, probe.parameters, probe.updated)
        measured, *_ = device.measure(written, batch, task.cost, None, AccessLevel.GRADIENTS)
        now, info = algorithm.tell(now, probe, measured)
        return info.estimate, now.memory

    return estimate, state, device, theta


@pytest.mark.parametrize(("network", "settings"), CASES)
@pytest.mark.usefixtures("x64")
def test_estimates_the_gradient_of_the_local_costs(network, settings):
    algorithm = LocalForwardGradient(learning_rate=0.0, readout_rate=0.1, **settings)
    task = random_task(network.input_shape)
    estimate, state, device, theta = estimator(network, algorithm, task)

    def exact(theta, readouts):
        return local_cost(network, device.space.unravel(theta), readouts, task, algorithm)

    g, by_readout = jax.grad(exact, argnums=(0, 1))(theta, state.memory)
    backward = algorithm.directions == "backward"
    runs = 1 if backward else 3000
    G, learned = jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(1), runs))
    if backward:
        assert np.allclose(G[0], g, rtol=0, atol=1e-12)
    else:
        assert near(np.asarray(G), np.asarray(g))
    for before, after, gradient in zip(state.memory, learned, by_readout):
        assert np.allclose(after[0], before - 0.1 * gradient, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_one_block_without_noise_is_backpropagation():
    task = random_task(MIXER.input_shape)
    algorithm = LocalForwardGradient(learning_rate=0.0, directions="backward", groups=2)
    estimate, _, device, theta = estimator(MIXER, algorithm, task)
    G, _ = estimate(jax.random.key(0))
    assert np.allclose(G, exact_gradient(MIXER, device, theta, task), rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.usefixtures("x64")
def test_the_variance_is_the_sum_over_the_nodes_of_a_part(groups):
    """`Var G_n = Σ_b (Σ_m g_bm² − g_bn²) / B²` for a bias, over the nodes m that share its loss.

    These are the group's own of the last layer and, through it, those of the layer before, whose
    group it reads alone; g_bm = ∂C_b/∂z_bm. So four groups have a quarter of one group's terms.
    """
    task = random_task(ONE_PATCH.input_shape)
    algorithm = LocalForwardGradient(learning_rate=0.0, groups=groups)
    estimate, _, device, theta = estimator(ONE_PATCH, algorithm, task)
    runs = 3000
    G, _ = jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(1), runs))
    parameters = device.space.unravel(theta)

    def total(added):
        def tap(site, value):
            return value + added[site] if site in added else value

        return jnp.sum(task.cost(ONE_PATCH(parameters, task.inputs, tap), task.targets))

    sites = {f"{name}/z": jnp.zeros((len(task.inputs), 1, 8)) for name in ("mix0", "channels0")}
    squares = {site: np.square(g).reshape(-1, 8) for site, g in jax.grad(total)(sites).items()}
    of_group = sum(squares.values()).reshape(-1, groups, 8 // groups).sum(axis=2)
    law = (of_group.repeat(8 // groups, axis=1) - squares["channels0/z"]).sum(axis=0)
    law /= len(task.inputs) ** 2
    found = jax.vmap(device.space.unravel)(G)["channels0/bias"].var(axis=0)
    # the variance of a variance: at most 3 times that of a normal variable; 5 standard errors
    assert np.allclose(found, law, rtol=5 * np.sqrt(3 * 2 / runs), atol=0)


@pytest.mark.parametrize(
    ("network", "settings", "part"),
    [
        (MLP(widths=(3, 5, 2)), {"groups": 2}, "5 channels of layer 'dense0' .* 2 groups"),
        (MLP(widths=(3, 4, 2)), {"patches": True}, "and no patches; set patches to false"),
        (MLP(widths=(3, 2)), {}, "names 1 layers; use another network"),
        (Opaque(), {}, "names 0 layers"),
    ],
)
def test_what_does_not_fit_is_refused(network, settings, part):
    rule = LocalForwardGradient(learning_rate=0.1, **settings)
    with pytest.raises(RequestError, match=part):
        dither.train(SimulatedDevice(network=network), Parity(bits=3), rule)


def test_the_shell_says_so_in_one_sentence(tmp_path):
    (tmp_path / "spec.toml").write_text("""
task = { kind = "digits" }
until = { measurements = 10 }
[device]
kind = "simulated"
network = { kind = "mixer", image = [8, 8, 1], channels = 6 }
[algorithm]
kind = "local-forward-gradient"
learning_rate = 0.1
groups = 4
""")
    refused(
        shell("train", "spec.toml", cwd=tmp_path),
        tmp_path,
        "The 6 channels of layer 'channels0' cannot be divided into 4 groups; "
        "set groups to a divisor.",
    )
