"""A lab's device for the tests: a multilayer perceptron in plain NumPy that counts what is done."""

from itertools import pairwise

import numpy as np


class NumpyDevice:
    """Dense tanh layers with a linear output, parameters bias before weight, as in `dither.MLP`."""

    def __init__(self, widths=(3, 2, 2), initial=None):
        self.widths = widths
        self.parameters = sum((p + 1) * q for p, q in pairwise(widths))
        self.initial = np.zeros(self.parameters) if initial is None else np.asarray(initial)
        self.theta = None
        self.writes = self.calls = self.samples = self.made_safe = 0
        self.received = []
        self.added, self.seen = {}, {}

    def show_sites(self):
        """Declare the layers whose neurons can be perturbed."""
        shapes = {}
        for layer, (p, q) in enumerate(pairwise(self.widths)):
            shapes |= {f"dense{layer}/bias": (q,), f"dense{layer}/weight": (p, q)}
        self.parameters = shapes
        self.layers = tuple(f"dense{layer}" for layer in range(len(self.widths) - 1))

    def write(self, theta):
        self.writes += 1
        self.theta = np.array(theta)
        self.received.append(self.theta)

    def measure(self, inputs):
        self.calls += 1
        self.samples += len(inputs)
        return self.forward(inputs)

    def measure_sites(self, inputs, added):
        self.added = added
        try:
            outputs = self.measure(inputs)
        finally:
            self.added = {}
        return outputs, self.seen

    def forward(self, inputs):
        x, start = np.asarray(inputs, float), 0
        layers = list(pairwise(self.widths))
        for layer, (p, q) in enumerate(layers):
            bias = self.theta[start : start + q]
            weight = self.theta[start + q : start + (p + 1) * q].reshape(p, q)
            start += (p + 1) * q
            self.seen[f"dense{layer}"] = x
            x = x @ weight + bias + self.added.get(f"dense{layer}", 0.0)
            if layer < len(layers) - 1:
                x = np.tanh(x)
        return x

    def safe(self):
        self.made_safe += 1


class FlakyDevice(NumpyDevice):
    """Fails at random in every way that a reading can fail, up to its `last` measurement."""

    def __init__(self, share, seed, last=10**9, **settings):
        super().__init__(**settings)
        self.share, self.last = share, last
        self.rng = np.random.default_rng(seed)
        self.failures = 0
        self.good = []

    def measure(self, inputs):
        outputs = super().measure(inputs)
        if 1 < self.calls <= self.last and self.rng.random() < self.share:
            self.failures += 1
            match self.rng.integers(4):
                case 0:
                    raise TimeoutError("no answer")
                case 1:
                    return outputs * np.nan
                case 2:
                    return outputs[:-1]
                case 3:
                    return np.full_like(outputs, np.inf)
        self.good.append(self.theta)
        return outputs
