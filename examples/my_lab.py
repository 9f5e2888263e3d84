"""A simulated lab interface of a chip: 49 inputs, 4 hidden neurons, 4 noisy outputs."""

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Chip:
    parameters = 220  # adjustable voltages
    bounds = (-4.0, 4.0)  # volts

    def __init__(self):
        self.voltages = np.zeros(self.parameters)
        self.noise = np.random.default_rng(0)

    def write(self, theta):
        self.voltages = np.clip(theta, *self.bounds)

    def measure(self, inputs):
        w1, b1, w2, b2 = np.split(self.voltages, [196, 200, 216])
        hidden = sigmoid(inputs @ w1.reshape(49, 4) + b1)
        outputs = sigmoid(hidden @ w2.reshape(4, 4) + b2)
        return outputs + self.noise.normal(0, 0.002, outputs.shape)


chip = Chip()
