"""Whitened node perturbation on the convolutional network of Oripov2025.

`whitened.py` runs the seeds that are missing from docs/results/whitened.json one after another,
then writes the tables. All seeds use the settings of the preset, which trains the dense layers; the
noisy chip is also run at half the rate. The rival is learned feedback, which sees the same and
trains all layers; its rate was tuned by which/feedback.py. The evaluations of the test set are not
counted.

The second table compares the layers at initial weights: their parts of the noise of an estimate, E,
and of the exact step. `ceiling` is the accuracy of the dense layers trained by backpropagation
behind the same convolutions: what no rule for these layers can pass by much.
"""

import json
import math
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import dither
from dither import CNN, MLP, SimulatedDevice, Until
from dither.algorithms import Backpropagation, nodes
from dither.networks import AbstractNetwork
from dither.tasks import FashionMNIST, Task

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "whitened.json"
PRESET = "fashion-mnist-cnn-node"
FIRST, FEW, MANY = 10, 9, 18
"""The first reported seed, and the numbers of reported seeds of slow and of fast rules."""
TARGETS = (0.8, 0.85)
NOISY = '[{kind = "dac", bits = 8, low = -1.0, high = 1.0}, {kind = "output-noise", sigma = 0.01}]'
CHIPS = {"ideal": "[]", "8-bit DACs, output noise 0.01": NOISY}


class Row(NamedTuple):
    """A rule on a chip; `every` is the number of measurements between evaluations."""

    rule: str
    chip: str
    rate: float
    every: int
    budget: int
    seeds: int

    def run(self, seed: int) -> list[tuple[int, float]]:
        """The measurements and the test accuracy at each evaluation."""
        rule = ["algorithm={kind = 'learned-feedback', whitening = 0.1, optimizer = 'adam'}"]
        changes = [
            *(rule if self.rule == "learned-feedback" else []),
            f"algorithm.learning_rate={self.rate}", f"device.imperfections={CHIPS[self.chip]}",
            f"seed={seed}", f"score_every={self.every}", f"until.measurements={self.budget}",
            "until.score=0.999",
        ]  # fmt: skip
        history = dither.read_specification(PRESET, changes).train().history
        return [(int(m), round(float(s), 4)) for m, s in zip(history.measurements, history.score)]


IDEAL, ROUGH = CHIPS
ROWS = [
    Row("whitened-node-perturbation", IDEAL, 0.2, 300, 3000, MANY),
    Row("whitened-node-perturbation", ROUGH, 0.2, 300, 3000, MANY),
    Row("whitened-node-perturbation", ROUGH, 0.1, 300, 3000, MANY),
    Row("learned-feedback", IDEAL, 0.009, 25, 400, FEW),
    Row("learned-feedback", ROUGH, 0.009, 25, 400, FEW),
]
RATES, EPOCHS, TUNED = (0.001, 0.003, 0.01, 0.03), 40, 1000
"""Of backpropagation: the rates tried on the tuning seed, and the passes over the training set."""
SAMPLES, DAMPING = 1000, 0.1
"""The samples over which the parts of the layers are averaged, and the damping of the step."""


def behind_convolutions(network: CNN, task: Task, seed: int) -> Task:
    """The task whose inputs are those of the first dense layer at the initial weights."""
    parameters, seen = network.init(jax.random.key(seed)), {}

    @jax.jit
    def features(images: Any) -> Any:
        def tap(site: str, value: Any) -> Any:
            seen[site] = value
            return value

        network(parameters, images, tap)
        return seen["dense0/x"]

    def through(images: Any) -> Any:
        blocks = np.asarray(images).reshape(-1, 5000, *network.input_shape)
        return np.concatenate([features(block) for block in blocks])

    return dither.make_task(
        through(task.inputs), task.targets, through(task.test_inputs), task.test_targets,
        cost="cross_entropy", batch=100,
    )  # fmt: skip


def ceiling(network: CNN, task: Task, rate: float, seed: int) -> float:
    """The test accuracy of the dense layers after backpropagation, Adam and a cosine decay."""
    inner = behind_convolutions(network, task, seed)
    steps = EPOCHS * len(inner.inputs) // 100
    decay = {"name": "cosine_decay_schedule", "settings": {"decay_steps": steps}}
    dense = MLP(widths=(inner.inputs.shape[1], *network.dense, network.classes))
    result = dither.train(
        SimulatedDevice(network=dense, access="gradients"), inner,
        Backpropagation(learning_rate=rate, optimizer={"name": "adam", "schedule": decay}),
        until=Until(measurements=steps), score_every=steps, key=seed,
    )  # fmt: skip
    return round(float(result.score), 4)


def parts(network: AbstractNetwork, task: Task, seed: int) -> dict[str, tuple[float, float]]:
    """By layer: `mean_b |e_b|²`, and `mean_b |x̄_b (A + damping ⟨diag A⟩)⁻¹ G|²` with the exact G.

    The output layer, which is not perturbed, is left out.
    """
    parameters = network.init(jax.random.key(seed))
    images = jnp.asarray(task.inputs[:SAMPLES]).reshape(-1, *network.input_shape)
    seen: dict[str, Any] = {}

    def costs(added: dict[str, Any]) -> Any:
        def tap(site: str, value: Any) -> Any:
            seen[site] = jax.lax.stop_gradient(value)
            return value + added.get(site, 0.0)

        return jnp.sum(task.cost(network(parameters, images, tap), task.targets[:SAMPLES]))

    sites = {f"{one.name}/z": jnp.zeros((SAMPLES, *one.nodes)) for one in network.layers}
    errors = jax.grad(costs)(sites)
    costs({})
    found = {}
    for layer in network.layers[:-1]:
        e = errors[f"{layer.name}/z"]
        rows = nodes.with_one(nodes.rows(layer, seen[f"{layer.name}/x"]))
        A = nodes.moment(layer, seen[f"{layer.name}/x"])
        step = nodes.fitted(A, DAMPING, rows.T @ e.reshape(len(rows), -1) / SAMPLES)
        squares = float(jnp.sum(e**2)), float(jnp.sum((rows @ step) ** 2))
        found[layer.name] = squares[0] / SAMPLES, squares[1] / SAMPLES
    return found


def shares(each: list[dict[str, tuple[float, float]]], layers: list[str]) -> list[list[float]]:
    """The percentages of some layers in the two sums, by seed."""
    return [
        [100 * sum(seed[layer][of] for layer in layers) / sum(one[of] for one in seed.values())
         for seed in each]
        for of in (0, 1)
    ]  # fmt: skip


def measurements_to(run: list[tuple[int, float]], target: float) -> float:
    """The measurements to a target, infinite if it was not reached."""
    return next((m for m, s in run if s >= target), math.inf)


def across(values: list[float], digits: str = ".0f") -> str:
    """Format the median and the range over seeds."""
    return f"{np.median(values):{digits}} ({min(values):{digits}} – {max(values):{digits}})"


def write_tables(found: dict[str, Any]) -> None:
    """Write the Markdown tables."""
    lines = [
        "| rule | chip | rate | to 80 %: median | worst | to 85 %: median | worst | accuracy, % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        mine = found[f"{row.chip} | {row.rate}"]
        cells = []
        for target in TARGETS:
            counts = [measurements_to(run, target) for run in mine]
            reached = f"{np.isfinite(counts).sum()} of {len(counts)}"
            ends = [f"> {row.budget}" if math.isinf(count) else f"{count:.0f}"
                    for count in (float(np.median(counts)), max(counts))]  # fmt: skip
            cells += [f"{ends[0]}, reached by {reached}", ends[1]]
        last = across([100 * run[-1][1] for run in mine], ".1f")
        cells = [f"`{row.rule}`", row.chip, str(row.rate), *cells, f"{last} after {row.budget}"]
        lines.append(f"| {' | '.join(cells)} |")
    RESULTS.with_suffix(".md").write_text("\n".join(lines) + "\n", "utf-8")
    lines = ["| layers | part of E, % | part of the exact step, % |", "|---|---|---|"]
    names = list(found["parts"][0])
    for kind in ("conv", "dense"):
        mine = [name for name in names if name.startswith(kind)]
        noise, step = shares(found["parts"], mine)
        lines.append(f"| `{mine[0]}` to `{mine[-1]}` | {across(noise)} | {across(step)} |")
    RESULTS.with_name("whitened_parts.md").write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    """Run the missing seeds and save the results after each."""
    warnings.filterwarnings("ignore")
    found = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    device, task = dither.read_specification(PRESET).device, FashionMNIST(batch=100).load()
    assert isinstance(device, SimulatedDevice)
    found["parts"] = [parts(device.network, task, FIRST + seed) for seed in range(MANY)]
    if "ceiling" not in found:
        tried = {rate: ceiling(device.network, task, rate, TUNED) for rate in RATES}
        rate = max(tried, key=lambda one: tried[one])
        scores = [ceiling(device.network, task, rate, FIRST + seed) for seed in range(FEW)]
        found["ceiling"] = {"tried": tried, "rate": rate, "scores": scores}
        RESULTS.write_text(json.dumps(found) + "\n", "utf-8")
        print(found["ceiling"], flush=True)
    for row in ROWS:
        mine = found.setdefault(f"{row.chip} | {row.rate}", [])
        while len(mine) < row.seeds:
            began = time.process_time()
            mine.append(row.run(FIRST + len(mine)))
            RESULTS.write_text(json.dumps(found) + "\n", "utf-8")
            print(row, mine[-1][-1], f"{time.process_time() - began:.0f} s", flush=True)
    write_tables(found)


if __name__ == "__main__":
    main()
