"""Bias of the analog form's gradient estimate, by perturbation code.

`python benchmarks/analog_bias.py` writes docs/results/analog_bias.json and analog_bias.md. With
learning rate 0, the estimates of 262 144 ticks are averaged and compared with the exact gradient of
one fixed batch, for nine sets of initial weights. The last part trains the preset `analog-xor` with
three of the codes on 32 seeds. `... bias` or `... training` makes only one of the two parts.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import dither
from dither import MLP, SimulatedDevice, Task
from dither.algorithms import AnalogMGD
from dither.codes import AbstractCode, Rademacher, Sequential, Sinusoidal, Walsh
from dither.laws import bootstrapped_median
from dither.tasks import XOR, NIST7x7
from dither.training.fit import problem_of
from dither.training.fused import measure_once, start
from dither.training.loop import Carry

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "analog_bias.json"
SEEDS, TICKS, ROUND, SAMPLES = 9, 2**18, 2**12, 64
"""Sets of initial weights; ticks in all, and in one sum; samples of the NIST7x7 batch."""
TASKS: dict[str, tuple[Any, MLP]] = {
    "xor": (XOR(), MLP(widths=(2, 4, 1), activation="sigmoid", output="sigmoid")),
    "nist7x7": (NIST7x7(), MLP(widths=(49, 4, 4), activation="sigmoid", output="sigmoid")),
}
CODES: dict[str, AbstractCode] = {
    "rademacher": Rademacher(),
    "walsh": Walsh(),
    "sinusoidal, 0 to 0.5": Sinusoidal(),
    "sinusoidal, 0.25 to 0.5": Sinusoidal(low=0.25),
    "sequential": Sequential(),
}
TRAINED = {
    "rademacher": '{kind = "rademacher"}',
    "sinusoidal, 0 to 0.5": '{kind = "sinusoidal"}',
    "sinusoidal, 0.25 to 0.5": '{kind = "sinusoidal", low = 0.25}',
}
"""The codes with which `analog-xor` is trained, as values of `algorithm.code`."""


def one_batch(task: Any) -> Task:
    """A task with one batch: evenly spaced samples, as the letters are sorted."""
    data = task.load()
    every = max(1, len(data.inputs) // SAMPLES)
    inputs, targets = (np.asarray(x[::every][:SAMPLES]) for x in (data.inputs, data.targets))
    return dither.make_task(inputs, targets, inputs, targets, batch=len(inputs))


def averages(device: SimulatedDevice, task: Task, code: AbstractCode) -> Callable[[Array], Array]:
    """The function from seeds to initial weights and averaged estimates."""
    rule = AnalogMGD(
        learning_rate=0.0, delta=0.01, tau_x=2**30, tau_hp=1.6, tau_theta=0.0, code=code
    )
    problem = problem_of(device, task)

    def one(seed: Array) -> tuple[Array, Array]:
        carry = start(rule, device, problem, seed)

        def tick(_: Any, now: tuple[Carry, Array]) -> tuple[Carry, Array]:
            carry, _, info = measure_once(rule, device, task, now[0])
            return carry, now[1] + jnp.asarray(info.estimate)

        def block(carry: Carry, _: None) -> tuple[Carry, Array]:
            first = carry, jnp.zeros(device.space.size)
            after: tuple[Carry, Array] = jax.lax.fori_loop(0, ROUND, tick, first)
            return after

        sums = jax.lax.scan(block, carry, length=TICKS // ROUND)[1]
        return carry.algorithm.theta, jnp.sum(sums, axis=0) / TICKS

    return jax.jit(jax.vmap(one))


def bias() -> dict[str, Any]:
    """By task and code: |estimate − g| / |g| and the cosine of the two, for each set of weights."""
    found: dict[str, Any] = {}
    for name, (source, network) in TASKS.items():
        task, device = one_batch(source), SimulatedDevice(network=network)

        def cost(theta: Array, task: Task = task, device: SimulatedDevice = device) -> Array:
            outputs = device.network(device.space.unravel(theta), task.inputs)
            return jnp.mean(task.cost(outputs, task.targets))

        for code_name, code in CODES.items():
            thetas, means = averages(device, task, code)(jnp.arange(SEEDS))
            g = np.asarray(jax.vmap(jax.grad(cost))(thetas), float)
            G = np.asarray(means, float)
            length = np.linalg.norm(g, axis=1)
            error = np.linalg.norm(G - g, axis=1) / length
            cosine = np.sum(G * g, axis=1) / length / np.linalg.norm(G, axis=1)
            found[f"{name} | {code_name}"] = {
                "parameters": device.space.size,
                "error": error.tolist(),
                "cosine": cosine.tolist(),
            }
            print(name, code_name, np.median(error), np.median(cosine), flush=True)
    return found


def training() -> dict[str, Any]:
    """The measurements of `analog-xor` by code: the median of 32 seeds with its 95 % interval."""
    found = {}
    for name, code in TRAINED.items():
        result = dither.read_specification("analog-xor", [f"algorithm.code={code}"]).train()
        took = [
            one.ledger["measurements"] if one.stop_reason == "score" else np.inf
            for one in result.replicas
        ]
        found[name] = {
            "solved": int(np.isfinite(took).sum()),
            "seeds": len(took),
            "measurements": list(bootstrapped_median(np.array(took))),
        }
        print(name, found[name], flush=True)
    return found


def table(found: dict[str, Any]) -> str:
    """Format the biases as a Markdown table."""

    def cells(row: dict[str, Any]) -> str:
        error, cosine = row["error"], row["cosine"]
        digits = 3 if np.median(error) < 0.1 else 2
        middle, low, high = (
            f"{value:.{digits}f}" for value in (np.median(error), min(error), max(error))
        )
        return f"{middle} ({low} – {high}) | {np.median(cosine):.3f}"

    titles = {"xor": "XOR", "nist7x7": "NIST7x7"}
    sizes = {name: found[f"{name} | rademacher"]["parameters"] for name in titles}
    heads = [f"{title}, {sizes[name]} parameters: error / gradient | cosine"
             for name, title in titles.items()]  # fmt: skip
    lines = ["| code | " + " | ".join(heads) + " |", "|---|---|---|---|---|"]
    for code in CODES:
        both = " | ".join(cells(found[f"{name} | {code}"]) for name in titles)
        lines.append(f"| {code} | {both} |")
    return "\n".join(lines) + "\n"


PARTS = {"bias": bias, "training": training}


def main(names: Sequence[str]) -> None:
    """Make the named parts, or both."""
    for name in names or PARTS:
        made = PARTS[name]()
        told = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps({**told, name: made}, indent=1) + "\n", "utf-8")
        if name == "bias":
            RESULTS.with_suffix(".md").write_text(table(made), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
