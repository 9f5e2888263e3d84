"""A simulated lab chip that classifies minerals: 6 inputs, 4 neurons, 3 noisy outputs."""

import numpy as np


class Chip:
    parameters = 43  # adjustable voltages
    bounds = (-4.0, 4.0)  # volts

    def __init__(self, noise=0.002):
        self.voltages = np.zeros(self.parameters)
        self.noise, self.random = noise, np.random.default_rng(0)

    def write(self, theta):
        self.voltages = np.clip(theta, *self.bounds)

    def measure(self, inputs):
        w1, b1, w2, b2 = np.split(self.voltages, [24, 28, 40])
        hidden = np.tanh(inputs @ w1.reshape(6, 4) + b1)
        outputs = 1 / (1 + np.exp(-(hidden @ w2.reshape(4, 3) + b2)))
        return outputs + self.random.normal(0, self.noise, outputs.shape)
