"""Figures 5 and 6: the time between updates, and the learning rate, of weight perturbation."""

from functools import partial
from typing import Any

import numpy as np

from dither.papers.oripov2025.drawing import PALETTE, from_paper, picture
from dither.papers.oripov2025.network import network_of
from dither.papers.oripov2025.published import Published
from dither.papers.oripov2025.published import rows as all_published
from dither.papers.oripov2025.scale import Scale
from dither.papers.oripov2025.simulation import MEASURED, Scheme
from dither.papers.oripov2025.training import Curve, Goal, fashion_mnist, train
from dither.papers.paper import Made, Observe, Row

GOAL = Goal(0.8, 5_000_000)
EVERY = 100
SLOW = 1000
"""tau_theta of figure 6."""


def tau_theta(scale: Scale, observe: Observe) -> Made:
    """Iterations, and measurements, to 80 % test accuracy against tau_theta at d = 24."""
    return _sweep("5", "tau_theta", scale, observe)


def learning_rate(scale: Scale, observe: Observe) -> Made:
    """Updates, and measurements, to 80 % test accuracy against the learning rate at d = 24."""
    return _sweep("6", "learning rate", scale, observe)


def scheme_of(row: Published) -> Scheme:
    """How a training of figure 5 or 6 is made; eta of figure 5 is inferred from the data."""
    assert row.value is not None
    if row.figure == "5":
        return Scheme(method="weight", d=row.d, learning_rate=0.01, tau_theta=int(row.value))
    optimizer = "adam" if row.setting.endswith("adam") else "none"
    return Scheme(
        method="weight", d=row.d, learning_rate=row.value, tau_theta=SLOW, optimizer=optimizer
    )


def _sweep(figure: str, axis: str, scale: Scale, observe: Observe) -> Made:
    """Every published setting; where the sweeps are not run its measured values stay empty."""
    known = [row for row in all_published() if row.figure == figure]
    settings = list(dict.fromkeys((row.setting, row.value) for row in known))
    rows: list[Row] = []
    for number, (setting, value) in enumerate(settings):
        mine = [row for row in known if (row.setting, row.value) == (setting, value)]
        times = [row for row in mine if row.quantity.endswith("to 80 % test accuracy")]
        scheme = scheme_of(mine[0])
        what = f"{axis} {value:g}, {scheme.optimizer}"
        observe(what, number / len(settings))
        iterations = None
        if scale.sweeps:
            name = f"{figure}-{scheme.optimizer}-{value:g}.npz"
            file = None if scale.folder is None else scale.folder / "trainings" / name
            iterations = train(
                scheme, 0, fashion_mnist(), GOAL, max(EVERY, scheme.tau_theta), file,
                partial(_tell, observe, what, number / len(settings)),
            ).first(GOAL.accuracy)  # fmt: skip
        unit, length = ("updates", SLOW) if figure == "6" else ("iterations", 1)
        each = MEASURED * len(network_of(scheme.d).layers)
        method = "weight" if scheme.optimizer == "none" else f"weight, {scheme.optimizer}"
        for name, factor in ((unit, 1.0), ("measurements", float(each * length))):
            rows.append(
                Row(figure, method, {"d": scheme.d, axis: float(value or 0)},
                    f"{name} to 80 % test accuracy", name,
                    None if iterations is None else iterations / length * factor,
                    runs=None if iterations is None else 1,
                    published=times[0].median * factor if times else None,
                    criterion="not run" if iterations is None else "first record")
            )  # fmt: skip
    return Made(rows, _draw(rows, axis, rows[0].unit))


def _tell(observe: Observe, what: str, share: float, curve: Curve) -> None:
    observe(f"{what}, iteration {curve.iterations[-1]}", share)


def _draw(rows: list[Row], axis: str, unit: str) -> Any:
    with picture(4.6, 3.4) as figure:
        axes = figure.subplots()
        methods = dict.fromkeys(row.method for row in rows)
        for method, colour, marker in zip(methods, PALETTE, "os"):
            mine = [row for row in rows if row.method == method and row.unit == unit]
            from_paper(axes, axis, mine, colour, marker, f"{method}, published")
            run = [row for row in mine if row.measured is not None and np.isfinite(row.measured)]
            if run:
                axes.plot([r.point[axis] for r in run], [r.measured or 0.0 for r in run],
                          marker, markersize=4.5, color=colour,
                          label=f"{method}, measured")  # fmt: skip
        not_run = " (simulation not run)" if all(row.measured is None for row in rows) else ""
        axes.set(xscale="log", yscale="log", xlabel=axis, title=f"d = 24{not_run}",
                 ylabel=f"{unit} to 80 % test accuracy")  # fmt: skip
        axes.legend()
    return figure
