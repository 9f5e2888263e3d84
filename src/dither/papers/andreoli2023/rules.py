"""Rules compared at equal measurements, with and without noise on the output."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from dither.algorithms import AbstractAlgorithm, BooleanLeastSquares, CoordinateDescent
from dither.devices import ReadoutDevice
from dither.devices.imperfections import RelativeNoise
from dither.laws import crossing
from dither.networks import PhotonicReservoir
from dither.papers.andreoli2023.runs import Curves, descent_curves
from dither.papers.andreoli2023.scale import Scale
from dither.papers.andreoli2023.scaling import reference_readouts
from dither.papers.drawing import GREY, PALETTE, picture
from dither.papers.paper import Made, Observe, Row, median, part_of

SHORT, LONG = 1.5, 15.0
"""Budgets, in N measurements."""

NEAR = 1.1
"""Times greedy's final error: when a rule counts as having come as far."""


class Rule(NamedTuple):
    """An algorithm, the weights it sets, its colour and line; whether noise is what it is for."""

    algorithm: AbstractAlgorithm
    colour: str
    line: str = "-"
    weights: str = "boolean"
    noisy: bool = False


BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, BLACK, _ = PALETTE

RULES = {
    "greedy": Rule(CoordinateDescent(selection="greedy"), BLUE),
    "uniform": Rule(CoordinateDescent(selection="uniform"), YELLOW),
    "cyclic": Rule(CoordinateDescent(selection="cyclic"), SKY),
    "amplitude-weighted": Rule(CoordinateDescent(selection="amplitude-weighted"), PINK),
    "priority": Rule(CoordinateDescent(selection="priority"), ORANGE),
    "greedy, 5 % on": Rule(CoordinateDescent(selection="greedy", on=0.05), BLUE, ":"),
    "priority, 5 % on": Rule(CoordinateDescent(selection="priority", on=0.05), ORANGE, ":"),
    "greedy, annealed": Rule(
        CoordinateDescent(selection="greedy", flips=4, temperature=0.01, cooling=3.0), YELLOW, "-."
    ),
    "greedy, ternary": Rule(CoordinateDescent(selection="greedy"), PINK, "-.", "ternary"),
    "greedy, re-measured": Rule(
        CoordinateDescent(selection="greedy", decision="remeasure"), BLUE, "--", noisy=True
    ),
    "priority, re-measured": Rule(
        CoordinateDescent(selection="priority", decision="remeasure"), ORANGE, "--", noisy=True
    ),
    "priority, 5 % on, re-measured": Rule(
        CoordinateDescent(selection="priority", decision="remeasure", on=0.05), SKY, "--",
        noisy=True,
    ),
    "seen and solved": Rule(BooleanLeastSquares(), GREEN),
    "seen and solved, ternary": Rule(BooleanLeastSquares(), BLACK, weights="ternary"),
}  # fmt: skip
"""The rules; those "seen" see the output, all others the error alone."""


def device(neurons: int, noise: float, weights: str = "boolean") -> ReadoutDevice:
    """The reservoir with noise of a size relative to the output's standard deviation."""
    imperfections = (RelativeNoise(sigma=noise),) if noise else ()
    return ReadoutDevice(
        reservoir=PhotonicReservoir(neurons=neurons),
        weights=weights,
        imperfections=imperfections,
    )


def rules(scale: Scale, observe: Observe) -> Made:
    """Error against measurements for every rule, at every noise."""
    neurons = scale.rules_neurons
    todo = [
        (noise, name)
        for noise in scale.rules_noises
        for name, rule in RULES.items()
        if (noise or not rule.noisy) and name in (scale.rules or RULES)
    ]
    found: dict[tuple[float, str], Curves] = {}
    rows = []
    for number, (noise, name) in enumerate(todo):
        what, rule = f"{name}, noise {noise:g}, N = {neurons}", RULES[name]
        curves = descent_curves(
            rule.algorithm, device(neurons, noise, rule.weights), scale.rules_seeds,
            int(LONG * neurons),
            part_of(observe, what, number / len(todo), 1 / len(todo)),
        )  # fmt: skip
        found[noise, name] = curves
        final = found[noise, "greedy"].after(LONG * neurons)
        rows += _rows(name, curves, final, {"neurons": neurons, "noise": noise})
    readouts = reference_readouts(found[scale.rules_noises[0], "greedy"])
    levels = {method: float(np.median(errors[:, 0])) for method, errors in readouts.items()}
    for method, errors in readouts.items():
        point = {"neurons": neurons, "noise": 0.0}
        rows.append(Row("rules", method, point, "training NMSE", "1",
                        *median(errors[:, 0]), len(errors)))  # fmt: skip
    return Made(rows, _draw(scale, found, levels))


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
    never = np.isinf(counts)
    return [
        row(f"training NMSE at {SHORT:g} N measurements", "1", curves.after(SHORT * neurons)),
        row(f"training NMSE at {LONG:g} N measurements", "1", curves.after(LONG * neurons)),
        row(f"NMSE at {SHORT:g} N over greedy's final", "1",
            curves.after(SHORT * neurons) / greedy),
        row(f"NMSE at {LONG:g} N over greedy's final", "1", curves.after(LONG * neurons) / greedy),
        row("measurements to criterion", "N measurements", counts / neurons, near),
        Row("rules", name, point, "runs that never meet the criterion", "share",
            float(never.mean()), runs=len(counts), criterion=near),
    ]  # fmt: skip


def _draw(scale: Scale, found: dict[tuple[float, str], Curves], levels: dict[str, float]) -> Any:
    """A column for each noise: above which mirror to test, below what else there is."""
    first = list(RULES)[:5]
    with picture(2.7 * len(scale.rules_noises) + 2.2, 5.6) as figure:
        halves: Any = figure.subfigures(2, 1)
        for half, names in zip(halves, (first, ["greedy", *list(RULES)[5:]])):
            panels = half.subplots(1, len(scale.rules_noises), sharey=True, squeeze=False)[0]
            lines: dict[str, Any] = {}
            for axes, noise in zip(panels, scale.rules_noises):
                for name in names:
                    if (noise, name) in found:
                        curves = found[noise, name]
                        (lines[name],) = axes.plot(
                            curves.measurements / scale.rules_neurons,
                            np.median(curves.errors, axis=0),
                            RULES[name].line, color=RULES[name].colour, linewidth=1.2,
                        )  # fmt: skip
                if names is not first:
                    for method in ("1-bit readout", "2-bit readout"):
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
