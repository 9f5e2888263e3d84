"""The figures against the number of neurons: curves, convergence constant, exponents."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from dither._errors import RequestError
from dither.laws import (
    CRITERIA,
    DescentRun,
    Interval,
    PredictedCurve,
    exponential_constant,
    power_law_fit,
)
from dither.papers.andreoli2023.runs import Curves, descents, predicted
from dither.papers.drawing import GREY, PALETTE, laws, picture, points
from dither.papers.paper import Made, Observe, Row, known, mean, part_of
from dither.papers.scale import Scale

LEAST_SIZES = 4
"""With fewer sizes no exponent is reported."""

expected = partial(known, "andreoli2023", "expected", method="greedy")


class SizeRuns(NamedTuple):
    """Greedy descents at one N, and the law for each of them."""

    neurons: int
    curves: Curves
    law: PredictedCurve


@lru_cache(1)
def greedy_descents(scale: Scale, observe: Observe) -> tuple[SizeRuns, ...]:
    """The data of all three figures."""
    study, found, done = scale.study("descents"), list[SizeRuns](), 0
    total = sum(cell.labels["neurons"] ** 2 for cell in study.cells)
    for cell in study.cells:
        neurons = cell.labels["neurons"]
        begun, share = done / total, neurons**2 / total
        what = f"greedy descent, N = {neurons}"
        curves = descents(cell, study.seed_list, part_of(observe, what, begun, 0.7 * share))
        observe(f"law, N = {neurons}", begun + 0.7 * share)
        found.append(SizeRuns(neurons, curves, predicted(curves)))
        done += neurons**2
    return tuple(found)


def curves(scale: Scale, observe: Observe) -> Made:
    """Training error against tests for each N, with the law; readouts for comparison."""
    sizes, rows = greedy_descents(scale, observe), []
    for neurons, found, law in sizes:

        def row(
            method: str, quantity: str, unit: str, values: Any, law: Any = None, n: int = neurons
        ) -> Row:
            number = expected(quantity=quantity, neurons=n, figure="curves")
            return Row("curves", method, {"neurons": n}, quantity, unit, *mean(values),
                       len(values), law=law, expected=number)  # fmt: skip

        rows += [
            row("greedy", "final training NMSE", "1", found.errors[:, -1],
                float(law.errors[:, -1].mean())),
            row("greedy", "final test NMSE", "1", found.test_errors()),
            row("greedy", "last accepted flip", "N tests", found.last_kept / neurons,
                float(law.last_accepted.mean() / neurons)),
        ]  # fmt: skip
        for method, errors in found.readouts().items():
            rows.append(row(method, "training NMSE", "1", errors[:, 0]))
            rows.append(row(method, "test NMSE", "1", errors[:, 1]))

    with picture(5.6, 3.8) as figure:
        axes = figure.subplots()
        for (neurons, found, law), colour in zip(sizes, PALETTE):
            tests = np.maximum(found.tests, 0.5)
            low, middle, high = np.quantile(found.errors, [0.25, 0.5, 0.75], axis=0)
            axes.fill_between(tests, low, high, color=colour, alpha=0.25, linewidth=0)
            axes.plot(tests, middle, color=colour, label=f"N = {neurons}")
            axes.plot(law.tests, np.median(law.errors, axis=0), "--", color="black", linewidth=0.8)
        axes.plot([], [], "--", color="black", linewidth=0.8, label="law")
        first = min(size.curves.measurements[1] for size in sizes)
        axes.set(xscale="log", yscale="log", xlim=(first, None),
                 xlabel="mirror tests", ylabel="training NMSE")  # fmt: skip
        figure.legend(loc="outside right upper")
    return Made(rows, figure)


def exponent(neurons: Sequence[int], values: Sequence[np.ndarray]) -> Interval | None:
    """The exponent of values against N; None for too few sizes or missing values."""
    if len(neurons) < LEAST_SIZES:
        return None
    try:
        return power_law_fit(neurons, values)
    except RequestError:
        return None


def _fit(
    sizes: Sequence[SizeRuns], figure: str, quantity: str, measured: Sequence[np.ndarray],
    law: Sequence[np.ndarray], criterion: str | None = None,
) -> Row:  # fmt: skip
    neurons = [size.neurons for size in sizes]
    found, foreseen = exponent(neurons, measured), exponent(neurons, law)
    where = {"quantity": quantity, "criterion": criterion}
    return Row(
        figure, "greedy", {}, quantity, "1", criterion=criterion,
        law=None if foreseen is None else foreseen.value,
        published=known("andreoli2023", "published", **where), expected=expected(**where),
    ).with_measured(found, len(measured[0]))  # fmt: skip


def constant(scale: Scale, observe: Observe) -> Made:
    """The constant of an exponential fit to the mean excess against N, and its exponent."""
    sizes, rows = greedy_descents(scale, observe), []
    for neurons, found, law in sizes:
        measured = exponential_constant(found.tests, _excess(found.errors))
        foreseen = exponential_constant(law.tests, _excess(law.errors))
        rows.append(
            Row("constant", "greedy", {"neurons": neurons}, "convergence constant", "tests",
                *measured, len(found.errors), law=foreseen.value)
        )  # fmt: skip
    each = [_constants(one.curves.tests, one.curves.errors) for one in sizes]
    law_each = [_constants(one.law.tests, one.law.errors) for one in sizes]
    fit = _fit(sizes, "constant", "exponent of the constant against N", each, law_each)

    with picture(5.0, 3.6) as figure:
        axes = figure.subplots()
        n = np.array([size.neurons for size in sizes], float)
        axes.plot(n, laws(rows), "--", color="black", zorder=3, label=f"law{_told(fit.law)}")
        points(axes, "neurons", rows, PALETTE[0], "o", f"greedy{_told(fit.measured)}")
        axes.plot(n, n * (rows[0].measured or np.nan) / n[0], color=GREY, linewidth=0.8,
                  label="linear in N (published)")  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="neurons N",
                 ylabel="convergence constant (tests)")  # fmt: skip
        _label_sizes(axes, sizes)
        axes.legend(loc="upper left")
    return Made([*rows, fit], figure)


def _told(exponent: float | None) -> str:
    return "" if exponent is None else f", exponent {exponent:.2f}"


def _excess(errors: np.ndarray) -> np.ndarray:
    return np.asarray(errors - errors[:, -1:])


def _constants(tests: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """The constant of each single run."""
    return np.array(
        [exponential_constant(tests, one[None], draws=1).value for one in _excess(errors)]
    )


def exponents(scale: Scale, observe: Observe) -> Made:
    """Tests to each criterion against N, and their exponents."""
    sizes, rows = greedy_descents(scale, observe), list[Row]()
    fits: dict[str, Row] = {}
    for name, criterion in CRITERIA.items():
        measured, law = [], []
        for neurons, found, foreseen in sizes:
            measured.append(_times(criterion, found.tests, found.errors, found.last_kept))
            law.append(_times(criterion, foreseen.tests, foreseen.errors,
                              foreseen.last_accepted))  # fmt: skip
            rows.append(
                Row("exponents", "greedy", {"neurons": neurons}, "tests to criterion", "tests",
                    *mean(measured[-1]), len(measured[-1]), law=float(law[-1].mean()),
                    criterion=name)
            )  # fmt: skip
        if np.isfinite(measured).all():
            quantity = "exponent of tests against N"
            fits[name] = _fit(sizes, "exponents", quantity, measured, law, name)

    with picture(7.2, 3.8) as figure:
        axes = figure.subplots()
        for name, colour, marker in zip(CRITERIA, PALETTE, "osD^vP"):
            mine = [row for row in rows if row.criterion == name]
            told = _told(fits[name].measured) if name in fits else ""
            points(axes, "neurons", mine, colour, marker, name + told.replace(", exponent", ":"))
            axes.plot([size.neurons for size in sizes], laws(mine), "--", color=colour,
                      linewidth=0.9)  # fmt: skip
        axes.plot([], [], "--", color=GREY, linewidth=0.9, label="law")
        axes.set(xscale="log", yscale="log", xlabel="neurons N", ylabel="tests to the criterion")
        _label_sizes(axes, sizes)
        figure.legend(loc="outside right upper", title="criterion: exponent")
    return Made([*rows, *fits.values()], figure)


def _times(criterion: Any, tests: np.ndarray, errors: np.ndarray, last: np.ndarray) -> np.ndarray:
    return np.array([criterion(DescentRun(tests, e, int(k))) for e, k in zip(errors, last)])


def _label_sizes(axes: Any, sizes: Sequence[SizeRuns]) -> None:
    axes.set_xticks([size.neurons for size in sizes], [str(size.neurons) for size in sizes])
    axes.minorticks_off()
