"""The perturbation codes and the update periods compared."""

from collections.abc import Sequence
from typing import Any

from dither.laws import growth
from dither.papers.drawing import PALETTE, picture, points
from dither.papers.mccaughan2023.rows import TO_SOLVE, rows
from dither.papers.mccaughan2023.runs import PROBLEMS, Cell, method, tuned
from dither.papers.mccaughan2023.scale import Scale
from dither.papers.paper import Made, Observe, Row, part_of

PERIODS = "nist7x7"
"""The problem on which update periods are compared."""


def codes(scale: Scale, observe: Observe) -> Made:
    """Measurements to solve each problem with each code, both forms."""
    todo = [
        (name, form, code)
        for name, _ in scale.budgets
        for form in scale.forms
        for code in scale.codes
    ]
    found: list[Row] = []
    for number, (name, form, code) in enumerate(todo):
        problem, what = PROBLEMS[name], f"{form}, {code}"
        share = part_of(observe, f"{what}, {name}", number / len(todo), 1 / len(todo))
        (one,) = tuned(
            problem, Cell(method(form, code), problem.device()), (0.0,), scale.rates,
            scale.tuning_seeds, scale.budget(name), share,
        )  # fmt: skip
        found += rows("codes", what, problem, {}, one)
    return Made(found, _draw_codes(found, scale))


def _draw_codes(found: Sequence[Row], scale: Scale) -> Any:
    problems = [name for name, _ in scale.budgets]
    with picture(7.4, 3.2) as figure:
        panels = figure.subplots(1, len(problems), squeeze=False)[0]
        for axes, problem in zip(panels, problems):
            for form, colour, marker, shift in zip(scale.forms, PALETTE, "os", (-0.12, 0.12)):
                of = {row.method: row for row in found if row.quantity == f"{TO_SOLVE}, {problem}"}
                mine = [of[f"{form}, {code}"] for code in scale.codes]
                order = {row.method: place for place, row in enumerate(mine)}
                placed = [
                    Row(**{**vars(row), "point": {"place": order[row.method] + shift}})
                    for row in mine
                ]
                points(axes, "place", placed, colour, marker, form)
            axes.set(yscale="log", title=problem, xlim=(-0.5, len(scale.codes) - 0.5))
            axes.axhline(scale.budget(problem), color="0.42", linewidth=0.8, linestyle=":")
            axes.set_xticks(range(len(scale.codes)), scale.codes, rotation=35, ha="right")
        panels[0].set_ylabel("measurements to solve\n(median; dotted: all there were)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def tau_theta(scale: Scale, observe: Observe) -> Made:
    """Measurements to solve NIST7x7 against the update period, or the low-pass's time constant.

    The digital form's learning rates are those of the grid times how much smaller the averaged
    estimate is than that of one tick: `√((1 + kappa) / (1 + kappa / tau_theta))` squared.
    """
    problem = PROBLEMS[PERIODS]
    todo = [(form, period) for form in scale.forms for period in scale.periods]
    found: list[Row] = []
    for number, (form, period) in enumerate(todo):
        device = problem.device()
        size = device.space.size
        share = part_of(observe, f"{form}, tau_theta {period}", number / len(todo), 1 / len(todo))
        shrunk = (growth(size - 1, 1) / growth(size - 1, period)) ** 2
        factor = shrunk if form == "weight-mgd" else 1.0
        (one,) = tuned(
            problem, Cell(method(form, tau_theta=period), device), (0.0,),
            [factor * rate for rate in scale.rates], scale.tuning_seeds,
            int(scale.budget(PERIODS) * (1 + period / size)), share,
        )  # fmt: skip
        found += rows("tau-theta", form, problem, {"tau_theta": period}, one)
    return Made(found, _draw_periods(found, scale, size))


def _draw_periods(found: Sequence[Row], scale: Scale, size: int) -> Any:
    with picture(5.2, 3.4) as figure:
        axes = figure.subplots()
        for form, colour, marker in zip(scale.forms, PALETTE, "os"):
            mine = [
                row for row in found
                if row.method == form and row.quantity == f"{TO_SOLVE}, {PERIODS}"
            ]  # fmt: skip
            points(axes, "tau_theta", mine, colour, f"{marker}-", form)
        axes.axvline(size, color="0.42", linewidth=0.8, linestyle=":", label=f"P = {size}")
        axes.set(xscale="log", yscale="log", ylabel=f"measurements to solve {PERIODS} (median)",
                 xlabel="tau_theta (perturbations per update; analog: measurements)")  # fmt: skip
        axes.legend()
    return figure
