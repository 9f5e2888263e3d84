"""A lab notebook: the mirrors of a photonic reservoir, from first light to a solved readout.

`readout_notebook.py [FOLDER]` writes the notebook's figures and numbers, and prints the numbers.
The run takes about a minute.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

import dither
from dither.algorithms import BooleanLeastSquares, CoordinateDescent
from dither.devices import ReadoutDevice
from dither.laws import predicted_curve, quantised_readout, ridge_readout, statistics_of
from dither.networks import PhotonicReservoir, check_consistency
from dither.tasks import MackeyGlass, SeriesTask, nmse
from dither.training.drawing import BLUE, GREY, ORANGE, STYLE, save_figure

N = 400
SEEDS = 9
series = MackeyGlass().load()
task = SeriesTask(series=MackeyGlass())
reservoir = PhotonicReservoir(neurons=N)
found = {}  # the notebook's numbers
t = series.targets[series.train_part]


def first_light():
    """Draw the traces of a few neurons, and check that they forget their initial state."""
    instance = reservoir.fabricate(jax.random.key(0))
    consistency = check_consistency(reservoir, instance, series.inputs, jax.random.key(1))
    print(f"two starts, one input: states differ by {consistency.distance:.1e} at the end")
    x = np.asarray(reservoir.states(instance, series.inputs))[series.train_part]
    amplitudes = np.linalg.norm(x - x.mean(axis=0), axis=0)
    figure = Figure(figsize=(8.0, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    for colour, neuron in zip((BLUE, ORANGE, GREY), (3, 150, 310)):
        left.plot(x[:150, neuron], color=colour, linewidth=1, label=f"neuron {neuron}")
    left.set(xlabel="time step", ylabel="state x", ylim=(0, 1.3))
    left.legend(ncols=3, loc="upper center")
    right.hist(amplitudes, 30, color=BLUE)
    right.set(xlabel="amplitude |x - <x>| of a neuron", ylabel="neurons")
    return figure, x


def expectation(x):
    """The prediction of the law for sweeps through the mirrors, before the first flip."""
    weights = np.random.default_rng(0).integers(0, 2, N)
    before = statistics_of(x.T, t, weights, traces="correlated", error="nmse")
    return predicted_curve(jax.random.key(2), before, 10 * N, order="sweep", record_every=20)


def trained(algorithm, measurements, noise=0.0):
    """Train SEEDS benches, with an evaluation every 20 measurements."""
    imperfections = [{"kind": "relative-noise", "sigma": noise}] if noise else []
    device = ReadoutDevice(reservoir=reservoir, imperfections=imperfections)
    return dither.train(
        device,
        task,
        algorithm,
        until=dither.Until(measurements=measurements),
        replicas=SEEDS,
        score_every=20,
    )


def draw(axes, result, colour, label, error="test_cost"):
    """Draw the median and range of the error over benches."""
    table = result.history.pivot(index="measurements", columns="replica", values=error)
    axes.fill_between(table.index, table.min(axis=1), table.max(axis=1), color=colour, alpha=0.2)
    axes.plot(table.index, table.median(axis=1), color=colour, label=label)
    print(f"{label}: {error} {table.median(axis=1).iloc[-1]:.2g} after {table.index[-1]}")
    found[label] = {"measurements": int(table.index[-1]), error: table.iloc[-1].tolist()}


def first_training(law):
    """Compare the published rule, a sparser start with a better order, and the law."""
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.subplots()
    greedy = trained(CoordinateDescent(selection="greedy"), 10 * N)
    draw(axes, greedy, BLUE, "greedy, half of the mirrors on at first", "cost")
    priority = trained(CoordinateDescent(selection="priority", on=0.05), 10 * N)
    draw(axes, priority, ORANGE, "priority, one in twenty on", "cost")
    axes.plot(law.tests, law.errors.mean(axis=0), "k--", linewidth=1, label="law, before any flip")
    axes.set(
        yscale="log", xlabel="measurements", ylabel="NMSE measured in training", xlim=(0, 10 * N)
    )
    axes.legend()
    return figure


def noisy_training():
    """With noise of a tenth of the signal: keep the old error, or remeasure it?"""
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.subplots()
    for decision, colour in (("keep", BLUE), ("remeasure", ORANGE), ("significant", GREY)):
        rule = CoordinateDescent(selection="cyclic", decision=decision)
        draw(axes, trained(rule, 15 * N, noise=0.1), colour, decision)
    axes.set(yscale="log", xlabel="measurements", ylabel="test NMSE, noise included")
    axes.legend()
    return figure


def seen_training():
    """With access to the outputs: 512 patterns, then a solved readout."""
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.subplots()
    draw(axes, trained(CoordinateDescent(selection="greedy"), 10 * N), BLUE, "greedy, error alone")
    draw(axes, trained(BooleanLeastSquares(), int(1.5 * N)), ORANGE, "outputs seen")
    axes.set(yscale="log", xlabel="measurements", ylabel="test NMSE", xlim=(0, 10 * N))
    axes.legend()
    return figure


def cost_of_boolean_weights(x):
    """Ridge regression on the same states, with weights rounded to b bits."""
    for bits in (1, 2, 4, 8, None):
        readout = ridge_readout(x, t) if bits is None else quantised_readout(x, t, bits)
        found[f"ridge, {bits or 'real'} bits"] = error = float(nmse(readout.outputs(x), t))
        print(f"ridge, {bits or 'real'} bits: training NMSE {error:.2g}")


def main():
    """Write the figures and print the numbers."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/notebook")
    folder.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        light, x = first_light()
        figures = {
            "light": light,
            "training": first_training(expectation(x)),
            "noise": noisy_training(),
            "seen": seen_training(),
        }
        for name, figure in figures.items():
            save_figure(figure, folder / f"notebook-{name}")
    cost_of_boolean_weights(x)
    (folder / "readout_notebook.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"figures: {folder}")


if __name__ == "__main__":
    main()
