"""The floor of a plan, compared with trainings.

`floor.py` finds the best score that coarse DACs and noisy outputs allow, as `dither plan` does, and
trains the same devices by several rules at three learning rates, with nine seeds each. It writes
docs/results/plan_floor.json and plan_floor.md.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

import dither
from dither import MLP, SimulatedDevice, Until
from dither._words import number
from dither.algorithms import (
    AbstractAlgorithm,
    Backpropagation,
    NodePerturbation,
    Optimizer,
    WeightMGD,
)
from dither.devices import DAC, OutputNoise
from dither.planning.floor import floor
from dither.tasks import NIST7x7

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "plan_floor.json"
TARGET, SEEDS, FIRST = 0.95, 9, 100
BUDGET, EVERY = 200_000, 2000
TASK = NIST7x7(batch=16)
NETWORK = MLP(widths=(49, 4, 4), activation="sigmoid", output="sigmoid")
DACS = {
    "2 bits, −0.5 to 0.5": DAC(bits=2, low=-0.5, high=0.5),
    "1 bit, −1 to 1": DAC(bits=1, low=-1.0, high=1.0),
}
WEIGHTS = WeightMGD(learning_rate=1.0, delta=0.3, pairs="central")
NODES = NodePerturbation(learning_rate=1.0, delta=0.3, pairs="central", per_example=True)
EXACT = Backpropagation(learning_rate=1.0, optimizer=Optimizer(name="adam"))
RULES: dict[str, tuple[AbstractAlgorithm, tuple[float, ...]]] = {
    "weights": (WEIGHTS, (0.003, 0.03, 0.3)),
    "nodes": (NODES, (0.03, 0.1, 0.3)),
    "backpropagation": (EXACT, (0.0003, 0.001, 0.003)),
}
"""The rules with their learning rates. One bit leaves weights no small step, so that dither refuses
to perturb them."""


def rules(dac: DAC) -> list[str]:
    """The rules that can train with a DAC."""
    return [name for name in RULES if name != "weights" or dac.bits > 1]


def best(device: SimulatedDevice, rule: AbstractAlgorithm) -> list[float]:
    """The best score of each seed, at any evaluation."""
    result = dither.train(
        device, TASK, rule, key=FIRST, replicas=SEEDS,
        until=Until(measurements=BUDGET), score_every=EVERY,
    )  # fmt: skip
    return [float(rows["score"].max()) for _, rows in result.history.groupby("replica")]


def row(dac: DAC) -> dict[str, Any]:
    """The floor with a DAC, and the best scores of the trainings by rule and rate."""
    device = SimulatedDevice(
        network=NETWORK, access="gradients", imperfections=(dac, OutputNoise(sigma=0.2))
    )
    found = floor(device, TASK.load(), TARGET)
    trained = {}
    for name in rules(dac):
        rule, rates = RULES[name]
        for rate in rates:
            scores = best(device, rule.model_copy(update={"learning_rate": rate}))
            trained[f"{name} | {rate}"] = scores
            print(name, rate, max(scores), flush=True)
    return {
        "found": found.score,
        "margin": found.margin if np.isfinite(found.margin) else None,
        "excluded": found.excludes(TARGET),
        "trained": trained,
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Format the rows as a Markdown table."""
    lines = [
        "| 49-4-4 on NIST7x7, output noise 0.2 | found | margin | 95 % called infeasible "
        f"| best of the trainings, {number(BUDGET)} measurements each |",
        "|---|---|---|---|---|",
    ]
    for name, one in rows.items():
        scores = [score for seeds in one["trained"].values() for score in seeds]
        kinds = ", ".join(dict.fromkeys(key.split(" | ")[0] for key in one["trained"]))
        margin = "–" if one["margin"] is None else f"{one['margin']:.3f}"
        lines.append(
            f"| {name} | {one['found']:.3f} | {margin} | {'yes' if one['excluded'] else 'no'} "
            f"| {max(scores):.3f} ({len(scores)} by {kinds}) |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make both rows."""
    rows = {name: row(dac) for name, dac in DACS.items()}
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    RESULTS.with_suffix(".md").write_text(table(rows), "utf-8")


if __name__ == "__main__":
    main()
