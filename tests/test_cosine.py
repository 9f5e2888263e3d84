"""The direction of the averaged estimate against REFERENCE §1.6, on the NIST7x7 network."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dither import MLP, SimulatedDevice, WeightMGD
from dither.codes import Rademacher, Walsh
from dither.contract import Problem
from dither.tasks import make_task
from dither.training.fused import Carry, Tally, measure_once

NETWORK = MLP(widths=(49, 4, 4), activation="sigmoid", output="sigmoid")
DEVICE = SimulatedDevice(network=NETWORK)
P = 220


def letters():
    """Eight images of 49 pixels: few, so that the law is what takes the time."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 2, (8, 49)), np.arange(8) % 4
    return make_task(images, labels, images, labels, classes=tuple("NIST"))


@eqx.filter_jit
def averages(algorithm, task, theta, keys, n):
    """The last estimate of n measurements for each key."""

    def run(key):
        state = algorithm.init(key, theta, Problem(DEVICE.space))
        carry = Carry(state, DEVICE.fabricate(key), key, Tally.empty())

        def step(_, now):
            carry, _, info = measure_once(algorithm, DEVICE, task, now[0])
            return carry, info.estimate

        return jax.lax.fori_loop(0, n, step, (carry, theta))[1]

    return jax.vmap(run)(keys)


def theta_and_gradient(task):
    theta = DEVICE.space.ravel(NETWORK.init(jax.random.key(1)))

    def cost(theta):
        return jnp.mean(task.cost(NETWORK(DEVICE.space.unravel(theta), task.inputs), task.targets))

    return theta, np.asarray(jax.grad(cost)(theta))


@pytest.mark.parametrize(
    ("T", "keys"), [(10, 2000), (100, 800), (1000, 100), (10**4, 12), (10**5, 2)]
)
@pytest.mark.usefixtures("x64")
def test_cosine_of_the_averaged_estimate(T, keys):
    task = letters()
    theta, g = theta_and_gradient(task)
    algorithm = WeightMGD(
        learning_rate=0, delta=1e-4, tau_x=10**6, tau_theta=10**6, code=Rademacher()
    )
    # a baseline once, then T perturbations: the sum of products has the direction of the average
    G = np.asarray(
        averages(algorithm, task, theta, jax.random.split(jax.random.key(0), keys), T + 1)
    )
    cosine = G @ g / np.linalg.norm(G, axis=1) / np.linalg.norm(g)
    law = 1 / math.sqrt(1 + (P - 1) / T)
    assert cosine.std() / math.sqrt(keys) < 0.005 * law
    assert cosine.mean() == pytest.approx(law, rel=0.02)


@pytest.mark.usefixtures("x64")
def test_walsh_is_exact_after_one_cycle_of_256():
    task = letters()
    theta, g = theta_and_gradient(task)
    algorithm = WeightMGD(learning_rate=0, delta=1e-4, tau_x=256, tau_theta=256, code=Walsh())
    assert Walsh().cycle(P) == 256
    G = np.asarray(averages(algorithm, task, theta, jax.random.split(jax.random.key(0), 3), 257))
    # what is left is of second order in delta
    assert np.abs(G - g).max() < 1e-4 * np.linalg.norm(g)
