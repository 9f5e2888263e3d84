"""Write a comparison, finished or not, into docs/results: benchmarks/compare/table.py DIR ...

The methods of further folders, on the same tasks and devices, follow those of the first.
"""

import json
import sys
from pathlib import Path

from dither._words import short
from dither.studies.compare import NOT_YET, so_far
from dither.studies.compare_page import best_of, rows_of
from dither.studies.comparison import read_comparison

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def cell(row: dict) -> str:
    """Measurements to the target with their interval, and how many runs came to it."""
    if row["why_not"] == NOT_YET:
        return "not run"
    if row["why_not"]:
        return "cannot"
    if not row["reached"]:
        return f"∞, 0 of {row['runs']} ({row['score_median']:.2f})"
    told = ["∞" if row[key] is None else short(row[key])
            for key in ("median", "median_low", "median_high")]  # fmt: skip
    missed = "" if row["reached"] == row["runs"] else f", {row['reached']} of {row['runs']}"
    return f"{told[0]} ({told[1]} – {told[2]}){missed}"


def main(folder: Path, *more: Path) -> None:
    """Write the rows as JSON and the table as Markdown."""
    asked = read_comparison(folder / "compare.toml")
    others = [read_comparison(one / "compare.toml") for one in more]
    found = [so_far(ask, one) for ask, one in zip((asked, *others), (folder, *more))]
    rows = [row for one in found for row in rows_of(one)]
    methods = [method for ask in (asked, *others) for method in ask.methods]
    RESULTS.mkdir(exist_ok=True)
    kept = {"asked": asked.model_dump(mode="json"), "rows": rows, "best": best_of(rows)}
    (RESULTS / f"compare-{asked.name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    for task in asked.tasks:
        lines = [f"| method | sees | {' | '.join(asked.devices)} |", "| --- " * 2
                 + "| --- " * len(asked.devices) + "|"]  # fmt: skip
        for method in methods:
            mine = [r for r in rows if (r["task"], r["method"]) == (task, method)]
            by_device = {r["device"]: cell(r) for r in mine}
            cells = [by_device.get(device, "not asked") for device in asked.devices]
            lines.append(f"| {method} | {mine[0]['access']} | {' | '.join(cells)} |")
        (RESULTS / f"compare-{task}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
