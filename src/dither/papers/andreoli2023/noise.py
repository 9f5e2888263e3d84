"""The noise sweep: what noise on the output costs, with each way to decide."""

from typing import Any

import numpy as np
from jaxtyping import Float

from dither.algorithms import CoordinateDescent
from dither.papers.andreoli2023.rules import device
from dither.papers.andreoli2023.runs import descent_curves, predicted
from dither.papers.andreoli2023.scale import Scale
from dither.papers.drawing import PALETTE, laws, picture, points
from dither.papers.paper import Made, Observe, Row, mean, part_of

BUDGET = 20
"""In N measurements."""

DECISIONS = {"keep": 1, "remeasure": 2, "significant": None}
"""Ways to decide with their measurements a test; as many as it takes for the last."""

EXPECTED = {("keep", 0.2): 0.066, ("remeasure", 0.2): 0.036}
"""Final NMSE at N = 400 in an earlier simulation, which did not say whether it has the noise."""


def with_noise(errors: Float[np.ndarray, " runs"], noise: float) -> Float[np.ndarray, " runs"]:
    """What is measured, on average, of readouts whose noiseless NMSE is known.

    `NMSE = 2 (1 − c)`, and noise of standard deviation `noise` · std(y) makes `c / √(1 + noise²)`
    of the correlation c.
    """
    return np.asarray(2 - (2 - errors) / np.sqrt(1 + noise**2))


def noise(scale: Scale, observe: Observe) -> Made:
    """Final error against the relative noise of the output, at equal measurements."""
    neurons, rows, number = scale.noise_neurons, [], 0
    total = len(scale.noise_levels) * len(DECISIONS)
    for sigma in scale.noise_levels:
        for decision, each in DECISIONS.items():
            what = f"{decision}, noise {sigma:g}, N = {neurons}"
            curves = descent_curves(
                CoordinateDescent(selection="greedy", decision=decision),
                device(neurons, sigma), scale.noise_seeds, BUDGET * neurons,
                part_of(observe, what, number / total, 1 / total),
            )  # fmt: skip
            number += 1
            law = None
            if each is not None:
                found = predicted(curves, BUDGET * neurons // each, sigma, decision)
                law = found.errors[:, -1]
            final = curves.errors[:, -1]
            for quantity, of in (("noiseless", lambda e: e),
                                 ("as measured", lambda e, s=sigma: with_noise(e, s))):  # fmt: skip
                rows.append(
                    Row("noise", decision, {"neurons": neurons, "noise": sigma},
                        f"final training NMSE, {quantity}", "1", *mean(of(final)), len(final),
                        law=None if law is None else float(of(law).mean()),
                        expected=EXPECTED.get((decision, sigma)) if neurons == 400 else None)
                )  # fmt: skip
    return Made(rows, _draw(rows))


def _draw(rows: list[Row]) -> Any:
    with picture(5.2, 3.6) as figure:
        axes = figure.subplots()
        noiseless = [row for row in rows if row.quantity.endswith("noiseless")]
        for decision, colour, marker in zip(DECISIONS, PALETTE, "osD"):
            mine = [row for row in noiseless if row.method == decision]
            x = [row.point["noise"] for row in mine]
            points(axes, "noise", mine, colour, f"{marker}-", decision)
            if mine[0].law is not None:
                axes.plot(x, laws(mine), "--", color=colour, linewidth=1,
                          label=f"law, {decision}")  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="noise / standard deviation of the output",
                 ylabel=f"training NMSE, noiseless, after {BUDGET} N")  # fmt: skip
        axes.legend(loc="upper left")
    return figure
