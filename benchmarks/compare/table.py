"""Write a finished or unfinished comparison into docs/results.

Usage: `benchmarks/compare/table.py DIR ...`. Further folders must have the same tasks. Their
methods and devices follow those of the first folder.
"""

import json
import sys
from pathlib import Path

from dither._words import short
from dither.studies.compare import NOT_YET, so_far
from dither.studies.compare_page import best_of, rows_of
from dither.studies.comparison import read_comparison

FEW = 6
"""The minimum number of runs for a 95 % interval of the median."""

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def cell(row: dict) -> str:
    """Measurements to the target with their interval, and the number of runs that reached it."""
    if row["why_not"] == NOT_YET:
        return "not run"
    if row["why_not"]:
        return "cannot"
    if not row["reached"]:
        digits = 3 if row["score_median"] > 0.95 else 2
        return f"∞, 0 of {row['runs']} ({row['score_median']:.{digits}f})"
    told = ["∞" if row[key] is None else short(row[key])
            for key in ("median", "median_low", "median_high")]  # fmt: skip
    missed = "" if row["reached"] == row["runs"] else f", {row['reached']} of {row['runs']}"
    if row["runs"] < FEW:
        return f"{told[0]}{missed}"
    return f"{told[0]} ({told[1]} – {told[2]}){missed}"


def main(*folders: Path) -> None:
    """Write the rows as JSON and the table as Markdown."""
    asks = [read_comparison(folder / "compare.toml") for folder in folders]
    asked, found = asks[0], [so_far(ask, folder) for ask, folder in zip(asks, folders)]
    rows = [row for one in found for row in rows_of(one)]
    methods = list(dict.fromkeys(method for ask in asks for method in ask.methods))
    devices = list(dict.fromkeys(device for ask in asks for device in ask.devices))
    RESULTS.mkdir(exist_ok=True)
    kept = {"asked": asked.model_dump(mode="json"), "rows": rows, "best": best_of(rows)}
    (RESULTS / f"compare-{asked.name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    for task in asked.tasks:
        lines = [f"| method | sees | {' | '.join(devices)} |", "| --- " * 2
                 + "| --- " * len(devices) + "|"]  # fmt: skip
        for method in methods:
            mine = [r for r in rows if (r["task"], r["method"]) == (task, method)]
            by_device = {r["device"]: cell(r) for r in mine}
            cells = [by_device.get(device, "not asked") for device in devices]
            lines.append(f"| {method} | {mine[0]['access']} | {' | '.join(cells)} |")
        name = asked.name if len(asked.tasks) == 1 else f"{asked.name}-{task}"
        (RESULTS / f"compare-{name}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
