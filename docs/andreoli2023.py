"""Make the tables and figures of the page on Andreoli2023 from `dither paper andreoli2023`.

`python docs/andreoli2023.py FOLDER` copies the rows and figures of the run in FOLDER into docs and
writes the tables.
"""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, FIGURES = HERE / "results", HERE / "figures"
TOLERANCE = {"final training NMSE": 0.2, "last accepted flip": 0.2}
EXPONENT_TOLERANCE = 0.15

Entry = dict[str, Any]


def pick(rows: Sequence[Entry], **wanted: Any) -> Entry:
    """The unique row with the given entries."""
    (found,) = (r for r in rows if all(r.get(key) == value for key, value in wanted.items()))
    return found


def number(value: float | None, digits: int = 3) -> str:
    """Format a number; None becomes a dash."""
    return "–" if value is None else f"{value:.{digits}g}"


def interval(row: Entry, digits: int = 3) -> str:
    """Format the measured value with its 95 % interval."""
    if row["measured"] is None:
        return "never"
    high = "never" if row["measured_high"] is None else number(row["measured_high"], digits)
    low = number(row["measured_low"], digits)
    return f"{number(row['measured'], digits)} ({low} – {high})"


def table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table."""
    rows = [heading, ["---"] * len(heading), *lines]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in rows)


def sizes(rows: Sequence[Entry], figure: str) -> list[int]:
    """The sizes N that appear in a figure."""
    return sorted({r["neurons"] for r in rows if r["figure"] == figure and "neurons" in r})


def scaling(rows: Sequence[Entry]) -> str:
    """Compare the final error and the last accepted flip with their expected values."""
    lines = []
    for neurons in sizes(rows, "curves"):
        cells = [str(neurons)]
        for quantity, tolerance in TOLERANCE.items():
            row = pick(rows, figure="curves", method="greedy", neurons=neurons, quantity=quantity)
            off = row["measured"] / row["expected"] - 1
            verdict = f"{off:+.0%}" + ("" if abs(off) <= tolerance else " **off**")
            cells += [interval(row), number(row["expected"]), verdict, number(row["law"])]
        lines.append(cells)
    half = ["expected", "off by", "law"]
    return table(["N", "final training NMSE", *half, "last accepted flip / N", *half], lines)


def constants(rows: Sequence[Entry]) -> str:
    """The table of the convergence constant."""
    mine = [r for r in rows if r["figure"] == "constant" and "neurons" in r]
    lines = [
        [
            str(r["neurons"]), interval(r), number(r["measured"] / r["neurons"]),
            number(r["law"]), number(r["law"] / r["measured"]),
        ]
        for r in mine
    ]  # fmt: skip
    return table(["N", "constant in tests", "constant / N", "law", "law / measured"], lines)


def exponents(rows: Sequence[Entry]) -> str:
    """The table of the exponents of all criteria."""
    mine = [r for r in rows if r["figure"] == "exponents" and "neurons" not in r]
    mine += [pick(rows, figure="constant", quantity="exponent of the constant against N")]
    lines = []
    for row in mine:
        name = row["criterion"] or "constant of the exponential fit"
        verdict = ""
        if row["expected"] is not None:
            off = row["measured"] - row["expected"]
            verdict = f"{off:+.2f}" + ("" if abs(off) <= EXPONENT_TOLERANCE else " **off**")
        lines.append([name, interval(row), number(row["expected"]), verdict, number(row["law"])])
    return table(["tests until", "exponent against N", "expected", "off by", "law"], lines)


def rules(rows: Sequence[Entry]) -> str:
    """The tables of the rules, one per noise level."""
    mine = [r for r in rows if r["figure"] == "rules" and not r["method"].endswith("readout")]
    quantities = list(dict.fromkeys(r["quantity"] for r in mine))
    text = ""
    for noise in sorted({r["noise"] for r in mine}):
        lines = []
        for method in dict.fromkeys(r["method"] for r in mine if r["noise"] == noise):
            cells = [pick(mine, noise=noise, method=method, quantity=q) for q in quantities]
            lines.append(
                [method, *(interval(c, 2) for c in cells[:5]), f"{cells[5]['measured']:.0%}"]
            )
        text += f"\nNoise {noise:g}:\n\n" + table(
            ["rule", "NMSE at 1.5 N", "NMSE at 15 N", "at 1.5 N / greedy's final",
             "at 15 N / greedy's final", "measurements / N to 1.1 ×", "never reached"], lines,
        )  # fmt: skip
    return text


def noise(rows: Sequence[Entry]) -> str:
    """The table of the noise sweep."""
    mine = [r for r in rows if r["figure"] == "noise"]
    lines = []
    for sigma in sorted({r["noise"] for r in mine}):
        cells = [number(sigma)]
        for method in ("keep", "remeasure", "significant"):
            clean, noisy = (
                pick(mine, noise=sigma, method=method, quantity=f"final training NMSE, {what}")
                for what in ("noiseless", "as measured")
            )
            cells += [interval(clean), number(noisy["measured"])]
            if method != "significant":
                cells.append(number(clean["law"]))
        lines.append(cells)
    heading = ["noise"]
    for method in ("keep", "remeasure"):
        heading += [f"{method}: noiseless", "with the noise", "law, noiseless"]
    return table([*heading, "significant: noiseless", "with the noise"], lines)


def readouts(rows: Sequence[Entry]) -> str:
    """Compare readouts computed from the same states with the greedy rule."""
    mine = [r for r in rows if r["figure"] == "curves" and "NMSE" in r["quantity"]]
    methods = list(dict.fromkeys(r["method"] for r in mine))
    lines = []
    for neurons in sizes(rows, "curves"):
        cells = [str(neurons)]
        for method in methods:
            train, test = (r for r in mine if (r["method"], r["neurons"]) == (method, neurons))
            cells.append(f"{number(train['measured'], 2)} / {number(test['measured'], 2)}")
        lines.append(cells)
    return table(["N, training / test NMSE", *methods], lines)


TABLES: dict[str, Callable[[Sequence[Entry]], str]] = {
    "scaling": scaling,
    "constant": constants,
    "exponents": exponents,
    "rules": rules,
    "noise": noise,
    "readouts": readouts,
}


def main() -> None:
    """Copy the rows and figures, and write the tables."""
    folder = Path(sys.argv[1])
    rows = json.loads((folder / "rows.json").read_text())["rows"]
    shutil.copy(folder / "rows.json", RESULTS / "andreoli2023.json")
    for picture in [*folder.glob("*.png"), *folder.glob("*.svg")]:
        shutil.copy(picture, FIGURES / f"andreoli2023-{picture.name}")
    text = "".join(f"<!-- --8<-- [start:{name}] -->\n{make(rows)}<!-- --8<-- [end:{name}] -->\n\n"
                   for name, make in TABLES.items())  # fmt: skip
    (RESULTS / "andreoli2023.md").write_text(text)


if __name__ == "__main__":
    main()
