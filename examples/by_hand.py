"""Train a chip by hand, without dither's loop: ask, write, measure, tell.

A chip simulated in NumPy, with 9 parameters, learns XOR only from the mean cost of its outputs.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dither.algorithms import WeightMGD
from dither.contract import Measurement, Parameter, Problem, Space

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
TARGETS = np.array([0.0, 1.0, 1.0, 0.0])


class Chip:
    """A 2-2-1 sigmoid network as seen by a lab: write settings, read outputs."""

    def write(self, theta):
        self.w1, self.b1, self.w2, self.b2 = np.split(np.asarray(theta, float), [4, 6, 8])

    def measure(self, inputs):
        hidden = 1 / (1 + np.exp(-(inputs @ self.w1.reshape(2, 2) + self.b1)))
        return 1 / (1 + np.exp(-(hidden @ self.w2 + self.b2)))


chip, writes, measurements = Chip(), 0, 0
# the problem for the algorithm: nine parameters between -8 and 8, all four samples in each batch
problem = Problem(Space((Parameter("theta", (9,), -8.0, 8.0),)), batch=4)
algorithm = WeightMGD(learning_rate=2.0, delta=0.05, pairs="central")
algorithm.check(problem)

start = np.random.default_rng(0).uniform(-1, 1, 9)
state = algorithm.init(jax.random.key(0), jnp.asarray(start), problem)
ask, tell = jax.jit(algorithm.ask), jax.jit(algorithm.tell)

while measurements < 40_000:
    probe, state = ask(state)  # get the next settings to try

    chip.write(probe.theta)  # program the chip
    writes += 1

    outputs = chip.measure(INPUTS)  # read its outputs
    cost = np.mean((outputs - TARGETS) ** 2)
    measurements += 1

    state, info = tell(state, probe, Measurement(jnp.asarray(cost)))  # learn from the cost
    if measurements % 4000 == 0:
        print(f"{measurements:6d} measurements: cost {cost:.4f}")
    if cost < 0.005:
        break

chip.write(algorithm.parameters(state))
print(f"XOR after {measurements} measurements and {writes} writes:", chip.measure(INPUTS).round(2))
