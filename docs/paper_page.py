"""Make the tables and figures of a paper's page from runs of `dither paper NAME`.

`python docs/paper_page.py NAME FOLDER ...` copies the figures and rows of one or more folders into
docs and writes a table for each figure. The rows are in docs/results/NAME.json, the tables in
NAME.md.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, FIGURES = HERE / "results", HERE / "figures"
MANY = 3
"""With at least this many columns of iterations, the columns of measurements are dropped."""
FIELDS = ("published", "published_sd", "expected", "law", "measured")
KNOWN = {"figure", "method", "quantity", "unit", "measured_low", "measured_high", "runs",
         "criterion", *FIELDS}  # fmt: skip

Entry = dict[str, Any]


def number(value: float | None) -> str:
    """Format a number with three significant digits and grouped thousands."""
    if value is None:
        return ""
    if 1000 <= abs(value) < 1e7:
        return f"{float(f'{value:.3g}'):,.0f}".replace(",", " ")
    return f"{value:.3g}"


def setting(value: float | None) -> str:
    """Format the value of a point; integers keep all digits."""
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else number(value)


def interval(row: Entry) -> str:
    """Format the measured value with its interval, or the reason why there is none."""
    if row["criterion"] == "not run":
        return "not run"
    if row["runs"] is None:
        return number(row["measured"])
    middle = "never" if row["measured"] is None else number(row["measured"])
    if row["measured_low"] is None and row["measured_high"] is None:
        return middle
    high = "never" if row["measured_high"] is None else number(row["measured_high"])
    return f"{middle} ({number(row['measured_low'])} – {high})"


def table(rows: Sequence[Entry]) -> str:
    """Format a table with one line per method and point, and one column per quantity."""
    points = list(dict.fromkeys(key for row in rows for key in row if key not in KNOWN))
    quantities = list(dict.fromkeys(row["quantity"] for row in rows))
    beside = {
        quantity: [
            field
            for field in ("published", "expected", "law")
            if any(row[field] is not None for row in rows if row["quantity"] == quantity)
        ]
        for quantity in quantities
    }
    heading = ["method", *points]
    for quantity in quantities:
        unit = next(row["unit"] for row in rows if row["quantity"] == quantity)
        says = unit == "1" or quantity.startswith(unit)
        heading += [quantity if says else f"{quantity} ({unit})", *beside[quantity]]
    cells: dict[tuple[Any, ...], dict[str, Entry]] = {}
    for row in rows:
        where = (row["method"], *(row.get(point) for point in points))
        cells.setdefault(where, {})[row["quantity"]] = row
    lines = [heading, ["---"] * len(heading)]
    for where, found in cells.items():
        if not any(row[field] is not None for row in found.values() for field in FIELDS):
            continue
        line = [where[0], *(setting(value) for value in where[1:])]
        for quantity in quantities:
            row = found.get(quantity)
            line.append("" if row is None else interval(row))
            for field in beside[quantity]:
                text = "" if row is None else number(row[field])
                if field == "published" and row is not None and row["published_sd"] is not None:
                    text += f" ± {number(row['published_sd'])}"
                line.append(text)
        lines.append(line)
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def shown(rows: Sequence[Entry]) -> list[Entry]:
    """Drop rows in measurements if they only repeat many columns of iterations."""
    iterations = {row["quantity"] for row in rows if row["unit"] == "iterations"}
    if len(iterations) < MANY:
        return list(rows)
    return [row for row in rows if row["unit"] != "measurements"]


def main() -> None:
    """Copy the figures, and write the rows and the tables."""
    name, *folders = sys.argv[1:]
    rows: list[Entry] = []
    for folder in map(Path, folders):
        rows += json.loads((folder / "rows.json").read_text())["rows"]
        for picture in [*folder.glob("*.png"), *folder.glob("*.svg")]:
            shutil.copy(picture, FIGURES / f"{name}-{picture.name}")
    (RESULTS / f"{name}.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    figures = dict.fromkeys(row["figure"] for row in rows)
    text = "".join(
        f"<!-- --8<-- [start:figure-{figure}] -->\n"
        f"{table(shown([row for row in rows if row['figure'] == figure]))}"
        f"<!-- --8<-- [end:figure-{figure}] -->\n\n"
        for figure in figures
    )
    (RESULTS / f"{name}.md").write_text(text)


if __name__ == "__main__":
    main()
