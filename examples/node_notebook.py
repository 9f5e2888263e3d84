"""A notebook: perturb all weights, the weights of one layer, or the neurons?

`node_notebook.py [FOLDER]` writes the notebook's figure and numbers, and prints the numbers. The
run takes a few minutes.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

import dither
from dither.algorithms import (
    DecorrelatedNodePerturbation,
    LayerwiseMGD,
    NodePerturbation,
    WeightMGD,
)
from dither.laws import node_angle_time, weight_angle_time
from dither.tasks import FashionMNIST
from dither.training.drawing import STYLE, save_figure

MEASUREMENTS, EVERY, SEEDS = 10_000, 200, 9
RATES = (3e-4, 1e-3, 3e-3)
task = FashionMNIST(batch=100)
network = dither.MLP(widths=(784, 32, 10))
chip = dither.SimulatedDevice(
    network=network,
    imperfections=[
        {"kind": "dac", "bits": 8, "low": -1.0, "high": 1.0},
        {"kind": "output-noise", "sigma": 0.01},
    ],
    access="sites",
)
adam = dither.Optimizer(name="adam")
STEP = 2 / 255  # the step of the chip's DAC


def rules(rate):
    """The five methods, each with its colour."""
    common = {"learning_rate": rate, "optimizer": adam}
    weights, neurons = common | {"delta": STEP}, common | {"delta": 0.1}
    return {
        "weights, all at once": (WeightMGD(**weights, pairs="central"), "#0072b2"),
        "weights, layer by layer, optimal split": (
            LayerwiseMGD(**weights, pairs="central", split="optimal"),
            "#56b4e9",
        ),
        "neurons, signs shared by the batch": (NodePerturbation(**neurons), "#d55e00"),
        "neurons, signs per example": (NodePerturbation(**neurons, per_example=True), "#e69f00"),
        "neurons, decorrelated inputs": (DecorrelatedNodePerturbation(**neurons), "#009e73"),
    }


def expectation():
    """The prediction of the law: measurements until the estimate is within 15° of the gradient.

    It is evaluated at nine sets of initial weights, each with a batch of its own.
    """
    found = {"weights": [], "neurons, shared": [], "neurons, per example": []}
    for seed in range(SEEDS):
        times = expected_times(seed)
        for name, time in zip(found, times):
            row = (time.kappa, time.measurements, time.split_measurements)
            found[name].append([float(value) for value in row])
    for name, rows in found.items():
        kappa, measurements, split = np.median(rows, axis=0)
        print(
            f"{name}, layer by layer: kappa {kappa:,.0f}, 15° after {measurements:,.0f} "
            f"measurements, with the optimal split {split:,.0f}"
        )
    return found


def expected_times(seed):
    """The times of weights, shared and per-example perturbations at one set of initial weights."""
    data = task.load()
    rows = slice(seed * data.batch, (seed + 1) * data.batch)
    inputs, labels = data.inputs[rows], data.targets[rows]
    parameters = network.init(jax.random.key(seed))

    def costs(outputs):
        return data.cost(outputs, labels)

    def by_neurons(per_example):
        key = jax.random.key(SEEDS + seed)
        return node_angle_time(key, network, parameters, inputs, costs, per_example=per_example)

    gradient = jax.grad(lambda p: costs(network(p, inputs)).mean())(parameters)
    return weight_angle_time(gradient), by_neurons(False), by_neurons(True)


def trained(algorithm, seed, replicas):
    """Train replicas on the chip."""
    return dither.train(
        chip,
        task,
        algorithm,
        until=dither.Until(measurements=MEASUREMENTS),
        key=seed,
        replicas=replicas,
        score_every=EVERY,
    )


def best_rate(name):
    """The rate with the highest score on a tenth chip.

    Rates beyond the first three are tried until the best lies between two others.
    """
    scores, waiting = {}, list(RATES)
    while waiting:
        rate = waiting.pop()
        scores[rate] = trained(rules(rate)[name][0], 100, 1).score
        best = max(scores, key=scores.get)
        if not waiting and best in (min(scores), max(scores)):
            waiting = [float(f"{best * 3 if best == max(scores) else best / 3:.1g}")]
    return best


def draw(axes, name, colour):
    """Draw the median and range of nine chips at the best learning rate."""
    best = best_rate(name)
    result = trained(rules(best)[name][0], 0, SEEDS)
    table = result.history.pivot(index="measurements", columns="replica", values="score")
    middle = table.median(axis=1)
    axes.fill_between(table.index, table.min(axis=1), table.max(axis=1), color=colour, alpha=0.2)
    axes.plot(table.index, middle, color=colour, label=name)
    there = middle.index[middle >= 0.8]
    print(
        f"{name}: learning rate {best:g}, accuracy {middle.iloc[-1]:.3f} after "
        f"{MEASUREMENTS}, 80 % " + (f"after {there[0]}" if len(there) else "not reached")
    )
    arrived = table.ge(0.8).idxmax().where(table.ge(0.8).any())
    return {
        "learning_rate": best,
        "scores": table.iloc[-1].tolist(),
        "to 80 %": [None if np.isnan(count) else int(count) for count in arrived],
    }


def main():
    """Print the prediction, train and draw the figure."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/notebook")
    folder.mkdir(parents=True, exist_ok=True)
    found = {"expected": expectation()}
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.subplots()
        for name, (_, colour) in rules(1.0).items():
            found[name] = draw(axes, name, colour)
        axes.axhline(0.8, color="#6b6b6b", linewidth=0.7)
        axes.set(xscale="log", xlabel="measurements", ylabel="test accuracy", ylim=(0, 0.9))
        axes.legend(loc="lower right")
        save_figure(figure, folder / "notebook-neurons")
    (folder / "node_notebook.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"figure: {folder}")


if __name__ == "__main__":
    main()
