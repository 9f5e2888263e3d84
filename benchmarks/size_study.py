"""Measurements to an accuracy against the size of a network, each method at its best learning rate.

`size_study.py [TASK]` adds to docs/results/size_study.json the trainings that it does not have yet,
`size_study.py laws` what can be known of a network along the exact gradient's path.

The search for a rate is the same for all: rounds of three rates, each on three seeds that no other
round has, ended when two of the three seeds of one rate are at the target. The first is spaced by
4, the second by 2 around the best of the first, and more are added only while the best has no
slower rate on either side. Nine other seeds then run at the rate found.
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
from scipy.sparse.linalg import LinearOperator, eigsh

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
from time_law import Training

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "results" / "size_study.json"

METHODS: dict[str, AbstractAlgorithm] = {
    "backpropagation": Backpropagation(learning_rate=1.0),
    "node, per example": NodePerturbation(learning_rate=1.0, pairs="central", per_example=True),
    "node": NodePerturbation(learning_rate=1.0, pairs="central"),
    "weight": WeightMGD(learning_rate=1.0, pairs="central"),
    "optimal split": LayerwiseMGD(learning_rate=1.0, pairs="central", split="optimal"),
    "layer by layer": LayerwiseMGD(learning_rate=1.0, pairs="central"),
    "weight, Walsh": WeightMGD(learning_rate=1.0, pairs="central", code=Walsh()),
}
"""Plain descent with a new batch for each update; the learning rate is set by the study."""

NETWORKS = [
    *(("digits", 64, hidden) for hidden in (6, 40, 280)),
    *(("fashion-mnist", 784, hidden) for hidden in (4, 16, 64)),
    *(("fashion-mnist", pixels, 64) for pixels in (49, 196)),
    ("digits", 64, 1940),
]
"""Task, inputs, hidden neurons, in the order in which they are run. With its pixels averaged in
blocks, Fashion-MNIST gives networks of more parameters and as many nodes."""

TARGET = {"digits": 0.85, "fashion-mnist": 0.7}
BATCH = {"digits": 64, "fashion-mnist": 100}
FIRST = {
    "backpropagation": 0.5, "weight": 0.01, "weight, Walsh": 0.01, "layer by layer": 0.01,
    "optimal split": 0.01, "node": 0.1, "node, per example": 0.25,
}  # fmt: skip
"""Rates in the middle for the first network of digits, from time_law.py; a fifth of them for that
of Fashion-MNIST. Later networks begin with the rate of the one nearest in size."""
MAJORITY = 2
"""Of the three seeds of a rate, which must have reached the target."""
SEEDS = tuple(range(9))
ROUNDS = 6
"""The most of a search."""
MOST = 60_000
"""Measurements after which a search is given up."""
PATIENCE = 4
"""Runs are stopped after so many times what the search found."""

PER_UPDATE = {"backpropagation": 1, "layer by layer": 4, "optimal split": 4}
"""Measurements in an update, 2 where nothing is said."""
FORETOLD = ("weight", "node", "node, per example")
"""Methods whose estimates are drawn along the path."""
PATHS = (0, 1, 2)
"""Seeds whose initial weights the law begins with."""
POINTS, STRIDE, DRAWS = 4, 8, 32
"""Points on a path that are looked at; steps between two scores; estimates drawn at a point."""
SLOPED, CURVED = 2048, 512
"""Training samples of which slopes and curvatures are taken."""


def load(name: str, pixels: int) -> Task:
    """The data of a task; 2 000 test images are enough to tell an accuracy."""
    if name == "digits":
        return Digits(batch=BATCH[name]).load()
    task = FashionMNIST(batch=BATCH[name]).load()
    side, block = int(pixels**0.5), 28 // int(pixels**0.5)

    def small(images: Any) -> Any:
        return images.reshape(-1, side, block, side, block).mean(axis=(2, 4)).reshape(-1, pixels)

    return replace(
        task,
        inputs=small(task.inputs),
        test_inputs=small(task.test_inputs[:2000]),
        test_targets=task.test_targets[:2000],
    )


def tuned(training: Training, middle: float, target: float) -> dict[str, Any]:
    """The best rate, what it was worth, and all that was tried for it."""
    tried: dict[float, float] = {}
    best, spacing, number = middle, 4.0, 0
    while True:
        rates = [best / spacing, best, best * spacing]
        seeds = tuple(100 + 3 * number + i for i in range(3))
        found = training.times(rates, seeds, target, MOST, MAJORITY)
        medians = np.sort(found, axis=1)[:, MAJORITY - 1]
        tried |= dict(zip(rates, medians.tolist()))
        number, spacing = number + 1, 2.0
        best = min(sorted(tried), key=lambda rate: tried[rate])
        if np.isinf(tried[best]):
            break
        if number == ROUNDS or (number >= 2 and min(tried) < best < max(tried)):
            break
    return {
        "rate": best,
        "about": _finite(tried[best]),
        "rounds": number,
        "rates tried": {f"{rate:g}": _finite(tried[rate]) for rate in sorted(tried)},
    }


def trained(method: str, network: tuple[str, int, int], task: Task, middle: float) -> dict:
    """One entry of the table: the best rate's measurements, and what was tried for it."""
    name, inputs, hidden = network
    began = time.perf_counter()
    device = SimulatedDevice(network=MLP(widths=(inputs, hidden, 10)))
    training = Training(METHODS[method], device, task)
    search = tuned(training, middle, TARGET[name])
    runs, most = [np.inf] * len(SEEDS), MOST
    if search["about"] is not None:
        most = int(PATIENCE * search["about"])
        runs = training.times([search["rate"]], SEEDS, TARGET[name], most, len(SEEDS))[0].tolist()
    return {
        "task": name, "inputs": inputs, "hidden": hidden, "method": method,
        "parameters": device.space.size, "nodes": hidden + 10, "target": TARGET[name],
        **search, "runs": [_finite(x) for x in sorted(runs)], "stopped": most,
        "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


class Local:
    """The cost of a network on many samples, its slope and its curvature."""

    def __init__(self, device: SimulatedDevice, task: Task) -> None:
        def cost(theta: jax.Array, samples: int) -> jax.Array:
            outputs = device.network(device.space.unravel(theta), task.inputs[:samples])
            return jnp.mean(task.cost(outputs, task.targets[:samples]))

        def bend(theta: jax.Array, v: jax.Array) -> jax.Array:
            return jax.jvp(jax.grad(lambda t: cost(t, CURVED)), (theta,), (v,))[1]

        def follow(theta: jax.Array, rate: jax.Array) -> tuple[jax.Array, jax.Array]:
            theta = jax.lax.fori_loop(
                0, STRIDE, lambda _, t: t - rate * jax.grad(cost)(t, SLOPED), theta
            )
            outputs = device.network(device.space.unravel(theta), task.test_inputs)
            return theta, task.score(outputs, task.test_targets)

        def look(theta: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            g = jax.grad(cost)(theta, SLOPED)

            def probe(key: jax.Array) -> jax.Array:
                s = jax.random.rademacher(key, theta.shape, theta.dtype)
                return jnp.vdot(s, bend(theta, s))

            traces = jax.lax.map(probe, jax.random.split(key, DRAWS))
            return jnp.vdot(g, g), jnp.mean(traces), jnp.vdot(g, bend(theta, g))

        self.device, self.task, self.bent = device, task, bend
        self.bend, self.look, self.follow = jax.jit(bend), jax.jit(look), jax.jit(follow)

    def path(self, seed: int, rate: float, target: float) -> tuple[float, list[jax.Array]]:
        """The flow's time from the seed's initial weights to the target, and points on its way."""
        initial = jax.random.split(jax.random.key(seed), 4)[0]  # as training starts from it
        way, score = [self.device.initial(initial)], jnp.zeros(())
        while score < target:
            theta, score = self.follow(way[-1], rate)
            way.append(theta)
        ends = np.linspace(0, len(way) - 1, POINTS).round().astype(int)
        return rate * STRIDE * (len(way) - 1), [way[i] for i in ends]

    def largest(self, theta: jax.Array) -> float:
        """lambda_max, by Lanczos' method."""

        def matvec(v: np.ndarray) -> np.ndarray:
            return np.asarray(self.bend(theta, jnp.asarray(v, theta.dtype)))

        N, start = theta.size, np.random.default_rng(0).normal(size=theta.size)
        H = LinearOperator((N, N), matvec=matvec, dtype=np.float32)
        return float(eigsh(H, k=1, which="LA", tol=0.02, v0=start, return_eigenvectors=False)[0])

    def met(self, method: str) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """GᵀHG along an algorithm's own estimates G at some weights, the mean over draws."""
        algorithm = METHODS[method].model_copy(update={"learning_rate": 0.0})
        algorithm = algorithm.for_task(self.task).for_device(self.device)
        each, device, task = PER_UPDATE.get(method, 2), self.device, self.task

        def estimate(carry: Carry, _: None) -> tuple[Carry, jax.Array]:
            def once(carry: Carry, _: None) -> tuple[Carry, jax.Array]:
                carry, _, info = measure_once(algorithm, device, task, carry)
                return carry, info.estimate

            carry, estimates = jax.lax.scan(once, carry, None, length=each)
            return carry, estimates[-1]

        def bent(theta: jax.Array, seed: jax.Array) -> jax.Array:
            carry = start(algorithm, device, seed)
            learning = algorithm.init(jax.random.key(seed), theta, device.space)
            carry = eqx.tree_at(lambda c: c.algorithm, carry, learning)
            carry, _ = jax.lax.scan(lambda c, _: (estimate(c, None)[0], None), carry, None, DRAWS)

            def one(carry: Carry, _: None) -> tuple[Carry, jax.Array]:
                carry, G = estimate(carry, None)
                return carry, jnp.vdot(G, self.bent(theta, G))

            return jnp.mean(jax.lax.scan(one, carry, None, DRAWS)[1])

        return bent


def foretold(network: tuple[str, int, int], task: Task, rate: float) -> dict[str, Any]:
    """What can be known of a network without training it by any of the methods."""
    name, inputs, hidden = network
    began = time.perf_counter()
    device = SimulatedDevice(network=MLP(widths=(inputs, hidden, 10)))
    local = Local(device, task)
    paths = [local.path(seed, rate / 8, TARGET[name]) for seed in PATHS]
    ways = [way for _, way in paths]
    row = {
        "task": name, "inputs": inputs, "hidden": hidden, "parameters": device.space.size,
        "nodes": hidden + 10, "flow": [time for time, _ in paths],
    }  # fmt: skip

    def along(look: Callable[..., Any]) -> np.ndarray:
        return np.array([[look(theta, seed) for theta in way] for seed, way in zip(PATHS, ways)])

    looks = along(lambda theta, seed: [float(x) for x in local.look(theta, jax.random.key(seed))])
    squared, trace, bent = np.moveaxis(looks, -1, 0)
    row["trace"], row["largest"] = trace.tolist(), along(lambda t, _: local.largest(t)).tolist()
    row["effective rank"] = (squared * trace / bent).tolist()
    row["met"] = {
        method: (along(jax.jit(local.met(method))) / squared).tolist()
        for method in FORETOLD
    }
    return row | {"seconds": round(time.perf_counter() - began, 1)}


def first_rate(rows: list[dict[str, Any]], method: str, network: tuple[str, int, int]) -> float:
    """The rate of the network nearest in size that has been run with the method."""
    name, inputs, hidden = network
    done = [r for r in rows if (r["task"], r["method"]) == (name, method) and r["about"]]
    if not done:
        return FIRST[method] / (1 if name == "digits" else 5)
    size = np.log((inputs + 11) * hidden)
    return min(done, key=lambda r: abs(np.log(r["parameters"]) - size))["rate"]


def _finite(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


def read() -> dict[str, list[dict[str, Any]]]:
    """What there is."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {"trainings": [], "laws": []}


def keep(part: str, row: dict[str, Any]) -> None:
    """Add a line to what there is."""
    found = read()
    found[part].append(row)
    fresh = RESULTS.with_suffix(".part")
    fresh.write_text(json.dumps(found, indent=1) + "\n")
    fresh.replace(RESULTS)
    print(json.dumps(row), flush=True)


def same(row: dict[str, Any], network: tuple[str, int, int]) -> bool:
    """Whether an entry is of this network."""
    return (row["task"], row["inputs"], row["hidden"]) == network


def main() -> None:
    """Run what is missing."""
    if sys.argv[1:] == ["laws"]:
        foretell()
        return
    for network in NETWORKS:
        if sys.argv[1:] and network[0] not in sys.argv[1:]:
            continue
        task = None
        for method in METHODS:
            rows = read()["trainings"]
            if any(same(row, network) and row["method"] == method for row in rows):
                continue
            task = task or load(*network[:2])
            keep("trainings", trained(method, network, task, first_rate(rows, method, network)))


def foretell() -> None:
    """The laws of every network that backpropagation has trained."""
    for network in NETWORKS:
        found = read()
        reference = [
            row["rate"]
            for row in found["trainings"]
            if same(row, network) and row["method"] == "backpropagation"
        ]
        if reference and not any(same(row, network) for row in found["laws"]):
            keep("laws", foretold(network, load(*network[:2]), reference[0]))


if __name__ == "__main__":
    main()
