"""A simulated photonic bench: a ring of 100 neurons with one switchable mirror each."""

import numpy as np

from dither.tasks import MackeyGlass


class Bench:
    parameters = 100  # mirrors

    def __init__(self):
        rng = np.random.default_rng(0)
        self.noise = np.random.default_rng(1)
        self.weights = rng.integers(0, 2, self.parameters)
        series = MackeyGlass().load()
        into, phase = rng.uniform(size=self.parameters), rng.choice([0.17, 0.43], self.parameters)
        real, imaginary = rng.normal(size=(2, 3, self.parameters))
        to = (real + 1j * imaginary) / np.linalg.norm(real + 1j * imaginary, axis=0)
        E, traces = np.zeros(self.parameters), []
        for u in series.inputs[: series.train_part.stop]:
            field = to[0] * E + to[1] * np.roll(E, 1) + to[2] * np.roll(E, -1)
            E = np.cos(2 * np.pi * (0.16 * abs(field) ** 2 + 0.4 * into * u + phase))
            traces.append(E**2)
        self.traces = np.array(traces)[series.train_part]
        self.target = series.targets[series.train_part]

    def flip(self, i):
        self.weights[i] = 1 - self.weights[i]

    def error(self):
        y = self.traces @ self.weights
        y = y + 0.01 * y.std() * self.noise.normal(size=y.size)
        z = (y - y.mean()) / y.std() - (self.target - self.target.mean()) / self.target.std()
        return np.mean(z**2)


bench = Bench()
