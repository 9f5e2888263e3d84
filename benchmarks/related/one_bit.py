"""Boolean weights: gradients compared with coordinate descent, and a network of 1-bit weights.

The script runs one part and adds it to the file:

    one_bit.py FILE.json readout-N SEEDS
    one_bit.py FILE.json cost HIGH M SEEDS RATE SHARPNESS FLIPS
    one_bit.py FILE.json neurons HIGH M SEEDS RATE
    one_bit.py FILE.json backpropagation HIGH M SEEDS RATE

The readout part trains photonic reservoirs to predict Mackey-Glass one step ahead. The mirrors are
on or off, and only the error is measured. All rules use the same reservoirs. Gradient rules take at
most `TIMES` times the measurements of coordinate descent. The levels are the final test NMSE of
coordinate descent (greedy, starting with half of the mirrors, per seed) and multiples of it. Each
number is the median over seeds of the measurements to a level. A run that does not reach the level
counts as infinite. Runs are evaluated every N / 5 measurements, so a number is at most N / 5 too
high.

The Fashion-MNIST parts train a 784-32-10 network for M measurements, with all weights and biases
equal to −HIGH or HIGH. They give the test accuracy of the most probable setting, or of the signs of
the latent weights.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

import dither
from dither import Until
from dither._files import write_atomically
from dither.algorithms import (
    Backpropagation,
    BooleanMGD,
    CoordinateDescent,
    NodePerturbation,
    Optimizer,
    Schedule,
)
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices import DAC, ReadoutDevice, SimulatedDevice
from dither.networks import MLP, PhotonicReservoir
from dither.tasks import FashionMNIST, SeriesTask

TESTS, TIMES = 10, 2
"""Measurements of coordinate descent per mirror; the same for gradients, as a multiple of these."""
CHOSEN = {"learning_rate": 0.1, "sharpness": 6.0, "start": 0.2}
"""The best of twelve settings at 100 mirrors, selected on three seeds that no run uses. At other
sizes the sharpness is set so that the same number of mirrors differ within a pair."""
LEVELS = (1.0, 1.5, 2.0, 3.0, 5.0)

Curve = tuple[np.ndarray, np.ndarray]


def curves(rule: AbstractAlgorithm, neurons: int, tests: int, seeds: int) -> Curve:
    """The numbers of measurements, and the test NMSE of each run at these numbers."""
    device = ReadoutDevice(reservoir=PhotonicReservoir(neurons=neurons), access="cost")
    until = Until(measurements=tests * neurons)
    task = SeriesTask(series="mackey-glass")
    every = neurons // 5
    run = dither.train(device, task, rule, until=until, score_every=every, replicas=seeds, key=0)
    errors = 1 - run.history.pivot(index="measurements", columns="replica", values="score")
    return errors.index.to_numpy(), errors.to_numpy()


def reached(curve: Curve, levels: np.ndarray) -> np.ndarray:
    """The measurements of each run to its level; infinite if the run does not reach it."""
    taken, errors = curve
    below = errors <= levels
    return np.where(below.any(axis=0), taken[below.argmax(axis=0)], math.inf)


def final(curve: Curve) -> np.ndarray:
    """The final error of each run."""
    last: np.ndarray = curve[1][-1]
    return last


def readout(neurons: int, seeds: int) -> dict[str, Any]:
    """Run coordinate descent and gradients on a readout."""
    rules: dict[str, AbstractAlgorithm] = {
        "greedy": CoordinateDescent(selection="greedy"),
        "priority, on 0.05": CoordinateDescent(selection="priority", on=0.05),
    }
    sharpness = CHOSEN["sharpness"] + math.log(neurons / 100)
    by_signs = BooleanMGD(**{**CHOSEN, "sharpness": sharpness}, optimizer="sign_sgd")
    found = {name: curves(rule, neurons, TESTS, seeds) for name, rule in rules.items()}
    found["boolean-mgd"] = curves(by_signs, neurons, TIMES * TESTS, seeds)
    goal = final(found["greedy"])
    return {
        "rule": by_signs.model_dump(mode="json"),
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


def fashion(rule: AbstractAlgorithm, high: float, measurements: int, seeds: int) -> dict[str, Any]:
    """Train the network with weights and biases equal to −high or high."""
    chip = (DAC(bits=1, low=-high, high=high),)
    device = SimulatedDevice(
        network=MLP(widths=(784, 32, 10)), imperfections=chip, access=rule.access_level.name.lower()
    )
    run = dither.train(
        device,
        FashionMNIST(batch=100),
        rule,
        until=Until(measurements=measurements),
        score_every=measurements // 50,
        replicas=seeds,
        key=0,
    )
    scores = run.history.pivot(index="measurements", columns="replica", values="score")
    return {
        "rule": rule.model_dump(mode="json"),
        "weights": [-high, high],
        "measurements": scores.index.tolist(),
        "accuracy": scores.T.round(4).to_numpy().tolist(),
    }


def falling(name: str, updates: int) -> Optimizer:
    """An optimiser with cosine decay of the rate to 0."""
    schedule = Schedule(name="cosine_decay_schedule", settings={"decay_steps": updates})
    return Optimizer(name=name, schedule=schedule)


def by_cost(measurements: int, rate: float, sharpness: float, flips: float) -> BooleanMGD:
    """The rule that uses only the cost."""
    descent = falling("sgd", measurements // 2)
    return BooleanMGD(learning_rate=rate, sharpness=sharpness, flips=flips, optimizer=descent)


def by_neurons(measurements: int, rate: float) -> NodePerturbation:
    """The rule that perturbs neurons and reads the layers' inputs."""
    adam = falling("adam", measurements // 2)
    return NodePerturbation(learning_rate=rate, delta=0.1, per_example=True, optimizer=adam)


def by_gradients(measurements: int, rate: float) -> Backpropagation:
    """Backpropagation at the levels of the weights: the upper bound."""
    return Backpropagation(learning_rate=rate, optimizer=falling("adam", measurements))


FASHION = {"cost": by_cost, "neurons": by_neurons, "backpropagation": by_gradients}


def main() -> None:
    """Run one part and store its result."""
    file, part, *settings = sys.argv[1:]
    path = Path(file)
    if part in FASHION:
        high, measurements, seeds, *others = settings
        of_rule, M = map(float, others), int(measurements)
        now = fashion(FASHION[part](M, *of_rule), float(high), M, int(seeds))
        part = f"fashion-mnist, {part}, weights {high}, {measurements}"
    else:
        now = readout(int(part.removeprefix("readout-")), *map(int, settings))
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    write_atomically(path, json.dumps({**found, part: now}, indent=1).encode())
    print(json.dumps(now))


if __name__ == "__main__":
    main()
