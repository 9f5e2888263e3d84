"""The cost of training on each hardware preset, and the effect of drift on a chip.

`python benchmarks/hardware.py` writes docs/results/hardware.json, hardware.md and the figure
docs/figures/drift. `... drift` makes only the figure, and `... NAME` only the rows of one preset.
The run takes a few minutes.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from dither import Specification, WeightMGD, read_specification, train
from dither.algorithms import NodePerturbation
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices import Drift
from dither.laws import bootstrapped_median as median
from dither.training.drawing import BLUE, GREY, ORANGE, STYLE, save_figure
from dither.training.fused import FusedLoop

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "results" / "hardware.json"
PRESETS = ("ideal-chip", "photonic-mesh", "memristor-crossbar", "slm-bench")
METHODS = {"weight": WeightMGD, "node": NodePerturbation}
OTHERS = {
    ("ideal-chip", "node"): NodePerturbation(learning_rate=0.3, delta=0.01),
    ("memristor-crossbar", "weight"): WeightMGD(learning_rate=1.0, delta=0.15, pairs="central"),
}
"""The algorithm for a method that is not the default method of its preset."""

FIRST, INSTANCES = 100, 9
"""The first seed and the number of device instances.

No learning rate was tuned on these instances.
"""

SPENT = {"measurements": "", "device_seconds": "s", "joules": "J"}

OVER, AMOUNT, CHIPS, LOOKS = 60_000, 0.3, 16, 40
"""Settings of the drift run.

Its measurements, the relative drift of a gain over these measurements, the number of chips and the
number of evaluations.
"""


def rows_of(name: str) -> list[dict[str, Any]]:
    """The results and the costs of each method on a preset."""
    setting, rows = read_specification(name), []
    for method, cls in METHODS.items():
        row = {"preset": name, "method": method}
        if setting.device.access_level < cls.access_level:
            row["cannot"] = f"shows only {setting.device.access_level.name.lower()}"
        else:
            own = isinstance(setting.algorithm, cls)
            row |= measured(setting, setting.algorithm if own else OTHERS[name, method])
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def measured(setting: Specification, algorithm: AbstractAlgorithm) -> dict[str, Any]:
    """Train on a preset; return the medians over replicas with 95 % intervals."""
    result = train(
        setting.device,
        setting.task,
        algorithm,
        until=setting.until,
        key=FIRST,
        replicas=INSTANCES,
        score_every=setting.score_every,
    )
    ends = result.replicas
    row: dict[str, Any] = {
        "algorithm": algorithm.model_dump(mode="json", exclude_defaults=True),
        "aim": setting.until.score,
        "most": setting.until.measurements,
        "replicas": len(ends),
        "reached": sum(end.stop_reason == "score" for end in ends),
        "score": list(median(np.array([end.score for end in ends]))),
    }
    return row | {of: list(median(np.array([end.ledger[of] for end in ends]))) for of in SPENT}


def drift() -> dict[str, Any]:
    """The score under drifting gains, for training that continues and that stops halfway."""
    setting = read_specification("parity4")
    wander = Drift(form="random-walk", amount=AMOUNT, over=OVER)
    device = setting.device.model_copy(
        update={"imperfections": (*setting.device.imperfections, wander)}
    )
    task = setting.task.load()
    loop = FusedLoop(setting.algorithm, device, task, list(range(CHIPS)))
    still = setting.algorithm.model_copy(update={"learning_rate": 0.0})
    stopped = FusedLoop(still, device, task, list(range(CHIPS)))
    found: dict[str, list[Any]] = {"measurements": [], "wander": [], "goes on": [], "stopped": []}
    for look in range(LOOKS + 1):
        if look:
            loop.advance(OVER // LOOKS)
        if look == LOOKS // 2:
            stopped.carry = jax.tree.map(lambda leaf: leaf.copy(), loop.carry)
        elif look > LOOKS // 2:
            stopped.advance(OVER // LOOKS)
        gains = np.asarray(loop.carry.device.imperfections[-1].d)
        found["measurements"].append(look * OVER // LOOKS)
        found["wander"].append(float(np.sqrt((gains**2).mean())))
        found["goes on"].append(loop.evaluate().score.tolist())
        found["stopped"].append(stopped.evaluate().score.tolist() if look >= LOOKS // 2 else None)
    half = np.median(found["goes on"][LOOKS // 2])
    later = np.median(found["goes on"][LOOKS // 2 :], axis=1)
    facts = {
        "score_half_way": float(half),
        "least_of_it_kept_while_training": float(later.min() / half),
        "of_it_kept_at_the_end_while_training": float(later[-1] / half),
        "of_it_kept_at_the_end_if_stopped": float(np.median(found["stopped"][-1]) / half),
    }
    print(json.dumps(facts), flush=True)
    return {"preset": "parity4", "over": OVER, "amount": AMOUNT, "chips": CHIPS, **facts, **found}


def draw(found: dict[str, Any]) -> Figure:
    """Draw the drift of the gains in the upper panel and the scores in the lower one.

    Scores are shown as medians with interquartile ranges.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 4.6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
        x = np.array(found["measurements"])
        above.plot(x, found["wander"], color=GREY)
        above.set(ylabel="wander of a gain, r.m.s.", ylim=(0, None))
        above.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        for name, colour, label in (
            ("goes on", BLUE, "training goes on"),
            ("stopped", ORANGE, "training stops half-way"),
        ):
            seen = np.array([scores is not None for scores in found[name]])
            scores = np.array([scores for scores in found[name] if scores is not None])
            low, middle, high = np.percentile(scores, [25, 50, 75], axis=1)
            below.fill_between(x[seen], low, high, color=colour, alpha=0.25, linewidth=0)
            below.plot(x[seen], middle, color=colour, label=label)
        below.axhline(0.9 * found["score_half_way"], color=GREY, linestyle="--", linewidth=1,
                      label="90 % of the score half-way")  # fmt: skip
        for axes in (above, below):
            axes.axvline(x[-1] / 2, color=GREY, linewidth=0.8)
        below.set(xlabel="measurements of one chip", ylabel="test accuracy", ylim=(0.4, 1.02))
        below.xaxis.set_major_formatter(EngFormatter(sep=""))
        below.legend(loc="lower center")
        figure.suptitle(
            f"parity of 4 bits on {found['chips']} chips whose gains wander", fontsize=10
        )
    return figure


def page(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows as a Markdown table."""

    def cell(values: Sequence[float], unit: str) -> str:
        show = EngFormatter(unit=unit, places=1, sep=" ")
        middle, low, high = map(show, values)
        return f"{middle} ({low} – {high})".replace("-", "−")

    head = ["preset", "perturbing", "accuracy", "reached 95 %", "measurements", "device time",
            "energy"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [row["preset"], f"{row['method']}s"]
        if "cannot" in row:
            cells += [f"cannot: {row['cannot']}", *[""] * 4]
        else:
            middle, low, high = row["score"]
            cells.append(f"{middle:.3f} ({low:.3f} – {high:.3f})")
            cells.append(f"{row['reached']} of {row['replicas']}")
            cells += [cell(row[of], unit) for of, unit in SPENT.items()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(names: Sequence[str]) -> None:
    """Make the named parts, or all of them."""
    for name in names or (*PRESETS, "drift"):
        found = drift() if name == "drift" else rows_of(name)
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps({**known, name: found}, indent=1) + "\n")
        if name == "drift":
            save_figure(draw(found), DOCS / "figures" / "drift")
    known = json.loads(RESULTS.read_text())
    rows = [row for name in PRESETS for row in known.get(name, ())]
    RESULTS.with_suffix(".md").write_text(page(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
