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

    It is evaluated at the initial weights, for one batch.
    """
    data = task.load()
    inputs, labels = data.inputs[: data.batch], data.targets[: data.batch]
    parameters = network.init(jax.random.key(0))

    def costs(outputs):
        return data.cost(outputs, labels)

    gradient = jax.grad(lambda p: costs(network(p, inputs)).mean())(parameters)
    found = {"weights": weight_angle_time(gradient)}
    for name, per_example in (("neurons, shared", False), ("neurons, per example", True)):
        found[name] = node_angle_time(
            jax.random.key(1), network, parameters, inputs, costs, per_example=per_example
        )
    for name, time in found.items():
        print(
            f"{name}, layer by layer: kappa {time.kappa:,.0f}, 15° after {time.measurements:,.0f} "
            f"measurements, with the optimal split {time.split_measurements:,.0f}"
        )
    return {
        name: [float(x) for x in (time.kappa, time.measurements, time.split_measurements)]
        for name, time in found.items()
    }


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


def draw(axes, name, colour):
    """Draw the median and range of nine chips at the best of three learning rates.

    The rate is selected on a tenth chip.
    """
    best = max(RATES, key=lambda rate: trained(rules(rate)[name][0], 100, 1).score)
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
