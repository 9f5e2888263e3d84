"""Boolean weights by gradients beside coordinate descent, and a network of 1-bit weights.

It runs one part and adds it to the file:

    one_bit.py FILE.json readout-N SEEDS
    one_bit.py FILE.json cost HIGH M SEEDS RATE SHARPNESS FLIPS
    one_bit.py FILE.json neurons HIGH M SEEDS RATE

A readout's part: photonic reservoirs, one step of Mackey-Glass, mirrors on or off, the error alone
measured; the same reservoirs for all rules. Gradients take at most `TIMES` times the measurements
of coordinate descent. The levels are coordinate descent's final NMSE on the test part (greedy from
half of the mirrors, seed by seed) and multiples of it: each number is the median over the seeds of
the measurements to a level; a run that never gets there counts as infinite. A run is looked at
every N / 5 measurements, so that its number is up to that much too high.

Fashion-MNIST: 784-32-10, every weight and bias −HIGH or HIGH, M measurements; test accuracy of the
most probable setting, or of the latent weights' signs.
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
"""Measurements of coordinate descent over N, and how many times as many of gradients."""
CHOSEN = {"learning_rate": 0.1, "sharpness": 6.0, "start": 0.2}
"""Of twelve settings at 100 mirrors, by three seeds that no run uses. At other sizes the sharpness
is such that as many mirrors differ in a pair."""
LEVELS = (1.0, 1.5, 2.0, 3.0, 5.0)

Curve = tuple[np.ndarray, np.ndarray]


def curves(rule: AbstractAlgorithm, neurons: int, tests: int, seeds: int) -> Curve:
    """Measurements, and the test NMSE of every run after them."""
    device = ReadoutDevice(reservoir=PhotonicReservoir(neurons=neurons), access="cost")
    until = Until(measurements=tests * neurons)
    task = SeriesTask(series="mackey-glass")
    every = neurons // 5
    run = dither.train(device, task, rule, until=until, score_every=every, replicas=seeds, key=0)
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


def readout(neurons: int, seeds: int) -> dict[str, Any]:
    """Both rules on a readout."""
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
    """The network of weights and biases −high or high."""
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
    """An optimiser whose rate falls to 0 as a cosine."""
    schedule = Schedule(name="cosine_decay_schedule", settings={"decay_steps": updates})
    return Optimizer(name=name, schedule=schedule)


def by_cost(measurements: int, rate: float, sharpness: float, flips: float) -> BooleanMGD:
    """The rule that sees the cost alone."""
    descent = falling("sgd", measurements // 2)
    return BooleanMGD(learning_rate=rate, sharpness=sharpness, flips=flips, optimizer=descent)


def by_neurons(measurements: int, rate: float) -> NodePerturbation:
    """The rule that perturbs neurons and reads the layers' inputs."""
    adam = falling("adam", measurements // 2)
    return NodePerturbation(learning_rate=rate, delta=0.1, per_example=True, optimizer=adam)


def main() -> None:
    """Run one part and keep it."""
    file, part, *settings = sys.argv[1:]
    path = Path(file)
    if part in ("cost", "neurons"):
        high, measurements, seeds, *others = settings
        of_rule, M = map(float, others), int(measurements)
        made = by_cost(M, *of_rule) if part == "cost" else by_neurons(M, *of_rule)
        now = fashion(made, float(high), M, int(seeds))
        part = f"fashion-mnist, {part}, weights {high}, {measurements}"
    else:
        now = readout(int(part.removeprefix("readout-")), *map(int, settings))
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    write_atomically(path, json.dumps({**found, part: now}, indent=1).encode())
    print(json.dumps(now))


if __name__ == "__main__":
    main()
