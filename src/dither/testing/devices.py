"""A device for the tests: a multilayer perceptron in plain NumPy that counts its calls."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np


class NumpyDevice:
    """Dense tanh layers with a linear output, parameters bias before weight, as in `dither.MLP`."""

    bounds: tuple[float, float]
    bits: int | None
    theta: np.ndarray

    def __init__(self, widths: Sequence[int] = (3, 2, 2), initial: Any = None) -> None:
        self.widths = widths
        self.parameters: Any = sum((p + 1) * q for p, q in pairwise(widths))
        self.initial = np.zeros(self.parameters) if initial is None else np.asarray(initial)
        self.writes = self.calls = self.samples = self.made_safe = 0
        self.received: list[np.ndarray] = []
        self.added: Mapping[str, np.ndarray] = {}
        self.seen: dict[str, np.ndarray] = {}

    def show_sites(self) -> None:
        """Declare the layers whose neurons can be perturbed."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (p, q) in enumerate(pairwise(self.widths)):
            shapes |= {f"dense{layer}/bias": (q,), f"dense{layer}/weight": (p, q)}
        self.parameters = shapes
        self.layers = tuple(f"dense{layer}" for layer in range(len(self.widths) - 1))

    def write(self, theta: np.ndarray) -> None:
        """Program the parameters."""
        self.writes += 1
        self.theta = np.array(theta)
        self.received.append(self.theta)

    def measure(self, inputs: np.ndarray) -> np.ndarray:
        """The outputs for a batch."""
        self.calls += 1
        self.samples += len(inputs)
        return self.forward(inputs)

    def measure_sites(
        self, inputs: np.ndarray, added: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The outputs with perturbed neurons' inputs, and the inputs of the layers."""
        self.added = added
        try:
            outputs = self.measure(inputs)
        finally:
            self.added = {}
        return outputs, self.seen

    def forward(self, inputs: np.ndarray) -> np.ndarray:
        """The network."""
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

    def safe(self) -> None:
        """Go to the safe state."""
        self.made_safe += 1


class FlakyDevice(NumpyDevice):
    """A device that fails at random in every possible way, up to its `last` measurement."""

    def __init__(self, share: float, seed: int, last: int = 10**9, **settings: Any) -> None:
        super().__init__(**settings)
        self.share, self.last = share, last
        self.rng = np.random.default_rng(seed)
        self.failures = 0
        self.good: list[np.ndarray] = []

    def measure(self, inputs: np.ndarray) -> np.ndarray:
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


class Recorder(NumpyDevice):
    """A device whose cost drives the parameters to their limits."""

    def __init__(self, bounds: tuple[float, float], bits: int | None, seed: int) -> None:
        super().__init__()
        self.bounds, self.bits = bounds, bits
        self.initial = np.full(self.parameters, bounds[0] + 0.3 * (bounds[1] - bounds[0]))
        self.pull = 100 * np.random.default_rng(seed).standard_normal(self.parameters)

    def measure(self, inputs: np.ndarray) -> np.ndarray:
        super().measure(inputs)
        return np.full((len(inputs), 2), math.sqrt(1e6 + self.theta @ self.pull))

    def check_received(self, most: int) -> None:
        """Check that 1 to `most` writes were made, all inside the bounds and on the grid."""
        received, (low, high) = np.array(self.received, float), self.bounds
        assert 0 < len(received) <= most
        assert np.all(received >= low)
        assert np.all(received <= high)
        if self.bits:
            step = (high - low) / (2**self.bits - 1)
            level = (received - low) / step
            # single precision has a relative resolution of 2⁻²³
            off = np.abs(level - np.round(level)).max()
            assert off < 1e-3 + 2**-22 * (abs(low) + high - low) / step
