"""A simulated chip with a convolution: 4 kernels at 6 x 6 positions, followed by 10 neurons.

See docs/device.md for the command that trains it.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class Chip:
    bounds = (-2.0, 2.0)  # volts
    output_activation = "identity"

    def __init__(self):
        self.layers = {"kernels": (6, 6), "output": ()}
        self.parameters = {
            "kernels/weight": (9, 4),
            "kernels/bias": (4,),
            "output/weight": (144, 10),
            "output/bias": (10,),
        }
        self.noise = np.random.default_rng(0)

    def initial(self, seed):
        rng = np.random.default_rng(seed)
        return np.concatenate([rng.normal(0, 0.3, 40), rng.normal(0, 0.1, 1450)])

    def write(self, theta):
        w1, self.b1, w2, self.b2 = np.split(theta, [36, 40, 1480])
        self.w1, self.w2 = w1.reshape(9, 4), w2.reshape(144, 10)

    def measure_sites(self, inputs, added):
        images = inputs.reshape(-1, 8, 8)
        patches = sliding_window_view(images, (3, 3), axis=(1, 2)).reshape(-1, 6, 6, 9)
        z1 = patches @ self.w1 + self.b1 + added["kernels"]
        x2 = np.tanh(z1).reshape(-1, 144)
        outputs = x2 @ self.w2 + self.b2 + added["output"]
        outputs = outputs + self.noise.normal(0, 0.01, outputs.shape)
        return outputs, {"kernels": patches, "output": x2}

    def measure(self, inputs):
        return self.measure_sites(inputs, {"kernels": 0.0, "output": 0.0})[0]


chip = Chip()
