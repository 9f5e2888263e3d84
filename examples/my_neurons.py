"""A simulated chip with a small-signal input at each neuron and probes at the layer inputs.

See docs/device.md for the command that trains it.
"""

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Chip:
    bounds = (-4.0, 4.0)  # volts
    layers = ("hidden", "output")

    def __init__(self):
        self.parameters = {
            "hidden/weight": (49, 4),
            "hidden/bias": (4,),
            "output/weight": (4, 4),
            "output/bias": (4,),
        }
        self.noise = np.random.default_rng(0)

    def write(self, theta):
        w1, self.b1, w2, self.b2 = np.split(theta, [196, 200, 216])
        self.w1, self.w2 = w1.reshape(49, 4), w2.reshape(4, 4)

    def measure_sites(self, inputs, added):
        x1 = inputs.reshape(len(inputs), 49)
        x2 = sigmoid(x1 @ self.w1 + self.b1 + added["hidden"])
        outputs = sigmoid(x2 @ self.w2 + self.b2 + added["output"])
        outputs = outputs + self.noise.normal(0, 0.002, outputs.shape)
        return outputs, {"hidden": x1, "output": x2}

    def measure(self, inputs):
        return self.measure_sites(inputs, {"hidden": 0.0, "output": 0.0})[0]


chip = Chip()
