"""The rows and figures of McCaughan2023, from studies with searched learning rates."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import binomtest

from dither.laws import growth
from dither.papers.drawing import PALETTE, from_paper, picture, points
from dither.papers.paper import Made, Observe, Row, median, table
from dither.papers.scale import Scale, Table, device_of
from dither.studies.study import Cell, Study

TO_SOLVE = "measurements to solve"
SHARE = "share solved"
RATE = "best learning rate"

LABELS = {
    "cost-noise": "sigma of the cost noise (units of the cost)",
    "update-noise": "sigma of the update noise (units of the weights)",
    "activation-defects": "sigma of the activation defects (1)",
}

TAU_P = {"1 ms": 1e-3, "10 ns": 1e-8, "200 ps": 2e-10}
"""The times of one measurement, in seconds."""


class Solved(NamedTuple):
    """The results of a cell's runs at the learning rate found for it.

    Attributes: `cell`; `rate`; `measurements` of each run to the first of the required consecutive
    evaluations, infinite if not solved; `seconds`, the device time until then.
    """

    cell: Cell
    rate: float
    measurements: Float[np.ndarray, " runs"]
    seconds: Float[np.ndarray, " runs"]

    @property
    def criterion(self) -> str:
        """The criterion for a solved training."""
        until = self.cell.specification.until
        return f"accuracy {until.score:g} in {until.confirm} evaluations in a row"

    def rows(self, figure: str, name: str, point: Table) -> list[Row]:
        """Measurements to solve, the solved share (Wilson interval), the learning rate."""
        times, end = self.measurements, f", {self.cell.labels['problem']}"
        runs, solved = len(times), int(np.isfinite(times).sum())
        share = binomtest(solved, runs).proportion_ci(method="wilson")
        return [
            Row(figure, name, point, TO_SOLVE + end, "measurements", *median(times), runs,
                criterion=self.criterion),
            Row(figure, name, point, SHARE + end, "1", solved / runs, share.low, share.high, runs,
                criterion=self.criterion),
            Row(figure, name, point, RATE + end, "1", self.rate),
        ]  # fmt: skip


def solved(
    scale: Scale, study: Study, observe: Observe, begun: float = 0.0, share: float = 1.0
) -> Iterator[Solved]:
    """The study's cells in grid order; the study is a share of the whole figure."""
    table = scale.run(study, lambda what, done: observe(what, begun + share * done))
    for cell in study.cells:
        mine = table[(table[list(cell.labels)] == list(cell.labels.values())).all(axis=1)]
        run = cell.specification
        later = (run.until.confirm - 1) * (run.score_every or 0)
        took = mine["measurements"].to_numpy(float) - later
        seconds = mine["device_seconds"].to_numpy(float) * took / (took + later)
        times, seconds = np.where(mine["reached"], (took, seconds), np.inf)
        yield Solved(cell, float(mine["algorithm.learning_rate"].iloc[0]), times, seconds)


def budgets(study: Study) -> dict[str, int]:
    """The measurement budget of one training, by problem."""
    return {c.labels["problem"]: c.specification.until.measurements or 0 for c in study.cells}


def sweep(figure: str, scale: Scale, observe: Observe) -> Made:
    """Measurements to solve each problem against an imperfection's sigma, both forms tuned."""
    study, found = scale.study(figure), list[Row]()
    for one in solved(scale, study, observe):
        found += one.rows(figure, one.cell.labels["form"], {"sigma": one.cell.labels["sigma"]})
    return Made(found, _draw_sweep(figure, found, study))


def _draw_sweep(name: str, found: Sequence[Row], study: Study) -> Any:
    sigmas = sorted({float(row.point["sigma"]) for row in found})
    most = budgets(study)
    with picture(3.2 * len(most) + 0.6, 4.4) as figure:
        panels = figure.subplots(2, len(most), sharex=True, squeeze=False, height_ratios=(2, 1))
        for (above, below), problem in zip(panels.T, most):
            for quantity, axes in ((TO_SOLVE, above), (SHARE, below)):
                for form, colour, marker, shift in zip(
                    study.labels("form"), PALETTE, "os", (0.96, 1.04)
                ):
                    mine = _of(found, f"{quantity}, {problem}", form)
                    points(axes, "sigma", mine, colour, f"{marker}-", str(form),
                           place=partial(_place, sigmas, shift))  # fmt: skip
            above.set(yscale="log", title=problem)
            above.axhline(most[problem], color="0.42", linewidth=0.8, linestyle=":")
            below.set(xscale="log", ylim=(-0.05, 1.05))
            below.set_xticks([_place(sigmas, 1.0, s) for s in sigmas], [f"{s:g}" for s in sigmas])
            below.minorticks_off()
            below.tick_params(axis="x", labelsize=7.5)
        panels[0, 0].set_ylabel("measurements to solve\n(median; dotted: the budget)")
        panels[1, 0].set_ylabel("share solved")
        panels[0, 0].legend()
        figure.supxlabel(LABELS[name], fontsize=9)
    return figure


def _of(found: Sequence[Row], quantity: str, method: Any) -> list[Row]:
    return [row for row in found if row.quantity == quantity and row.method == method]


def _place(sigmas: Sequence[float], shift: float, sigma: float) -> float:
    """The position of sigma on a logarithmic axis, shifted by a factor; zero is leftmost."""
    least = min((s for s in sigmas if s > 0), default=1.0)
    return shift * (sigma if sigma > 0 else least / 3)


def codes(scale: Scale, observe: Observe) -> Made:
    """Measurements to solve each problem with each code, for both forms."""
    study, found = scale.study("codes"), list[Row]()
    for one in solved(scale, study, observe):
        found += one.rows(
            "codes", f"{one.cell.labels['form']}, {one.cell.labels['algorithm.code']}", {}
        )
    names, most = study.labels("algorithm.code"), budgets(study)
    with picture(7.4, 3.2) as figure:
        panels = figure.subplots(1, len(most), squeeze=False)[0]
        for axes, problem in zip(panels, most):
            for form, colour, marker, shift in zip(
                study.labels("form"), PALETTE, "os", (-0.12, 0.12)
            ):
                placed = [
                    replace(row, point={"place": place + shift})
                    for place, code in enumerate(names)
                    for row in _of(found, f"{TO_SOLVE}, {problem}", f"{form}, {code}")
                ]
                points(axes, "place", placed, colour, marker, str(form))
            axes.set(yscale="log", title=problem, xlim=(-0.5, len(names) - 0.5))
            axes.axhline(most[problem], color="0.42", linewidth=0.8, linestyle=":")
            axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
        panels[0].set_ylabel("measurements to solve\n(median; dotted: the budget)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return Made(found, figure)


def tau_theta(scale: Scale, observe: Observe) -> Made:
    """Measurements to solve NIST7x7 against the update period, or the low-pass's time constant.

    The digital form's learning rates are those of the grid times the ratio by which averaging
    shrinks the estimate of one tick: `√((1 + kappa) / (1 + kappa / tau_theta))` squared. The budget
    grows with the period.
    """
    whole, axis = scale.study("tau-theta"), "algorithm.tau_theta"
    assert whole.search is not None
    size, (problem,) = device_of(whole.cells[0]).space.size, budgets(whole)
    found: list[Row] = []
    for number, cell in enumerate(whole.cells):
        form, period = cell.labels["form"], cell.labels[axis]
        digital = cell.specification.algorithm.kind == "weight-mgd"
        shrunk = (growth(size - 1, 1) / growth(size - 1, period)) ** 2 if digital else 1.0
        budget = int(budgets(whole)[problem] * (1 + period / size))
        study = scale.study(
            "tau-theta",
            {
                "name": f"tau-theta-{form}-{period}",
                "only": {"form": [form], axis: [period]},
                "axes": {"problem": {"until.measurements": [budget]}},
                "search": {"values": [shrunk * rate for rate in whole.search.values]},
            },
        )
        parts = len(whole.cells)
        for one in solved(scale, study, observe, number / parts, 1 / parts):
            found += one.rows("tau-theta", form, {"tau_theta": period})
    with picture(5.2, 3.4) as figure:
        axes = figure.subplots()
        for name, colour, marker in zip(whole.labels("form"), PALETTE, "os"):
            mine = _of(found, f"{TO_SOLVE}, {problem}", name)
            points(axes, "tau_theta", mine, colour, f"{marker}-", str(name))
        axes.axvline(size, color="0.42", linewidth=0.8, linestyle=":", label=f"P = {size}")
        axes.set(xscale="log", yscale="log", ylabel=f"measurements to solve {problem} (median)",
                 xlabel="tau_theta (perturbations per update; analog: measurements)")  # fmt: skip
        axes.legend()
    return Made(found, figure)


def hardware(scale: Scale, observe: Observe) -> Made:
    """Device time to solve the problems from the ledger of each training, at three speeds.

    Both measurements of a pair take tau_p; the study's ledger is in units of it.
    """
    found = [
        Row("hardware", f"weight-mgd, {one.cell.labels['problem']}", {"tau_p": tau_p},
            "time to train", "s", *median(tau_p * one.seconds), len(one.seconds),
            criterion=one.criterion)
        for one in solved(scale, scale.study("hardware"), observe)
        for tau_p in TAU_P.values()
    ]  # fmt: skip
    for known in table("mccaughan2023").to_dict("records"):
        point = {"parameters": int(known["parameters"])} if known["parameters"] > 0 else {}
        found.append(
            Row("hardware", known["method"], point or {"tau_p": known["tau_p"]},
                known["quantity"], str(known["unit"]), None, criterion="not run",
                published=known["published"] if known["published"] > 0 else None)
        )  # fmt: skip
    with picture(5.4, 3.6) as figure:
        axes = figure.subplots()
        timed = [row for row in found if "tau_p" in row.point]
        for name, colour, marker in zip(dict.fromkeys(r.method for r in timed), PALETTE, "osD^"):
            mine = [row for row in timed if row.method == name]
            if mine[0].measured is None:
                from_paper(axes, "tau_p", mine, colour, marker, f"{name}, published")
            else:
                points(axes, "tau_p", mine, colour, marker, name)
        axes.set(xscale="log", yscale="log", xlabel="tau_p: time of one measurement (s)",
                 ylabel="time to train (s, median)")  # fmt: skip
        axes.legend()
    return Made(found, figure)
