"""Weight and node perturbation for recurrent networks: effect of batch size and sequence length.

`python benchmarks/recurrent.py` writes docs/results/recurrent.json. `... kappa` or `... time` makes
only one of the two tables. The run takes a few minutes on two cores.
"""

import json
import math
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dither import SimulatedDevice
from dither.laws import bootstrapped_median
from dither.networks import RNN, StateSpace
from dither.papers.mccaughan2023.figures import solved
from dither.papers.scale import Scale
from dither.studies import Study
from dither.tasks import DelayedRecall

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "recurrent.json"
STEPS, BATCHES, DRAWS = (4, 16, 64), (8, 64), 300
LENGTHS, RATES, SEEDS, MOST, EVERY = (4, 16), (0.003, 0.01, 0.03, 0.1), 9, 5000, 50
ENOUGH = 0.9
NODES = ("node, shared", "node, per example")


def networks(steps: int) -> dict[str, RNN | StateSpace]:
    """Two networks with about the same number of parameters."""
    return {
        "rnn": RNN(steps=steps, features=4, neurons=16, classes=4),
        "state-space": StateSpace(steps=steps, features=4, states=8, hidden=12, classes=4),
    }


def variances(network: RNN | StateSpace, batch: int, seed: int = 0) -> dict[str, float]:
    """kappa = E|G − g|²/|g|² of a single estimate on one batch.

    kappa is evaluated at the initial weights, without noise and for small delta. For weight
    perturbation kappa = P − 1. For node perturbation, kappa is estimated with random signs s at
    every node and time step and with the exact errors e: G is the pullback of `s_b (s_b · e_b)`.
    """
    task = DelayedRecall(steps=network.steps, samples=batch, batch=batch, seed=seed).load()
    device = SimulatedDevice(network=network)
    theta = device.space.ravel(network.init(jax.random.key(seed)))
    found = {
        "parameters": theta.size,
        "nodes": sum(math.prod(layer.nodes) for layer in network.layers),
        "weight": theta.size - 1.0,
    }
    shared, own = jax.jit(lambda theta: node_draws(network, device, task, theta))(theta)
    for name, draws in zip(NODES, (shared, own)):
        found[name] = float(jnp.mean(draws))
    return found


def node_draws(network, device, task, theta):
    """Samples of `|G − g|²/|g|²`, for signs shared by the batch and for signs per example."""
    batch, seen = task.batch, {}

    def costs(added):
        def tap(site, value):
            seen[site] = value
            return value + added[site] if site in added else value

        outputs = network(device.space.unravel(theta), task.inputs, tap)
        x = {layer.name: seen[f"{layer.name}/x"] for layer in network.layers}
        return jnp.sum(task.cost(outputs, task.targets)), x

    zeros = {f"{one.name}/z": jnp.zeros((batch, *one.nodes)) for one in network.layers}
    errors, x = jax.grad(costs, has_aux=True)(zeros)

    def z(theta):
        own = device.space.unravel(theta)
        return {f"{one.name}/z": one(own, x[one.name]) for one in network.layers}

    pull_back = jax.vjp(z, theta)[1]
    (g,) = pull_back(errors)

    def off(key, examples):
        signs = {
            site: jax.random.rademacher(jax.random.fold_in(key, n), (examples, *e.shape[1:]), float)
            for n, (site, e) in enumerate(errors.items())
        }
        u = sum(jnp.sum((signs[s] * e).reshape(batch, -1), axis=1) for s, e in errors.items())
        s_u = {s: signs[s] * u.reshape(-1, *(1 for _ in e.shape[1:])) for s, e in errors.items()}
        return jnp.sum((pull_back(s_u)[0] - g) ** 2) / jnp.sum(g**2)

    keys = jax.random.split(jax.random.key(1), DRAWS)
    return [jax.lax.map(lambda key, n=n: off(key, n), keys) for n in (1, batch)]


def kappa() -> list[dict[str, object]]:
    """kappa for each batch size and sequence length: the median over nine initialisations."""
    rows = []
    for kind in ("rnn", "state-space"):
        for steps, batch in product(STEPS, BATCHES):
            each = [variances(networks(steps)[kind], batch, seed) for seed in range(SEEDS)]
            found = {of: float(np.median([one[of] for one in each])) for of in each[0]}
            found |= {f"{of}, by seed": [one[of] for one in each] for of in NODES}
            rows.append({"network": kind, "steps": steps, "batch": batch, **found})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def time_to_accuracy() -> list[dict[str, object]]:
    """Measurements to 90 % accuracy on delayed recall.

    The learning rates of all methods are tuned by the same procedure. The results are for new
    seeds.
    """
    rows = []
    common = {"learning_rate": 1.0, "delta": 0.01, "pairs": "central"}
    methods = {
        "weight": {"kind": "weight-mgd", **common},
        "node, shared": {"kind": "node-perturbation", **common},
        "node, per example": {"kind": "node-perturbation", **common, "per_example": True},
    }
    for steps in LENGTHS:
        network = {"kind": "rnn", "steps": steps, "features": 4, "neurons": 8, "classes": 4}
        study = Study(
            base={
                "task": {"kind": "delayed-recall", "steps": steps, "batch": 16, "tests": 250},
                "device": {"kind": "simulated", "network": network, "access": "sites"},
                "until": {"score": ENOUGH, "confirm": 10, "measurements": MOST},
                "score_every": EVERY,
            },
            axes={"method": {"label": list(methods), "algorithm": list(methods.values())}},
            search={"values": RATES, "share": 0.75, "seeds": SEEDS},
            seeds=len(RATES) * SEEDS,
        )
        for found in solved(Scale("mccaughan2023", {}), study, lambda *_: None):
            took, device = found.measurements, found.cell.specification.device
            middle, low, high = (None if np.isinf(v) else v for v in bootstrapped_median(took))
            rows.append(
                {"steps": steps, "method": found.cell.labels["method"],
                 "parameters": device.space.size, "learning_rate": found.rate,
                 "solved": int(np.isfinite(took).sum()), "seeds": len(took), "most": MOST,
                 "measurements": middle, "low": low, "high": high}
            )  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    return rows


def kappa_page(rows: list[dict[str, Any]]) -> str:
    """Format kappa as a Markdown table."""

    def number(value: float) -> str:
        return f"{value:,.0f}".replace(",", " ") if value >= 10 else f"{value:.1f}"

    head = ["network", "T", "weights", *(f"neurons, {signs}, batch 8 / 64"
                                         for signs in ("shared", "per example"))]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for small, large in zip(rows[::2], rows[1::2]):
        cells = [str(small["network"]), str(small["steps"]), number(small["weight"])]
        for signs in NODES:
            cells.append(f"{number(small[signs])} / {number(large[signs])}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


TABLES = {"kappa": kappa, "time": time_to_accuracy}


def main(names: Sequence[str]) -> None:
    """Make the named tables, or both."""
    for name in names or TABLES:
        rows = TABLES[name]()
        table = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps({**table, name: rows}, indent=1) + "\n")
        if name == "kappa":
            RESULTS.with_suffix(".md").write_text(kappa_page(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
