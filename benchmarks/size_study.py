"""Measurements to an accuracy against the size of a network, each method at its best learning rate.

`size_study.py TASK [METHOD ...]` with TASK `digits` or `fashion-mnist` adds the cells
that docs/results/size_study.json does not have yet; `size_study.py figure` draws them.
For each cell, learning rates a factor of 2 apart are tried side by side, three seeds each, around
the best one of the next smaller network, and more of them while the best is at an end.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dither import MLP, SimulatedDevice
from dither.algorithms import (
    AbstractAlgorithm,
    Backpropagation,
    LayerwiseMGD,
    NodePerturbation,
    WeightMGD,
)
from dither.codes import Walsh
from dither.tasks import Digits, FashionMNIST, Task
from dither.training.fused import Carry, measure_once, start

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "results" / "size_study.json"
SEEDS = (0, 1, 2)
MAJORITY = 2
"""Seeds that must have reached the target for the median to be known."""

METHODS: dict[str, AbstractAlgorithm] = {
    "backpropagation": Backpropagation(learning_rate=1.0),
    "weight": WeightMGD(learning_rate=1.0, pairs="central"),
    "weight, Walsh code": WeightMGD(learning_rate=1.0, pairs="central", code=Walsh()),
    "layer by layer": LayerwiseMGD(learning_rate=1.0, pairs="central"),
    "layer by layer, optimal split": LayerwiseMGD(
        learning_rate=1.0, pairs="central", split="optimal", tau_theta=4
    ),
    "node": NodePerturbation(learning_rate=1.0, pairs="central"),
    "node, per example": NodePerturbation(learning_rate=1.0, pairs="central", per_example=True),
}
"""Plain descent with a new batch for each update; the learning rate is set by the study."""

HIDDEN = {"digits": (8, 32, 128, 512, 2048), "fashion-mnist": (8, 32, 128)}
TARGET = {"digits": 0.9, "fashion-mnist": 0.75}
BATCH = {"digits": 64, "fashion-mnist": 100}
MOST = 400_000
"""Measurements after which a cell is given up."""
EVERY = 20
FIRST = 0.25
"""The learning rate in the middle for the smallest network."""
AROUND = (0.25, 0.5, 1.0, 2.0, 4.0)


def load(task: str) -> Task:
    """The data of a task."""
    kind = Digits if task == "digits" else FashionMNIST
    return kind(batch=BATCH[task]).load()


def compiled(
    algorithm: AbstractAlgorithm, device: SimulatedDevice, task: Task
) -> tuple[Callable[..., Carry], Callable[..., Carry], Callable[..., jax.Array]]:
    """Start, advance and score replicas that differ in learning rate and seed."""
    algorithm = algorithm.for_task(task).for_device(device)

    def at(rate: jax.Array) -> AbstractAlgorithm:
        return algorithm.model_copy(update={"learning_rate": rate})

    @eqx.filter_jit
    def begin(rates: jax.Array, seeds: jax.Array) -> Carry:
        return jax.vmap(lambda rate, seed: start(at(rate), device, seed))(rates, seeds)

    @eqx.filter_jit(donate="all-except-first")
    def advance(rates: jax.Array, carry: Carry) -> Carry:
        # the clock is common to all, so that what depends on it is decided once
        axes = jax.tree.map(lambda _: 0, carry)
        axes = eqx.tree_at(
            lambda c: c.algorithm.clock, axes, jax.tree.map(lambda _: None, carry.algorithm.clock)
        )

        def step(rate: jax.Array, one: Carry) -> Carry:
            return measure_once(at(rate), device, task, one)[0]

        steps = jax.vmap(step, in_axes=(0, axes), out_axes=axes)
        return jax.lax.fori_loop(0, EVERY, lambda _, c: steps(rates, c), carry)

    @eqx.filter_jit
    def score(carry: Carry) -> jax.Array:
        def one(state: object) -> jax.Array:
            theta = algorithm.parameters(state)
            outputs = device.network(device.space.unravel(theta), task.test_inputs)
            return jnp.mean(jnp.argmax(outputs, axis=1) == task.test_targets)

        axes = jax.tree.map(lambda _: 0, carry.algorithm)
        clock = jax.tree.map(lambda _: None, carry.algorithm.clock)
        axes = eqx.tree_at(lambda s: s.clock, axes, clock)
        return jax.vmap(one, in_axes=(axes,))(carry.algorithm)

    return begin, advance, score


def times(
    algorithm: AbstractAlgorithm,
    device: SimulatedDevice,
    task: Task,
    target: float,
    rates: list[float],
    most: int,
) -> np.ndarray:
    """Measurements until each seed at each rate is first seen at the target; infinite if never."""
    begin, advance, score = compiled(algorithm, device, task)
    of_each = jnp.repeat(jnp.asarray(rates), len(SEEDS))
    carry = begin(of_each, jnp.tile(jnp.asarray(SEEDS), len(rates)))
    clock = jax.tree.map(lambda leaf: leaf[0], carry.algorithm.clock)
    carry = eqx.tree_at(lambda c: c.algorithm.clock, carry, clock)
    found = np.full((len(rates), len(SEEDS)), np.inf)
    for after in range(EVERY, most + 1, EVERY):
        carry = advance(of_each, carry)
        reached = np.asarray(score(carry)).reshape(found.shape) >= target
        found = np.where(reached & np.isinf(found), after, found)
        median = np.sort(found, axis=1)[:, MAJORITY - 1].min()
        # the other seeds of the best rate may take twice as long, then count as unfinished
        if np.isfinite(median) and (np.isfinite(found[best(found)]).all() or after > 2 * median):
            break
    return found


def best(found: np.ndarray) -> int:
    """The rate with the least median, of equal ones the least mean."""
    ordered = np.sort(found, axis=1)
    return int(np.lexsort((ordered.sum(axis=1), ordered[:, MAJORITY - 1]))[0])


def cell(method: str, task_name: str, task: Task, hidden: int, middle: float) -> dict[str, object]:
    """One entry of the table: the best rate's measurements, and all that was tried for it."""
    inputs = int(np.prod(task.inputs.shape[1:]))
    device = SimulatedDevice(network=MLP(widths=(inputs, hidden, 10)))
    began, tried = time.perf_counter(), {}
    rates, most = [middle * factor for factor in AROUND], MOST
    while True:
        found = times(METHODS[method], device, task, TARGET[task_name], rates, most)
        tried |= dict(zip(rates, found))
        order = sorted(tried)
        top = order[best(np.array([tried[rate] for rate in order]))]
        if not np.isfinite(np.sort(tried[top])[MAJORITY - 1]) or order[0] < top < order[-1]:
            break
        rates = [top / 4, top / 2] if top == order[0] else [top * 2, top * 4]
        most = int(2 * np.sort(tried[top])[MAJORITY - 1] // EVERY * EVERY)
    return {
        "task": task_name,
        "method": method,
        "hidden": hidden,
        "parameters": device.space.size,
        "nodes": hidden + 10,
        "target": TARGET[task_name],
        "rate": top,
        "measurements": [float(x) if np.isfinite(x) else None for x in sorted(tried[top])],
        "rates tried": {
            f"{rate:g}": float(m) if np.isfinite(m := np.sort(tried[rate])[MAJORITY - 1]) else None
            for rate in order
        },
        "seconds": round(time.perf_counter() - began, 1),
    }


def main() -> None:
    """Run what is missing."""
    task_name, *methods = sys.argv[1:]
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    if task_name == "figure":
        draw(rows)
        return
    task = load(task_name)
    for hidden in HIDDEN[task_name]:
        for method in methods or METHODS:
            mine = [r for r in rows if (r["task"], r["method"]) == (task_name, method)]
            if any(r["hidden"] == hidden for r in mine):
                continue
            smaller = [r for r in mine if r["hidden"] < hidden]
            middle = max(smaller, key=lambda r: r["hidden"])["rate"] if smaller else FIRST
            row = cell(method, task_name, task, hidden, middle)
            print(json.dumps(row), flush=True)
            rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
            rows.append(row)
            part = RESULTS.with_suffix(".part")
            part.write_text(json.dumps(rows, indent=1) + "\n")
            part.replace(RESULTS)


def draw(rows: list[dict[str, object]]) -> None:
    """Measurements against parameters, for each task a panel."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from dither.training.figure import STYLE, save_figure

    colours = ("#6b6b6b", "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#cc79a7", "#d55e00")
    tasks = [name for name in HIDDEN if any(r["task"] == name for r in rows)]
    with rc_context(STYLE):
        figure = Figure(figsize=(3.2 * len(tasks) + 2.4, 3.6), layout="constrained")
        panels = figure.subplots(1, len(tasks), squeeze=False)[0]
        for axes, task in zip(panels, tasks):
            for (method, colour), marker in zip(zip(METHODS, colours), "sov^DP*"):
                mine = [r for r in rows if (r["task"], r["method"]) == (task, method)]
                mine = [r for r in mine if r["measurements"][MAJORITY - 1] is not None]
                if not mine:
                    continue
                each = np.array([[x or np.nan for x in r["measurements"]] for r in mine])
                middle = each[:, MAJORITY - 1]
                low, high = middle - each[:, 0], np.nan_to_num(each[:, -1] - middle)
                axes.errorbar(
                    [r["parameters"] for r in mine], middle, [low, high], fmt=f"{marker}-",
                    color=colour, linewidth=1, markersize=4, capsize=2, label=method,
                )  # fmt: skip
            axes.set(xscale="log", yscale="log", xlabel="parameters P",
                     title=f"{task}, {TARGET[task]:.0%}")  # fmt: skip
        panels[0].set_ylabel("measurements to the accuracy")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", fontsize=7)
        save_figure(figure, DOCS / "figures" / "size_study")


if __name__ == "__main__":
    main()
