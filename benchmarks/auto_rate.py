"""Compare `learning_rate="auto"` with a tuned rate: measurements to a score, diverged replicas.

`auto_rate.py [--again] [TASK ...]` runs the cells that are missing from
docs/results/auto_rate.json and writes the table. With `--again`, it also repeats `auto` in the
cells that are present.

Each cell tries five learning rates, spaced by a factor of 2, in parallel. The rate with the
shortest expected running time is the tuned rate. The tuned rate and `auto` are then run on new
seeds, with the same seeds and the same budget for both. The measurements of the calibration are
counted.

The result of a cell is the expected running time: the total number of measurements, up to the
target or the budget, divided by the number of replicas that reached the target. A replica has
diverged if its test cost is not finite, or if its final test cost exceeds its initial test cost by
more than 10 %.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dither import MLP, SimulatedDevice
from dither.algorithms import AbstractAlgorithm, NodePerturbation, WeightMGD
from dither.tasks import XOR, AbstractTask, Digits, FashionMNIST, NIST7x7, Parity
from dither.training.fit import problem_of
from dither.training.fused import Carry, measure_once, start

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "auto_rate.json"
Row: TypeAlias = dict[str, Any]
AROUND = (0.25, 0.5, 1.0, 2.0, 4.0)


class Setting(NamedTuple):
    """A task, a network and the target score.

    `every` is the number of measurements between evaluations. `seeds` holds the number of seeds
    for tuning and for testing. `methods` maps each method to the middle of its rates and to its
    budget.
    """

    task: AbstractTask
    network: MLP
    target: float
    every: int
    seeds: tuple[int, int]
    methods: dict[str, tuple[float, int]]


def sigmoids(*widths: int) -> MLP:
    """An MLP with sigmoid neurons in all layers."""
    return MLP(widths=widths, activation="sigmoid", output="sigmoid")


SETTINGS = {
    "xor": Setting(
        XOR(), sigmoids(2, 2, 1), 1.0, 20, (12, 32),
        {"weight": (4.0, 3000), "node": (4.0, 6000), "node, shared": (4.0, 3000)},
    ),
    "parity4": Setting(
        Parity(bits=4), sigmoids(4, 8, 1), 1.0, 100, (12, 32),
        {"weight": (2.0, 14_000), "node": (4.0, 14_000), "node, shared": (2.0, 25_000)},
    ),
    "nist7x7": Setting(
        NIST7x7(), sigmoids(49, 4, 4), 0.95, 40, (12, 32),
        {"weight": (0.1, 10_000), "node": (0.25, 8000)},
    ),
    "digits": Setting(
        Digits(), MLP(widths=(64, 32, 10)), 0.85, 20, (4, 32),
        {"weight": (0.015625, 3000), "node": (0.25, 500), "node, shared": (0.0625, 1200)},
    ),
    "fashion-mnist": Setting(
        FashionMNIST(), MLP(widths=(784, 32, 10)), 0.65, 20, (2, 32),
        {"weight": (0.004, 5000), "node": (0.0625, 1000)},
    ),
}  # fmt: skip
"""On NIST7x7 a measurement has one sample, so shared signs and per-example signs are the same."""

METHODS: dict[str, Callable[[Any], AbstractAlgorithm]] = {
    "weight": lambda rate: WeightMGD(learning_rate=rate, pairs="central", delta=0.01),
    "node": lambda rate: NodePerturbation(learning_rate=rate, pairs="central", per_example=True),
    "node, shared": lambda rate: NodePerturbation(learning_rate=rate, pairs="central"),
}


class Race:
    """Parallel replicas of one cell, with different rates and seeds."""

    def __init__(self, setting: Setting, method: str, auto: bool) -> None:
        self.setting, self.auto = setting, auto
        self.task = setting.task.load()
        self.device = SimulatedDevice(network=setting.network)
        known = METHODS[method]("auto" if auto else 1.0)
        self.algorithm = known
        self.begin, self.advance, self.look = self._compiled()

    def at(self, rate: jax.Array) -> AbstractAlgorithm:
        """The algorithm with a learning rate; `auto` ignores the rate."""
        return (
            self.algorithm
            if self.auto
            else self.algorithm.model_copy(update={"learning_rate": rate})
        )

    def _compiled(self) -> tuple[Callable[..., Any], ...]:
        task, device = self.task, self.device
        problem = problem_of(device, task)

        @eqx.filter_jit
        def begin(rates: jax.Array, seeds: jax.Array) -> Carry:
            return jax.vmap(lambda r, s: start(self.at(r), device, problem, s))(rates, seeds)

        @eqx.filter_jit(donate="all-except-first")
        def advance(rates: jax.Array, carry: Carry) -> Carry:
            # all replicas share the clock, so branches that depend on it are evaluated once
            axes = jax.tree.map(lambda _: 0, carry)
            clock = jax.tree.map(lambda _: None, carry.algorithm.clock)
            axes = eqx.tree_at(lambda c: c.algorithm.clock, axes, clock)
            step = jax.vmap(
                lambda r, one: measure_once(self.at(r), device, task, one)[0],
                in_axes=(0, axes),
                out_axes=axes,
            )
            return jax.lax.fori_loop(0, self.setting.every, lambda _, c: step(rates, c), carry)

        tests = task.test_inputs[:2000], task.test_targets[:2000]

        @eqx.filter_jit
        def look(theta: jax.Array) -> tuple[jax.Array, jax.Array]:
            def one(theta: jax.Array) -> tuple[jax.Array, jax.Array]:
                y = device.network(device.space.unravel(device.space.snap(theta)), tests[0])
                return task.score(y, tests[1]), jnp.mean(task.cost(y, tests[1]))

            return jax.vmap(one)(theta)

        return begin, advance, look

    def run(self, rates: Sequence[float], seeds: range, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Train at each rate with each seed.

        Returns two arrays of shape (rates, seeds): the measurements to the target, infinite if the
        target was not reached, and whether the replica diverged.
        """
        of_each = jnp.repeat(jnp.asarray(rates, jnp.result_type(float)), len(seeds))
        carry = self.begin(of_each, jnp.tile(jnp.asarray(seeds), len(rates)))
        first = cost = np.asarray(self.look(carry.algorithm.theta)[1])
        clock = jax.tree.map(lambda leaf: leaf[0], carry.algorithm.clock)
        carry = eqx.tree_at(lambda c: c.algorithm.clock, carry, clock)
        found = np.full(len(first), np.inf)
        for after in range(self.setting.every, most + 1, self.setting.every):
            carry = self.advance(of_each, carry)
            score, cost = (np.asarray(x) for x in self.look(carry.algorithm.theta))
            found[(score >= self.setting.target) & np.isinf(found)] = after
        diverged = ~(cost <= 1.1 * first)
        shape = (len(rates), len(seeds))
        return found.reshape(shape), diverged.reshape(shape)


def expected(found: np.ndarray, most: int) -> float:
    """Total measurements divided by the number of replicas that reached the target."""
    reached = np.isfinite(found).sum()
    return float(np.minimum(found, most).sum() / reached) if reached else np.inf


def interval(auto: np.ndarray, tuned: np.ndarray, most: int) -> tuple[float, float]:
    """The 95 % bootstrap interval, over seeds, of the ratio of expected running times."""
    rows = np.random.default_rng(0).integers(len(auto), size=(2000, len(auto)))
    ratios = [expected(auto[r], most) / expected(tuned[r], most) for r in rows]
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(low), float(high)


def tuned(name: str, method: str, tried: dict[str, int | None] | None) -> Row:
    """Run a cell at its tuned rate; `tried` holds the results of an earlier search, if any."""
    setting, began = SETTINGS[name], time.perf_counter()
    (middle, most), (few, many) = setting.methods[method], setting.seeds
    race = Race(setting, method, auto=False)
    if tried is None:
        rates = [middle * factor for factor in AROUND]
        found, _ = race.run(rates, range(1000, 1000 + few), most)
        times = [expected(row, most) for row in found]
        tried = {f"{r:g}": round(t) if t < np.inf else None for r, t in zip(rates, times)}
    best = min(tried, key=lambda rate: tried[rate] or np.inf)
    return {
        "task": name,
        "method": method,
        "target": setting.target,
        "budget": most,
        "seeds": many,
        "rates tried": tried,
        "tuned rate": float(best),
        "tuned": outcome(*race.run([float(best)], range(many), most), began),
    }


def automatic(row: Row) -> Row:
    """Add the result of `learning_rate="auto"` to a cell."""
    began = time.perf_counter()
    race = Race(SETTINGS[row["task"]], row["method"], auto=True)
    return row | {"auto": outcome(*race.run([1.0], range(row["seeds"]), row["budget"]), began)}


def outcome(found: np.ndarray, diverged: np.ndarray, began: float) -> Row:
    """The measurements of each seed to the target (None if not reached) and the diverged count."""
    return {
        "measurements": [int(x) if x < np.inf else None for x in found[0]],
        "diverged": int(diverged.sum()),
        "seconds": round(time.perf_counter() - began, 1),
    }


def table(rows: list[Row]) -> str:
    """Format the rows as a Markdown table."""
    text = (
        "| task | perturbed | target | tuned rate | measurements, tuned | measurements, auto "
        "| ratio (95 %) | reached, tuned / auto | diverged, tuned / auto | seeds |\n"
        + "|---" * 10
        + "|\n"
    )
    for r in rows:
        both = [np.array(r[kind]["measurements"], float) for kind in ("tuned", "auto")]
        both = [np.where(np.isnan(found), np.inf, found) for found in both]
        time_tuned, time_auto = (expected(found, r["budget"]) for found in both)
        low, high = interval(both[1], both[0], r["budget"])
        reached = [np.isfinite(found).sum() for found in both]
        text += (
            f"| {r['task']} | {r['method']} | {r['target']:.0%} | {r['tuned rate']:g} "
            f"| {time_tuned:.0f} | {time_auto:.0f} "
            f"| {time_auto / time_tuned:.2f} ({low:.2f}–{high:.2f}) "
            f"| {reached[0]} / {reached[1]} "
            f"| {r['tuned']['diverged']} / {r['auto']['diverged']} | {r['seeds']} |\n"
        )
    return text


def main() -> None:
    """Run the missing cells."""
    again = "--again" in sys.argv
    for name in [word for word in sys.argv[1:] if word != "--again"] or SETTINGS:
        for method in SETTINGS[name].methods:
            known = next((r for r in read() if (r["task"], r["method"]) == (name, method)), {})
            row = known
            if "tuned" not in row:
                row = tuned(name, method, row.get("rates tried"))
                keep(row)
            if "auto" not in row or again:
                keep(automatic(row))


def read() -> list[Row]:
    """Read the stored rows."""
    rows: list[Row] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    return rows


def keep(row: Row) -> None:
    """Store a row and rewrite the table of the complete rows."""
    places = [(name, method) for name, setting in SETTINGS.items() for method in setting.methods]
    rows = {(r["task"], r["method"]): r for r in [*read(), row]}
    ordered = [rows[place] for place in places if place in rows]
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")
    complete = [r for r in ordered if "tuned" in r and "auto" in r]
    RESULTS.with_suffix(".md").write_text(table(complete))
    print(row["task"], row["method"], flush=True)


if __name__ == "__main__":
    main()
