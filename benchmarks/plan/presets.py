"""Predictions for the presets, compared with trainings.

`presets.py` predicts the measurements of each preset's own method as `dither plan PRESET` does. It
then trains nine further seeds and writes docs/results/plan_presets.json and plan_presets.md.
`presets.py PRESET ...` makes only the rows of these presets. The score is evaluated more often than
in the presets, so that the measurements to the target are resolved.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

import dither
from dither._words import number
from dither.devices import ReadoutDevice, SimulatedDevice
from dither.planning.methods import Method
from dither.planning.predict import Prediction
from dither.planning.tried import at_its_best, mirrors

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "plan_presets.json"
Row: TypeAlias = dict[str, Any]
SEEDS, FIRST = 9, 100
EVERY = {
    "nist7x7": 100,
    "photonic-mesh": 100,
    "mackey-glass-boolean": 40,
    "fashion-mnist": 1000,
    "fashion-mnist-cnn-node": 100,
}
"""The measurements between evaluations, by preset."""
PATIENCE = 600.0
"""The limit of computing time of a prediction, s."""


def predicted(name: str) -> Prediction:
    """The prediction for a preset's own method."""
    run = dither.read_specification(name)
    method, task = Method(run.algorithm.kind, (run.algorithm,), own=True), run.task.load()
    if isinstance(run.device, ReadoutDevice):
        return mirrors(run, run.device, task, method).prediction
    assert isinstance(run.device, SimulatedDevice)
    device = run.device.model_copy(update={"access": "gradients"})
    return at_its_best(run, device, task, method, None, PATIENCE).prediction


def measured(name: str) -> list[int | None]:
    """The measurements of each seed to the target; None if it was not reached."""
    changes = [f"seed={FIRST}", f"replicas={SEEDS}", f"score_every={EVERY[name]}"]
    result = dither.read_specification(name, changes).train()
    return [
        int(one.ledger["measurements"]) if one.stop_reason == "score" else None
        for one in result.replicas
    ]


def finite(value: float) -> float | None:
    """A number for JSON; None if it is infinite or unknown."""
    return value if np.isfinite(value) else None


def row(name: str) -> Row:
    """Predict and train one preset."""
    told = predicted(name)
    run = dither.read_specification(name)
    return {
        "method": run.algorithm.kind,
        "budget": run.until.measurements,
        "predicted": finite(told.measurements),
        "low": finite(told.low),
        "high": finite(told.high),
        "measured": measured(name),
    }


def text(count: float | None) -> str:
    """Format a count with three digits; one that was not reached is infinite."""
    return "∞" if count is None or np.isinf(count) else number(float(f"{count:.3g}"))


def table(rows: dict[str, Row]) -> str:
    """Format the rows as a Markdown table."""
    lines = [
        "| preset | method | predicted (90 %) | measured, median (range) | ratio |",
        "|---|---|---|---|---|",
    ]
    for name, one in rows.items():
        counts = sorted(np.inf if m is None else m for m in one["measured"])
        middle = float(np.median(counts))
        told = f"{text(one['predicted'])} ({text(one['low'])} – {text(one['high'])})"
        found = f"{text(middle)} ({text(counts[0])} – {text(counts[-1])})"
        ratio = "–" if one["predicted"] is None else f"{one['predicted'] / middle:.2f}"
        lines.append(f"| `{name}` | {one['method']} | {told} | {found} | {ratio} |")
    return "\n".join(lines) + "\n"


def main(names: Sequence[str]) -> None:
    """Make the rows of the named presets, or of all."""
    rows = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for name in names or EVERY:
        rows[name] = row(name)
        ordered = {one: rows[one] for one in EVERY if one in rows}
        RESULTS.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")
        RESULTS.with_suffix(".md").write_text(table(ordered), "utf-8")
        print(name, rows[name], flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
