"""The number of mirror tests that a photonic reservoir needs, for 10² to 10⁶ neurons.

`scaling.py [LARGEST]` runs all sizes up to LARGEST and writes docs/results/scaling.json and
docs/figures/scaling. The size 10⁶ takes about half an hour and 7 GB of memory.
"""

import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from dither.laws.descent import descend
from dither.laws.fits import CRITERIA, DescentRun, power_law_fit
from dither.networks import PhotonicReservoir
from dither.tasks import MackeyGlass
from dither.training.drawing import BLUE, GREY, ORANGE, STYLE, save_figure

DOCS = Path(__file__).parents[1] / "docs"
SEEDS = {100: 20, 1024: 20, 10_000: 10, 99_856: 9, 1_000_000: 5}
SWEEPS = 50
"""Tests per neuron; the error after these tests is the final error of a run."""
RECORDS = 100
"""Recorded points of the curve per N tests; crossings are resolved to N / 100 tests."""
BLOCK = 20
"""Reservoir steps after which the states are transferred in half precision."""


def training_states(neurons: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The reservoir states and the targets of the training part.

    The states form an N × T array in half precision.
    """
    series, reservoir = MackeyGlass().load(), PhotonicReservoir(neurons=neurons)
    instance = reservoir.fabricate(jax.random.key(seed))

    @jax.jit
    def advance(E: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(E: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
            E = reservoir.step(instance, E, u)
            return E, reservoir.measured(E).astype(jnp.float16)

        E, x = jax.lax.scan(step, E, inputs)
        return E, x.T

    E, columns = jnp.zeros(neurons, jnp.float32), np.empty((neurons, series.train), np.float16)
    inputs = jnp.asarray(series.inputs, jnp.float32)
    for start in range(0, series.train_part.stop, BLOCK):
        E, x = advance(E, inputs[start : start + BLOCK])
        if start >= series.washout:
            columns[:, start - series.washout :][:, :BLOCK] = x
    return columns, series.targets[series.train_part].astype(np.float32)


def nmse(columns: np.ndarray, target: np.ndarray, weights: np.ndarray) -> float:
    """The NMSE in double precision, computed only from the weights."""
    y = np.zeros(target.size)
    for start in range(0, len(columns), 10_000):
        part = slice(start, start + 10_000)
        y += weights[part].astype(float) @ columns[part].astype(float)
    return float(2 - 2 * np.corrcoef(y, target)[0, 1])


def row(neurons: int, seed: int) -> dict[str, float]:
    """Train one reservoir once, with uniformly drawn mirrors."""
    columns, target = training_states(neurons, seed)
    for_weights, for_descent = jax.random.split(jax.random.key(1000 + seed))
    weights = jax.random.bernoulli(for_weights, 0.5, (neurons,))
    every = max(1, neurons // RECORDS)
    begin = time.perf_counter()
    found = descend(
        for_descent, jnp.asarray(columns), jnp.asarray(target), weights,
        SWEEPS * neurons // every * every, error="nmse", record_every=every,
    )  # fmt: skip
    errors = np.asarray(found.errors, float)
    seconds = time.perf_counter() - begin
    run = DescentRun(every * np.arange(errors.size), errors, int(found.last_accepted))
    return {
        "neurons": neurons,
        "seed": seed,
        **{name: tests_of(run) for name, tests_of in CRITERIA.items()},
        "first NMSE": errors[0],
        "final NMSE": errors[-1],
        "final NMSE from the weights alone": nmse(columns, target, np.asarray(found.weights)),
        "tests": int(run.tests[-1]),
        "seconds": round(seconds, 2),
    }


def fits(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """The scaling exponents of the criteria that every run met well before its end."""
    sizes = sorted({r["neurons"] for r in rows})
    return {
        name: power_law_fit(
            sizes, [np.array([r[name] for r in rows if r["neurons"] == n]) for n in sizes]
        )._asdict()
        for name in CRITERIA
        if all(0 < r[name] < 0.8 * r["tests"] for r in rows)
    }


def draw(rows: list[dict[str, float]], exponents: dict[str, dict[str, float]]) -> None:
    """Draw tests against neurons: individual runs, means and the fitted power law."""
    shown = {
        "within 2x of final": (BLUE, "o"),
        "99 % of the excess removed": (ORANGE, "s"),
        "63 % of the excess removed": (GREY, "^"),
    }
    sizes = np.array(sorted({r["neurons"] for r in rows}))
    with rc_context(STYLE):
        figure = Figure(figsize=(5.5, 3.8), layout="constrained")
        axes = figure.subplots()
        for name, (colour, marker) in shown.items():
            fit = exponents[name]
            axes.scatter(
                [r["neurons"] for r in rows], [r[name] for r in rows],
                color=colour, alpha=0.25, s=12, marker=marker, linewidths=0,
            )  # fmt: skip
            means = np.array([np.mean([r[name] for r in rows if r["neurons"] == n]) for n in sizes])
            middle = np.exp(np.log(means).mean() - fit["value"] * np.log(sizes).mean())
            label = f"{name}: N^{fit['value']:.2f} ({fit['low']:.2f} – {fit['high']:.2f})"
            axes.plot(sizes, means, linestyle="", color=colour, marker=marker, label=label)
            axes.plot(sizes, middle * sizes ** fit["value"], color=colour, linewidth=1)
            centre = np.exp(np.log(sizes).mean())
            edges = middle * centre ** fit["value"] * np.stack(
                [(sizes / centre) ** fit[end] for end in ("low", "high")]
            )  # fmt: skip
            axes.fill_between(
                sizes, edges.min(axis=0), edges.max(axis=0), color=colour, alpha=0.15, linewidth=0
            )
        axes.set(xscale="log", yscale="log", xlabel="neurons N", ylabel="tests of one mirror")
        axes.legend(fontsize=7.5)
    save_figure(figure, DOCS / "figures" / "scaling")


def main() -> None:
    """Run all sizes and seeds, fit the exponents and draw the figure."""
    largest = int(float(sys.argv[1])) if len(sys.argv) > 1 else max(SEEDS)
    rows = []
    for neurons, seeds in SEEDS.items():
        for seed in range(seeds if neurons <= largest else 0):
            rows.append(row(neurons, seed))
            print(json.dumps(rows[-1]), flush=True)
    exponents = fits(rows)
    print(json.dumps(exponents, indent=1))
    text = json.dumps({"rows": rows, "exponents": exponents}, indent=1)
    (DOCS / "results" / "scaling.json").write_text(text.replace("Infinity", "null") + "\n")
    draw(rows, exponents)


if __name__ == "__main__":
    main()
