"""Boolean weights by gradients beside coordinate descent, and a network of 1-bit weights.

`one_bit.py FILE.json readout-N` or `one_bit.py FILE.json fashion-mnist RATE SHARPNESS [M]` runs one
part, of M measurements, and adds it to the file.

A readout's part: photonic reservoirs, one step of Mackey-Glass, mirrors on or off, the error alone
measured. Gradients take at most `TIMES` times the measurements of coordinate descent. What is tuned
of either is chosen by three seeds that no run uses; then nine seeds run, the same reservoirs for
all. The levels are coordinate descent's final NMSE on the test part (greedy from half of the
mirrors, seed by seed) and multiples of it: each number is the median over the seeds of the
measurements to a level; a run that never gets there counts as infinite. A run is looked at every
N / 5 measurements, so that its number is up to that much too high.

Fashion-MNIST: 784-32-10, every weight and bias −0.1 or 0.1, test accuracy of the most probable
setting.
"""

import json
import math
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import dither
from dither import Until
from dither._files import write_atomically
from dither.algorithms import BooleanMGD, CoordinateDescent, Optimizer, Schedule
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices import DAC, ReadoutDevice, SimulatedDevice
from dither.networks import MLP, PhotonicReservoir
from dither.tasks import FashionMNIST, SeriesTask

SEEDS, TUNED_BY, FIRST = 9, 3, 100
TESTS, TIMES = 10, 4
"""Measurements of coordinate descent over N, and how many times as many of gradients."""
LEVELS = (1.0, 1.5, 2.0, 3.0, 5.0)

Curve = tuple[np.ndarray, np.ndarray]


def curves(rule: AbstractAlgorithm, neurons: int, tests: int, seeds: int, first: int) -> Curve:
    """Measurements, and the test NMSE of every run after them."""
    device = ReadoutDevice(reservoir=PhotonicReservoir(neurons=neurons), access="cost")
    until = Until(measurements=tests * neurons)
    task = SeriesTask(series="mackey-glass")
    every = neurons // 5
    run = dither.train(
        device, task, rule, until=until, score_every=every, replicas=seeds, key=first
    )
    errors = 1 - run.history.pivot(index="measurements", columns="replica", values="score")
    return errors.index.to_numpy(), errors.to_numpy()


def reached(curve: Curve, levels: np.ndarray) -> np.ndarray:
    """The measurements of every run to its level; infinite where it never gets there."""
    taken, errors = curve
    below = errors <= levels
    return np.where(below.any(axis=0), taken[below.argmax(axis=0)], math.inf)


def final(curve: Curve) -> np.ndarray:
    """The last error of every run."""
    last: np.ndarray = curve[1][-1]
    return last


def readout(neurons: int) -> dict[str, Any]:
    """Both rules on a readout."""
    rules: dict[str, AbstractAlgorithm] = {
        "greedy": CoordinateDescent(selection="greedy"),
        "priority, on 0.05": CoordinateDescent(selection="priority", on=0.05),
    }
    settings = [
        {"learning_rate": rate, "sharpness": sharpness, "start": start}
        for rate, sharpness, start in product((1.0, 3.0), (4.0, 6.0), (0.2, 1.0))
    ]
    tried = [
        float(np.median(final(curves(BooleanMGD(**one), neurons, TIMES * TESTS, TUNED_BY, FIRST))))
        for one in settings
    ]
    best = settings[int(np.argmin(tried))]
    found = {name: curves(rule, neurons, TESTS, SEEDS, 0) for name, rule in rules.items()}
    found["boolean-mgd"] = curves(BooleanMGD(**best), neurons, TIMES * TESTS, SEEDS, 0)
    goal = final(found["greedy"])
    return {
        "tried": [{**one, "final": error} for one, error in zip(settings, tried)],
        "chosen": best,
        "rules": {
            name: {
                "final": final(curve).tolist(),
                "to": {
                    f"{level:g}": [None if math.isinf(m) else int(m) for m in each]
                    for level in LEVELS
                    for each in [reached(curve, level * goal)]
                },
            }
            for name, curve in found.items()
        },
    }


def fashion(
    rate: float, sharpness: float, measurements: int = 200_000, seeds: int = 3
) -> dict[str, Any]:
    """The network of 1-bit weights."""
    device = SimulatedDevice(
        network=MLP(widths=(784, 32, 10)), imperfections=(DAC(bits=1, low=-0.1, high=0.1),)
    )
    falling = Schedule(name="cosine_decay_schedule", settings={"decay_steps": measurements // 2})
    rule = BooleanMGD(
        learning_rate=rate,
        sharpness=sharpness,
        flips=0.3,
        optimizer=Optimizer(name="sgd", schedule=falling),
    )
    until = Until(measurements=measurements)
    every = measurements // 50
    run = dither.train(
        device, FashionMNIST(batch=100), rule, until=until, score_every=every, replicas=seeds, key=0
    )
    scores = run.history.pivot(index="measurements", columns="replica", values="score")
    return {
        "rule": rule.model_dump(mode="json"),
        "measurements": scores.index.tolist(),
        "accuracy": scores.T.round(4).to_numpy().tolist(),
    }


def main() -> None:
    """Run one part and keep it."""
    file, part, *settings = sys.argv[1:]
    path = Path(file)
    if part == "fashion-mnist":
        rate, sharpness, *measurements = settings
        now = fashion(float(rate), float(sharpness), *map(int, measurements))
        part = f"{part}, sharpness {sharpness}"
    else:
        now = readout(int(part.removeprefix("readout-")))
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    write_atomically(path, json.dumps({**found, part: now}, indent=1).encode())
    print(json.dumps(now))


if __name__ == "__main__":
    main()
