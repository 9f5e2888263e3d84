"""Rules compared at equal measurements, with and without noise on the output."""

from typing import Any

import numpy as np
from jaxtyping import Float

from dither.laws import crossing
from dither.papers.andreoli2023.runs import Curves, descents
from dither.papers.drawing import GREY, PALETTE, picture
from dither.papers.paper import Made, Observe, Row, median, part_of, table
from dither.papers.scale import Scale, device_of

SHORT, LONG = 1.5, 15.0
"""Budgets, in N measurements."""

NEAR = 1.1
"""The multiple of greedy's final error that counts as equally good."""

LINES: dict[str, tuple[str, str]] = {
    str(row["rule"]): (PALETTE[int(row["colour"])], str(row["line"]))
    for _, row in table("andreoli2023", "rules.csv").iterrows()
}
"""The style of each rule; those marked "seen" use the output, all others only the error."""

FIRST = 5
"""The number of rules that differ in the choice of mirrors, which are drawn in the upper panels."""


def rules(scale: Scale, observe: Observe) -> Made:
    """Error against measurements for every rule, at every noise."""
    study = scale.study("rules")
    # without noise a repeated measurement is useless
    cells = [c for c in study.cells if c.labels["noise"] or "re-measured" not in c.labels["rule"]]
    found: dict[tuple[float, str], Curves] = {}
    rows = []
    for number, cell in enumerate(cells):
        noise, name = cell.labels["noise"], cell.labels["rule"]
        neurons = device_of(cell).space.size
        what = f"{name}, noise {noise:g}, N = {neurons}"
        share = part_of(observe, what, number / len(cells), 1 / len(cells))
        curves = found[noise, name] = descents(cell, study.seed_list, share)
        final = found[noise, "greedy"].after(LONG * neurons)
        rows += _rows(name, curves, final, {"neurons": neurons, "noise": noise})
    noises = [float(noise) for noise in study.labels("noise")]
    readouts = found[noises[0], "greedy"].readouts()
    for method, errors in readouts.items():
        point = {"neurons": neurons, "noise": 0.0}
        rows.append(Row("rules", method, point, "training NMSE", "1",
                        *median(errors[:, 0]), len(errors)))  # fmt: skip
    levels = {method: float(np.median(errors[:, 0])) for method, errors in readouts.items()}
    return Made(rows, _draw(noises, neurons, found, levels))


def _rows(
    name: str, curves: Curves, greedy: Float[np.ndarray, " runs"], point: dict[str, Any]
) -> list[Row]:
    neurons = point["neurons"]
    counts = np.array(
        [crossing(curves.measurements, e, NEAR * f) for e, f in zip(curves.errors, greedy)]
    )

    def row(quantity: str, unit: str, values: Any, criterion: str | None = None) -> Row:
        return Row("rules", name, point, quantity, unit, *median(np.asarray(values, float)),
                   len(counts), criterion=criterion)  # fmt: skip

    near = f"within {NEAR:g}x of greedy's final error on the same reservoir"
    short, long = curves.after(SHORT * neurons), curves.after(LONG * neurons)
    return [
        row(f"training NMSE at {SHORT:g} N measurements", "1", short),
        row(f"training NMSE at {LONG:g} N measurements", "1", long),
        row(f"NMSE at {SHORT:g} N over greedy's final", "1", short / greedy),
        row(f"NMSE at {LONG:g} N over greedy's final", "1", long / greedy),
        row("measurements to criterion", "N measurements", counts / neurons, near),
        Row("rules", name, point, "runs that never meet the criterion", "share",
            float(np.isinf(counts).mean()), runs=len(counts), criterion=near),
    ]  # fmt: skip


def _draw(
    noises: list[float],
    neurons: int,
    found: dict[tuple[float, str], Curves],
    levels: dict[str, float],
) -> Any:
    """One column per noise level: selection rules above, other rules below."""
    first = list(LINES)[:FIRST]
    with picture(2.7 * len(noises) + 2.2, 5.6) as figure:
        halves: Any = figure.subfigures(2, 1)
        for half, names in zip(halves, (first, ["greedy", *list(LINES)[FIRST:]])):
            panels = half.subplots(1, len(noises), sharey=True, squeeze=False)[0]
            lines: dict[str, Any] = {}
            for axes, noise in zip(panels, noises):
                for name in names:
                    if (noise, name) in found:
                        curves, (colour, line) = found[noise, name], LINES[name]
                        (lines[name],) = axes.plot(
                            curves.measurements / neurons, np.median(curves.errors, axis=0),
                            line, color=colour, linewidth=1.2,
                        )  # fmt: skip
                for method in ("1-bit readout", "2-bit readout") if names is not first else ():
                    axes.axhline(levels[method], color=GREY, linewidth=0.7)
                    axes.annotate(
                        method, (1, levels[method]), ha="right", va="bottom", fontsize=6,
                        color=GREY, xycoords=("axes fraction", "data"),
                    )  # fmt: skip
                axes.set(xscale="log", yscale="log", xlim=(0.1, LONG))
                axes.set_title(f"noise {noise:g}" if names is first else "", fontsize=9)
                axes.set_xlabel("measurements / N")
            panels[0].set_ylabel("training NMSE, noiseless")
            half.legend(lines.values(), lines.keys(), loc="outside right center", fontsize=7)
    return figure
