"""A plan as files: its rows, its figures, and the recommended run."""

import json
from pathlib import Path

from dither._files import make_folder, write_atomically
from dither.planning.picture import costs_picture, sensitivity_picture
from dither.planning.plan import Plan
from dither.training.drawing import figure_bytes
from dither.training.folder import PLAN
from dither.training.specification import to_toml

BEST = "best.toml"


def best_toml(plan: Plan) -> str:
    """The TOML file of the recommended row for `dither train`, empty if there is none."""
    if plan.best is None:
        return ""
    there = {} if plan.real is None else {"device": plan.real, "replicas": 1}
    return to_toml(plan.best.run.model_copy(update=there))


def write_plan(plan: Plan, folder: Path) -> None:
    """Write `plan.json`, `best.toml`, and the figures as SVG and PDF.

    `plan.json` holds `rows`, `best`, the index of the recommended row, and `target`.

    Without a feasible method there is no `best.toml`; an older one is removed.
    """
    make_folder(folder)
    best = None if plan.best is None else plan.rows.index(plan.best)
    told = {"rows": [row.facts() for row in plan.rows], "best": best, "target": plan.target}
    write_atomically(folder / PLAN, (json.dumps(told, indent=1) + "\n").encode())
    if plan.best is None:
        (folder / BEST).unlink(missing_ok=True)
    else:
        write_atomically(folder / BEST, best_toml(plan).encode())
    drawn = {"costs": costs_picture(plan)}
    if plan.rows[0].point or plan.rows[0].device_seconds:
        drawn["sensitivity"] = sensitivity_picture(plan)
    for name, figure in drawn.items():
        for ending in ("svg", "pdf"):
            write_atomically(folder / f"{name}.{ending}", figure_bytes(figure, ending))
