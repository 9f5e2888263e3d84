"""The noise sweeps: what each imperfection costs the digital and the analog form."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from dither.devices.imperfections import (
    AbstractImperfection,
    ActivationDefects,
    CostNoise,
    UpdateNoise,
)
from dither.papers.drawing import PALETTE, picture, points
from dither.papers.mccaughan2023.rows import SHARE, TO_SOLVE, rows
from dither.papers.mccaughan2023.runs import PROBLEMS, Cell, method, tuned
from dither.papers.mccaughan2023.scale import Scale
from dither.papers.paper import Made, Observe, Row, part_of

LABELS = {
    "cost-noise": "sigma of the noise on a measured cost (units of the cost)",
    "update-noise": "sigma of the error of an update (units of the weights)",
    "activation-defects": "sigma of the neurons' defects (1)",
}


def sweep(
    figure: str,
    imperfection: AbstractImperfection,
    sigmas: Sequence[float],
    scale: Scale,
    observe: Observe,
) -> Made:
    """Measurements to solve each problem against an imperfection's sigma, both forms tuned."""
    todo = [(problem, form) for problem in scale.noisy for form in scale.forms]
    found: list[Row] = []
    for number, (name, form) in enumerate(todo):
        problem = PROBLEMS[name]
        cell = Cell(method(form), problem.device(imperfection), varied=True)
        share = part_of(observe, f"{form}, {name}", number / len(todo), 1 / len(todo))
        for one in tuned(
            problem, cell, sigmas, scale.rates, scale.tuning_seeds, scale.budget(name), share
        ):
            found += rows(figure, form, problem, {"sigma": one.sigma}, one)
    return Made(found, _draw(figure, found, scale))


def cost_noise(scale: Scale, observe: Observe) -> Made:
    """Noise on every measured cost."""
    return sweep("cost-noise", CostNoise(sigma=0.0), scale.cost_noises, scale, observe)


def update_noise(scale: Scale, observe: Observe) -> Made:
    """An error that every update leaves on every weight."""
    return sweep("update-noise", UpdateNoise(sigma=0.0), scale.update_noises, scale, observe)


def activation_defects(scale: Scale, observe: Observe) -> Made:
    """Neurons' activations scaled and shifted, another instance for every seed."""
    sigmas = scale.defects
    return sweep("activation-defects", ActivationDefects(sigma=0.0), sigmas, scale, observe)


def _draw(name: str, found: Sequence[Row], scale: Scale) -> Any:
    sigmas = sorted({float(row.point["sigma"]) for row in found})
    with picture(3.2 * len(scale.noisy) + 0.6, 4.4) as figure:
        panels = figure.subplots(
            2, len(scale.noisy), sharex=True, squeeze=False, height_ratios=(2, 1)
        )
        for (above, below), problem in zip(panels.T, scale.noisy):
            for quantity, axes in ((TO_SOLVE, above), (SHARE, below)):
                for form, colour, marker, shift in zip(scale.forms, PALETTE, "os", (0.96, 1.04)):
                    mine = [
                        row for row in found
                        if row.method == form and row.quantity == f"{quantity}, {problem}"
                    ]  # fmt: skip
                    points(axes, "sigma", mine, colour, f"{marker}-", form,
                           place=partial(_place, sigmas, shift))  # fmt: skip
            above.set(yscale="log", title=problem)
            above.axhline(scale.budget(problem), color="0.42", linewidth=0.8, linestyle=":")
            below.set(xscale="log", ylim=(-0.05, 1.05))
            below.set_xticks([_place(sigmas, 1.0, s) for s in sigmas], [f"{s:g}" for s in sigmas])
            below.minorticks_off()
            below.tick_params(axis="x", labelsize=7.5)
        panels[0, 0].set_ylabel("measurements to solve\n(median; dotted: all there were)")
        panels[1, 0].set_ylabel("share solved")
        panels[0, 0].legend()
        figure.supxlabel(LABELS[name], fontsize=9)
    return figure


def _place(sigmas: Sequence[float], shift: float, sigma: float) -> float:
    """Where sigma stands on a logarithmic axis, shifted by a factor; zero below the least."""
    least = min((s for s in sigmas if s > 0), default=1.0)
    return shift * (sigma if sigma > 0 else least / 3)


SWEEPS = {
    "cost-noise": cost_noise,
    "update-noise": update_noise,
    "activation-defects": activation_defects,
}
