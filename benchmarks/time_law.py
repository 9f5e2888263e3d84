"""Compare the law of time to accuracy with training: predicted and measured measurements.

`time_law.py [TASK ...]` runs the cells that are missing from docs/results/time_law.json, then
writes time_law.md and the figure. Each cell tries learning rates that are spaced by a factor of 2,
each on four seeds. Further rates are added while the best rate is the lowest or the highest. The
best rate is then measured on twelve other seeds. The predictions of the law start from the initial
weights of these twelve seeds.

The step h of the probe is halved until halving no longer changes the time of the flow without
scatter. The flow is then followed with the scatter of each rule at its tuned rate, with the same
step.

The equation with scatter was adopted after all cells of `CELLS` except `FRESH` had been trained. It
was tested on nine of those cells, at several values of h. The cells of `FRESH` were listed before
these tests and trained while they were made.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dither import MLP, SimulatedDevice
from dither.algorithms import AbstractAlgorithm, LayerwiseMGD, NodePerturbation, WeightMGD
from dither.tasks import XOR, Digits, FashionMNIST, NIST7x7, Parity, Task
from dither.training import Scatter, follow_flow, measurements_per_update, time_to_accuracy
from dither.training.fit import problem_of
from dither.training.fused import Carry, measure_once, start

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "results" / "time_law.json"

BY_FOUR = "nist7x7, batch of 4"
TARGET = {
    "xor": 1.0, "parity4": 1.0, "nist7x7": 0.95, BY_FOUR: 0.95, "digits": 0.9, "fashion-mnist": 0.7
}  # fmt: skip
DELTA = {
    "xor": 0.05, "parity4": 0.05, "nist7x7": 0.01, BY_FOUR: 0.01, "digits": 1e-3,
    "fashion-mnist": 1e-3,
}  # fmt: skip
"""The amplitude of weight perturbations; that of node perturbations is always 0.01."""
CELLS = {
    ("nist7x7", 4): {"weight": 0.2, "node": 0.2},
    ("digits", 8): {"weight": 0.01, "layer by layer": 0.01, "node": 0.1, "node, per example": 0.25},
    ("digits", 32): {
        "weight": 0.01, "layer by layer": 0.01, "node": 0.05, "node, per example": 0.25
    },
    ("digits", 128): {"weight": 0.01, "node": 0.05},
    ("fashion-mnist", 32): {"weight": 0.001, "node": 0.005},
    ("xor", 4): {"weight": 2.0, "node": 2.0},
    ("parity4", 8): {"weight": 2.0, "node": 2.0},
    ("digits", 64): {"weight": 0.01, "node": 0.025, "node, per example": 0.25},
    ("fashion-mnist", 16): {"weight": 0.004, "node": 0.02},
    (BY_FOUR, 4): {"weight": 0.4, "node": 0.4},
}  # fmt: skip
"""By task and hidden neurons: the methods, each with the middle learning rate of its grid."""
FRESH = (("digits", 64), ("fashion-mnist", 16), (BY_FOUR, 4))
GRID = (0.5, 1.0, 2.0)
TUNING, SEEDS = (100, 101, 102, 103), tuple(range(12))
MAJORITY = 3
"""The number of the four tuning seeds that must reach the target. A rate at which half of the seeds
diverge is useless."""
MOST = 200_000

EXAMPLES = NodePerturbation(learning_rate=1.0, pairs="central", per_example=True)
AVERAGED = NodePerturbation(learning_rate=1.0, tau_x=8, tau_theta=8)
PROBE: dict[str, tuple[AbstractAlgorithm, int, float]] = {
    "xor": (AVERAGED, 4, 2.0),
    "parity4": (AVERAGED, 16, 2.0),
    "nist7x7": (EXAMPLES, 512, 4.0),
    BY_FOUR: (EXAMPLES, 512, 4.0),
    "digits": (EXAMPLES, 512, 0.5),
    "fashion-mnist": (EXAMPLES, 512, 0.1),
}
"""The algorithm that follows the flow, its batch and its rate. On XOR and parity the gradients of
the examples cancel. Per-example signs would add noise that hides the plateau."""


def load(name: str) -> Task:
    """Load the data of a task; 2 000 test images are sufficient to estimate an accuracy."""
    if name == "fashion-mnist":
        task = FashionMNIST(batch=100).load()
        part = (task.test_inputs[:2000], task.test_targets[:2000])
        return eqx.tree_at(lambda t: (t.test_inputs, t.test_targets), task, part)
    kinds = {
        "xor": XOR(),
        "parity4": Parity(bits=4),
        "nist7x7": NIST7x7(),
        BY_FOUR: NIST7x7(batch=4),
        "digits": Digits(batch=64),
    }
    return kinds[name].load()


def network(name: str, hidden: int) -> MLP:
    """The network of the task's preset, with the requested number of hidden neurons."""
    widths = {
        "xor": (2, hidden, 1), "parity4": (4, hidden, 1), "nist7x7": (49, hidden, 4),
        BY_FOUR: (49, hidden, 4), "digits": (64, hidden, 10), "fashion-mnist": (784, hidden, 10),
    }[name]  # fmt: skip
    if name in ("digits", "fashion-mnist"):
        return MLP(widths=widths)
    bias = 0.0 if name in ("nist7x7", BY_FOUR) else 1.0
    return MLP(widths=widths, activation="sigmoid", output="sigmoid", bias=bias)


def algorithm(method: str, delta: float) -> AbstractAlgorithm:
    """Plain descent with an update after each estimate; the benchmark sets the rate."""
    return {
        "weight": WeightMGD(learning_rate=1.0, delta=delta, pairs="central"),
        "layer by layer": LayerwiseMGD(learning_rate=1.0, delta=delta, pairs="central"),
        "node": NodePerturbation(learning_rate=1.0, pairs="central"),
        "node, per example": EXAMPLES,
    }[method]


class Training:
    """Replicas with different learning rates and seeds, compiled once per cell."""

    def __init__(self, algorithm: AbstractAlgorithm, device: SimulatedDevice, task: Task) -> None:
        problem = problem_of(device, task)

        def at(rate: jax.Array) -> AbstractAlgorithm:
            return algorithm.model_copy(update={"learning_rate": rate})

        def begin(rates: jax.Array, seeds: jax.Array) -> Carry:
            return jax.vmap(lambda rate, seed: start(at(rate), device, problem, seed))(rates, seeds)

        def advance(setting: tuple[jax.Array, jax.Array], carry: Carry) -> Carry:
            rates, n = setting
            axes = jax.tree.map(lambda _: 0, carry)
            common = jax.tree.map(lambda _: None, carry.algorithm.clock)
            axes = eqx.tree_at(lambda c: c.algorithm.clock, axes, common)

            def step(rate: jax.Array, one: Carry) -> Carry:
                return measure_once(at(rate), device, task, one)[0]

            steps = jax.vmap(step, in_axes=(0, axes), out_axes=axes)
            return jax.lax.fori_loop(0, n, lambda _, c: steps(rates, c), carry)

        def score(theta: jax.Array) -> jax.Array:
            def one(theta: jax.Array) -> jax.Array:
                outputs = device.network(device.space.unravel(theta), task.test_inputs)
                return task.score(outputs, task.test_targets)

            return jax.lax.map(one, theta)

        self.begin: Callable[..., Carry] = eqx.filter_jit(begin)
        self.advance: Callable[..., Carry] = eqx.filter_jit(advance, donate="all-except-first")
        self.score: Callable[..., jax.Array] = eqx.filter_jit(score)

    def times(
        self, rates: list[float], seeds: tuple[int, ...], target: float, most: int, enough: int
    ) -> np.ndarray:
        """Measurements until each seed at each rate first reaches the target, else infinite.

        The interval between evaluations is one fiftieth of the elapsed measurements. The method
        returns when `enough` seeds of one rate have reached the target.
        """
        each = jnp.repeat(jnp.asarray(rates, jnp.float32), len(seeds))
        carry = self.begin(each, jnp.tile(jnp.asarray(seeds), len(rates)))
        clock = jax.tree.map(lambda leaf: leaf[0], carry.algorithm.clock)
        carry = eqx.tree_at(lambda c: c.algorithm.clock, carry, clock)
        found, after = np.full((len(rates), len(seeds)), np.inf), 0
        while after < most and np.isfinite(found).sum(axis=1).max() < enough:
            n = max(4, after // 50 // 4 * 4)
            carry = self.advance((each, jnp.int32(n)), carry)
            after += n
            reached = np.asarray(self.score(carry.algorithm.theta)).reshape(found.shape) >= target
            found = np.where(reached & np.isinf(found), after, found)
        return found


def tuned(training: Training, middle: float, target: float) -> tuple[float, dict[float, float]]:
    """The rate at which three of four seeds reach the target first, and the result at each rate."""
    rates, most, tried = [middle * factor for factor in GRID], MOST, {}
    while True:
        found = training.times(rates, TUNING, target, most, MAJORITY)
        tried |= dict(zip(rates, np.sort(found, axis=1)[:, MAJORITY - 1]))
        order = sorted(tried)
        best = min(order, key=lambda rate: tried[rate])
        if np.isinf(tried[best]) or order[0] < best < order[-1]:
            return best, tried
        beyond = (1 / 8, 1 / 4, 1 / 2) if best == order[0] else (2, 4, 8)
        rates = [best * factor for factor in beyond]
        most = int(tried[best])


def measured(training: Training, rate: float, target: float, about: float) -> list[float]:
    """Measurements of each seed at the tuned rate.

    The result is infinite beyond ten times the measurements of the tuning.
    """
    most = int(min(MOST, 10 * about))
    return training.times([rate], SEEDS, target, most, len(SEEDS))[0].tolist()


def followed(
    name: str, hidden: int, task: Task, h: float, scatter: Scatter | None = None
) -> list[dict[str, Any]]:
    """Follow the flow from the initial weights of each seed, with step h."""
    guide, batch, _ = PROBE[name]
    device, wide = SimulatedDevice(network=network(name, hidden)), replace(task, batch=batch)
    found = []
    for seed in SEEDS:
        initial = jax.random.split(jax.random.key(seed), 4)[0]  # as in training
        flow = follow_flow(
            jax.random.key(1000 + seed), guide, device, wide, device.initial(initial),
            TARGET[name], learning_rate=h, steps=8000, scatter=scatter,
        )  # fmt: skip
        found.append(flow._asdict() | {"time": _finite(flow.time), "rate": h})
    return found


def flows(name: str, hidden: int, task: Task) -> list[dict[str, Any]]:
    """The flow without scatter from the initial weights of each seed.

    The step is halved until the median time changes by less than one fifth. The measurements of all
    steps tried are counted.
    """
    guide, _, h = PROBE[name]
    spent: list[list[dict[str, Any]]] = []
    while True:
        spent.append(followed(name, hidden, task, h))
        times = [float(np.median([_infinite(flow["time"]) for flow in run])) for run in spent]
        if guide is AVERAGED or (len(times) > 1 and 0.8 < times[-1] / times[-2] < 1.25):
            break
        h /= 2
    counted = ("measurements", "samples")
    return [
        of_seed[-1] | {key: sum(flow[key] for flow in of_seed) for key in counted}
        for of_seed in zip(*spent)
    ]


def scattered(row: dict[str, Any], task: Task) -> list[dict[str, Any]]:
    """The flow with the scatter of the cell's rule, with the step of the flow without scatter."""
    rule = algorithm(row["method"], DELTA[row["task"]])
    scatter = Scatter(rule, row["rate"], task)
    return followed(row["task"], row["hidden"], task, row["flows"][0]["rate"], scatter)


def cell(name: str, hidden: int, method: str, middle: float, task: Task) -> dict[str, Any]:
    """Train one cell; return its row of the table without the prediction."""
    began, target = time.perf_counter(), TARGET[name]
    device = SimulatedDevice(network=network(name, hidden))
    chosen = algorithm(method, DELTA[name])
    training = Training(chosen, device, task)
    rate, tried = tuned(training, middle, target)
    took = measured(training, rate, target, tried[rate])
    middle_time, low, high = float(np.median(took)), *np.sort(took)[[2, -3]]
    return {
        "task": name, "hidden": hidden, "parameters": device.space.size, "method": method,
        "batch": task.batch, "target": target, "rate": rate,
        "rates tried": {f"{r:g}": _finite(m) for r, m in sorted(tried.items())},
        "measured": _finite(middle_time), "low": _finite(low), "high": _finite(high),
        "runs": [_finite(x) for x in sorted(took)],
        "per update": measurements_per_update(chosen, device, task),
        "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


def foretold(row: dict[str, Any]) -> dict[str, Any]:
    """Add the prediction of the law, from the flows of the row."""

    def median(flows: list[dict[str, Any]]) -> float:
        times = [_infinite(flow["time"]) for flow in flows]
        law = [time_to_accuracy(time, row["rate"], row["per update"]) for time in times]
        return float(np.median(law))

    def taken(key: str) -> float:
        return sum(float(np.median([f[key] for f in row[kind]])) for kind in ("flows", "scattered"))

    predicted, known = median(row["scattered"]), row["measured"] is not None
    return row | {
        "without scatter": _finite(median(row["flows"])), "predicted": _finite(predicted),
        "probe": taken("measurements"), "probe samples": taken("samples"),
        "ratio": _finite(predicted / row["measured"]) if known else None,
    }  # fmt: skip


def _infinite(x: float | None) -> float:
    return np.inf if x is None else x


def _finite(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


def main() -> None:
    """Run the missing cells, then write the table and the figure."""
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    for (name, hidden), methods in CELLS.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        task = None
        for method, middle in methods.items():
            here = [row for row in rows if (row["task"], row["hidden"]) == (name, hidden)]
            if any(row["method"] == method for row in here):
                continue
            task = task or load(name)
            row = cell(name, hidden, method, middle, task)
            rows = [*(json.loads(RESULTS.read_text()) if RESULTS.exists() else []), row]
            print(json.dumps(row), flush=True)
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    for name, hidden in CELLS:
        mine = [row for row in rows if (row["task"], row["hidden"]) == (name, hidden)]
        missing = [row for row in mine if "scattered" not in row]
        if not missing:
            continue
        task = load(name)
        known = next((row["flows"] for row in mine if "flows" in row), None)
        probe = known or flows(name, hidden, task)
        for row in missing:
            done = row | {"flows": probe}
            done = foretold(done | {"scattered": scattered(done, task)})
            rows = [done if other is row else other for other in rows]
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
            print(
                *(done[k] for k in ("task", "hidden", "method", "predicted", "ratio")), flush=True
            )
    places = [(*key, method) for key, methods in CELLS.items() for method in methods]
    rows.sort(key=lambda row: places.index((row["task"], row["hidden"], row["method"])))
    (DOCS / "results" / "time_law.md").write_text(table(rows))
    draw(rows)


def within(row: dict[str, Any], factor: float = 2.0) -> bool:
    """Whether prediction and measurement differ by at most a factor."""
    return row["ratio"] is not None and 1 / factor <= row["ratio"] <= factor


def table(rows: list[dict[str, Any]]) -> str:
    """Format the tables, failed predictions included."""
    fresh = [row for row in rows if (row["task"], row["hidden"]) in FRESH]
    seen = [row for row in rows if row not in fresh]
    known = [row for row in rows if row["measured"]]
    short = [row for row in known if row["probe"] <= 0.5 * row["measured"]]
    longer = [row for row in known if row["probe samples"] > row["batch"] * row["measured"]]
    own = [row for row in rows if row["flows"][0]["rate"] <= 1.0001 * row["rate"]]
    return (
        f"{_lines(seen)}\nWithin a factor of 2: {sum(map(within, seen))} of {len(seen)} cells, "
        "which had been trained before this equation was chosen. New cells:\n\n"
        f"{_lines(fresh)}\nWithin a factor of 2: {sum(map(within, fresh))} of {len(fresh)}. Of all "
        f"{len(rows)} cells {sum(within(row, 1.2) for row in rows)} are within a factor of 1.2. "
        f"One probe takes at most half of the training's measurements in {len(short)}, more "
        f"samples than the training in {len(longer)}, and steps no longer than the rule's own "
        f"in {len(own)}. At least about half of its measurements are the guide's, each of 512 "
        "samples; training uses 1 or 4 (nist7x7), 64 (digits) or 100 (fashion-mnist). On XOR "
        "and parity the gradients of the examples cancel, so the guide must average.\n"
    )


def _lines(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| task, network | method | learning rate | target | probe "
        "| probe / training: measurements, samples | without scatter | predicted "
        "| measured, median (3rd to 10th of 12) | ratio | within 2× |",
        "|---" * 11 + "|",
    ]
    for row in rows:
        share = "–"
        if row["measured"]:
            samples = row["probe samples"] / (row["batch"] * row["measured"])
            share = f"{row['probe'] / row['measured']:.2g}, {samples:.2g}"
        keys = ("probe", "without scatter", "predicted", "measured", "low", "high")
        probe, bare, predicted, middle, low, high = (_count(row[key]) for key in keys)
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f}"
        widths = "-".join(map(str, network(row["task"], row["hidden"]).widths))
        lines.append(
            f"| {row['task']}, {widths} | {row['method']} | {row['rate']:g} | {row['target']:.0%} "
            f"| {probe} | {share} | {bare} | {predicted} | {middle} ({low} – {high}) | {ratio} "
            f"| {'yes' if within(row) else '**no**'} |"
        )
    return "\n".join(lines) + "\n"


def _count(x: float | None) -> str:
    if x is None:
        return "not reached"
    return f"{float(f'{x:.3g}'):,.0f}".replace(",", " ")


def draw(rows: list[dict[str, Any]]) -> None:
    """Draw predicted against measured, with the line of equality and the band of a factor of 2."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from dither.training.drawing import STYLE, save_figure

    names = list(dict.fromkeys(row["task"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    colours = dict(zip(names, ("#6b6b6b", "#009e73", "#0072b2", "#cc79a7", "#d55e00", "#e69f00")))
    markers = dict(zip(methods, "soD^"))
    drawn = [row for row in rows if row["ratio"] is not None]
    with rc_context(STYLE):
        figure = Figure(figsize=(5.6, 4.0), layout="constrained")
        axes = figure.subplots()
        ends = np.array([0.4, 2.5]) * [
            min(min(row["predicted"], row["low"]) for row in drawn),
            max(max(row["predicted"], row["high"] or row["measured"]) for row in drawn),
        ]
        axes.fill_between(ends, ends / 2, ends * 2, color="#6b6b6b", alpha=0.12, linewidth=0)
        axes.plot(ends, ends, color="#6b6b6b", linewidth=1)
        for row in drawn:
            high = row["high"] or row["measured"]
            spread = [[row["measured"] - row["low"]], [high - row["measured"]]]
            axes.errorbar(
                row["measured"], row["predicted"], xerr=spread, fmt=markers[row["method"]],
                markersize=3 + row["hidden"] ** 0.4, color=colours[row["task"]], linewidth=0.8,
                markerfacecolor=colours[row["task"]] if within(row) else "white",
            )  # fmt: skip
        axes.set(
            xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="measurements, measured",
            ylabel="measurements, predicted",
        )  # fmt: skip
        handles = [Line2D([], [], color=c, linewidth=3, label=n) for n, c in colours.items()]
        handles += [
            Line2D([], [], color="#222222", marker=m, linestyle="", markersize=5, label=n)
            for n, m in markers.items()
        ]
        handles.append(
            Line2D([], [], color="#222222", marker="o", linestyle="", markersize=5,
                   markerfacecolor="white", label="off by more than 2×")
        )  # fmt: skip
        figure.legend(handles=handles, loc="outside right center", fontsize=7)
        save_figure(figure, DOCS / "figures" / "time_law")


if __name__ == "__main__":
    main()
