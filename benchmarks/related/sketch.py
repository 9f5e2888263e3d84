"""Sketched layer inputs: saved memory, added noise and the cost of this noise.

For the network of Oripov2025 at d = 4 and for each of its convolutions, `sketch.py noise` prints
how many numbers are stored per example, and the ratio of the variances of the sketched and the full
estimate. Storing the full inputs has an exact alternative. A perturbation is known before its cost,
so `∂(s · z)/∂W` of each example can be accumulated as the inputs arrive, and multiplied by the
change in cost later.

`sketch.py train FILE.json` trains a small convolutional network on the digits, with full inputs and
with r probes. The learning rate is the best of four, spaced by a factor of 2, on three separate
seeds. Nine seeds are then run at this rate. The result is the Kaplan–Meier median of the
measurements to a score, with its 95 % interval.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

import dither
from dither import CNN, SimulatedDevice, Until
from dither.algorithms import NodePerturbation, Optimizer
from dither.algorithms.sketch import held
from dither.studies import median_with_interval
from dither.tasks import Digits, FashionMNIST
from dither.testing.runs import collect, keys

AT_4 = CNN(channels=(4, 8, 16), depth=2, padding="same", dense=(16, 16), activation="tanh")
SMALL = CNN(image=(8, 8, 1), channels=(4, 8), padding="same", activation="tanh")
PROBES = (8, 128)
DRAWS, BATCH = 48, 100

RATES = [2e-3 * 2**n for n in range(4)]
TUNED_BY, SEEDS, FIRST = 3, 9, 100
MEASUREMENTS, EVERY, SCORES = 6_000, 100, (0.8, 0.9)


def inputs_of(network: CNN) -> dict[str, tuple[int, ...]]:
    return {layer.name: network.sites()[f"{layer.name}/x"] for layer in network.layers}


def traces(network: CNN) -> dict[str, int]:
    """Numbers stored per example by the exact method: the smaller of input and trace."""
    shapes = {p.name: p.shape for p in SimulatedDevice(network=network).space.parameters}
    return {name: min(math.prod(shape), math.prod(shapes[f"{name}/weight"]))
            for name, shape in inputs_of(network).items()}  # fmt: skip


def memory(network: CNN, sketch: int | None) -> int:
    return sum(held(shape, sketch) for shape in inputs_of(network).values())


def variances(network: CNN, task: Any, sketch: int | None) -> dict[str, float]:
    """The variance of the estimate at the initial weights, summed over each layer's weights."""
    device = SimulatedDevice(network=network)
    rule = NodePerturbation(learning_rate=0.0, per_example=True, sketch=sketch)
    theta = device.initial(jax.random.key(0))
    parts = [collect(rule, device, task, theta, some, 2)[1][:, -1]
             for some in keys(DRAWS).reshape(-1, 4)]  # fmt: skip
    spread = device.space.unravel(np.concatenate(parts).var(axis=0))
    return {layer.name: float(np.sum(spread[f"{layer.name}/weight"])) for layer in network.layers}


def noise() -> None:
    task = FashionMNIST(batch=BATCH, cost="smoothed_cross_entropy").load()
    whole, exact = variances(AT_4, task, None), traces(AT_4)
    full = memory(AT_4, None)
    print(f"whole {full}, traces {sum(exact.values())} ({sum(exact.values()) / full:.1%})")
    for r in PROBES:
        print(f"r = {r}: {memory(AT_4, r)} ({memory(AT_4, r) / full:.1%})")
        short = variances(AT_4, task, r)
        for name, shape in inputs_of(AT_4).items():
            law = 1 + math.prod(shape[:-1]) / r if held(shape, r) < math.prod(shape) else 1.0
            print(f"  {name} {math.prod(shape)} -> {held(shape, r)}, trace {exact[name]}: variance "
                  f"x {short[name] / whole[name]:.2f}, 1 + pixels / r = {law:.2f}")  # fmt: skip


def first(
    rate: float, sketch: int | None, key: int, replicas: int, score: float
) -> dict[float, list[float]]:
    """The measurements of each seed to each score; NaN if not reached."""
    rule = NodePerturbation(
        learning_rate=rate, per_example=True, sketch=sketch, optimizer=Optimizer(name="adam")
    )
    run = dither.train(
        SimulatedDevice(network=SMALL), Digits(batch=BATCH), rule, key=key, replicas=replicas,
        score_every=EVERY, until=Until(measurements=MEASUREMENTS, score=score),
    )  # fmt: skip
    rows = [rows for _, rows in run.history.groupby("replica")]
    return {score: [float(rows["measurements"][rows["score"] >= score].min()) for rows in rows]
            for score in SCORES}  # fmt: skip


def train(file: Path) -> None:
    rows = json.loads(file.read_text()) if file.exists() else {}
    for sketch in (None, 8):
        name = "whole" if sketch is None else f"r = {sketch}"
        if name not in rows:
            tried = {}
            for rate in RATES:
                found = first(rate, sketch, FIRST, TUNED_BY, SCORES[0])[SCORES[0]]
                tried[rate] = float(np.median(np.nan_to_num(found, nan=math.inf)))
                print(name, rate, tried[rate], flush=True)
            best = min(tried, key=lambda rate: tried[rate])
            rows[name] = {"rate": best, "tried": list(tried.items()),
                          "first": first(best, sketch, 0, SEEDS, SCORES[-1])}  # fmt: skip
            rows[name]["first"] = {str(k): v for k, v in rows[name]["first"].items()}
            file.write_text(json.dumps(rows))
        share = memory(SMALL, sketch) / memory(SMALL, None)
        for score, found in rows[name]["first"].items():
            stopped = np.isnan(found)
            known = np.where(stopped, MEASUREMENTS, found)
            told = f"{share:.0%} of the memory, rate {rows[name]['rate']:g}, to {score}"
            reached = f"{np.sum(~stopped)} of {SEEDS}"
            print(name, told, median_with_interval(known, stopped), reached, flush=True)


if __name__ == "__main__":
    noise() if sys.argv[1] == "noise" else train(Path(sys.argv[2]))
