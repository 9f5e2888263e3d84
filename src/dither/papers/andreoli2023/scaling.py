"""The figures against the number of neurons: curves, convergence constant, exponents."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from dither._errors import RequestError
from dither.algorithms import CoordinateDescent
from dither.devices import ReadoutDevice
from dither.laws import (
    CRITERIA,
    DescentRun,
    PredictedCurve,
    exponential_constant,
    power_law_fit,
    quantised_readout,
    ridge_readout,
)
from dither.networks import PhotonicReservoir
from dither.papers.andreoli2023.runs import Curves, descent_curves, nmse_of, predicted
from dither.papers.andreoli2023.scale import Scale
from dither.papers.drawing import GREY, PALETTE, laws, picture, points
from dither.papers.paper import Made, Observe, Row, mean, part_of

EXPECTED_ERROR = {100: 0.0128, 225: 0.0057, 400: 0.0034, 625: 0.0022, 961: 0.0017, 1600: 0.0011}
"""Final training NMSE of greedy in an earlier simulation of the same model."""

EXPECTED_LAST = {100: 3.3, 225: 4.7, 400: 6.4, 625: 7.0, 961: 9.3, 1600: 12.4}
"""Its last accepted flip, in tests over N."""

EXPECTED_EXPONENT = {
    "within 2x of final": 0.97,
    "within 1.1x of final": 1.10,
    "99 % of the excess removed": 0.79,
    "fixed NMSE of 0.05": 0.53,
    "last accepted flip": 1.44,
}
"""The exponents of tests against N found with it."""

BITS = (1, 2, 4)
"""The quantised readouts to hold Boolean weights against."""

REFERENCES = 4
"""The runs on whose states the readouts are computed: they vary little."""


class Size(NamedTuple):
    """Greedy descents at one N, and the law for each of them."""

    neurons: int
    curves: Curves
    law: PredictedCurve


@lru_cache(1)
def greedy_descents(scale: Scale, observe: Observe) -> tuple[Size, ...]:
    """What all three figures are made of."""
    found, done, total = [], 0, sum(n**2 for n in scale.sizes)
    for neurons in scale.sizes:
        what = f"greedy descent, N = {neurons}"
        begun, share = done / total, neurons**2 / total
        curves = descent_curves(
            CoordinateDescent(selection="greedy"),
            ReadoutDevice(reservoir=PhotonicReservoir(neurons=neurons)),
            scale.seeds,
            scale.tests * neurons,
            part_of(observe, what, begun, 0.7 * share),
        )
        observe(f"law, N = {neurons}", begun + 0.7 * share)
        found.append(Size(neurons, curves, predicted(curves, scale.tests * neurons)))
        done += neurons**2
    return tuple(found)


def curves(scale: Scale, observe: Observe) -> Made:
    """Training error against tests for each N, the law drawn over it; readouts beside."""
    sizes, rows = greedy_descents(scale, observe), []
    for neurons, found, law in sizes:
        point = {"neurons": neurons}

        def row(
            method: str, quantity: str, unit: str, values: np.ndarray, n: Any = point, **beside: Any
        ) -> Row:
            return Row("curves", method, n, quantity, unit, *mean(values), len(values), **beside)

        rows += [
            row("greedy", "final training NMSE", "1", found.errors[:, -1],
                law=float(law.errors[:, -1].mean()), expected=EXPECTED_ERROR.get(neurons)),
            row("greedy", "final test NMSE", "1", found.test_errors()),
            row("greedy", "last accepted flip", "N tests", found.last_kept / neurons,
                law=float(law.last_accepted.mean() / neurons),
                expected=EXPECTED_LAST.get(neurons)),
        ]  # fmt: skip
        for method, errors in reference_readouts(found).items():
            rows.append(row(method, "training NMSE", "1", errors[:, 0]))
            rows.append(row(method, "test NMSE", "1", errors[:, 1]))

    with picture(5.6, 3.8) as figure:
        axes = figure.subplots()
        for (neurons, found, law), colour in zip(sizes, PALETTE):
            tests = np.maximum(found.measurements - 1, 0.5)
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


def reference_readouts(found: Curves) -> dict[str, Float[np.ndarray, "runs 2"]]:
    """Training and test NMSE of computed readouts on the same states."""
    errors: dict[str, list[tuple[float, float]]] = {}
    for columns, test_columns in zip(found.columns[:REFERENCES], found.test_columns):
        states, target = columns.T.astype(float), found.target.astype(float)
        readouts = {"ridge readout": ridge_readout(states, target)}
        readouts |= {
            f"{bits}-bit readout": quantised_readout(states, target, bits) for bits in BITS
        }
        for method, readout in readouts.items():
            both = (
                nmse_of(readout.outputs(states), target),
                nmse_of(readout.outputs(test_columns.T), found.test_target),
            )
            errors.setdefault(method, []).append(both)
    return {method: np.array(both) for method, both in errors.items()}


def constant(scale: Scale, observe: Observe) -> Made:
    """The constant of an exponential fit to the mean excess against N, and its exponent."""
    sizes, rows, each, law_each = greedy_descents(scale, observe), [], [], []
    for neurons, found, law in sizes:
        tests = found.measurements - 1
        measured = exponential_constant(tests, _excess(found.errors))
        expected = exponential_constant(law.tests, _excess(law.errors))
        each.append(_constants(tests, found.errors))
        law_each.append(_constants(law.tests, law.errors))
        rows.append(
            Row("constant", "greedy", {"neurons": neurons}, "convergence constant", "tests",
                *measured, len(found.errors), law=expected.value)
        )  # fmt: skip
    exponents = power_law_fit(scale.sizes, each), power_law_fit(scale.sizes, law_each)
    fit = Row("constant", "greedy", {}, "exponent of the constant against N", "1",
              *exponents[0], scale.seeds, law=exponents[1].value, published=1.0)  # fmt: skip

    with picture(5.0, 3.6) as figure:
        axes = figure.subplots()
        axes.plot(scale.sizes, laws(rows), "--", color="black", zorder=3,
                  label=f"law, exponent {exponents[1].value:.2f}")  # fmt: skip
        points(axes, "neurons", rows, PALETTE[0], "o", f"greedy, exponent {exponents[0].value:.2f}")
        line = np.array(scale.sizes, float) * rows[0].measured / scale.sizes[0]
        axes.plot(scale.sizes, line, color=GREY, linewidth=0.8, label="linear in N (published)")
        axes.set(xscale="log", yscale="log", xlabel="neurons N",
                 ylabel="convergence constant (tests)")  # fmt: skip
        _label_sizes(axes, scale)
        axes.legend(loc="upper left")
    return Made([*rows, fit], figure)


def _excess(errors: np.ndarray) -> np.ndarray:
    return np.asarray(errors - errors[:, -1:])


def _constants(tests: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """The constant of each run by itself."""
    return np.array(
        [exponential_constant(tests, one[None], draws=1).value for one in _excess(errors)]
    )


def exponents(scale: Scale, observe: Observe) -> Made:
    """Tests to each criterion against N, and the exponent that each of them gives."""
    sizes, rows = greedy_descents(scale, observe), []
    fits: dict[str, Row] = {}
    for name, criterion in CRITERIA.items():
        measured, law = [], []
        for neurons, found, foreseen in sizes:
            tests = found.measurements - 1
            measured.append(_times(criterion, tests, found.errors, found.last_kept))
            law.append(_times(criterion, foreseen.tests, foreseen.errors,
                              foreseen.last_accepted))  # fmt: skip
            rows.append(
                Row("exponents", "greedy", {"neurons": neurons}, "tests to criterion", "tests",
                    *mean(measured[-1]), scale.seeds, law=float(law[-1].mean()), criterion=name)
            )  # fmt: skip
        try:
            value, law_value = power_law_fit(scale.sizes, measured), power_law_fit(scale.sizes, law)
        except RequestError:  # a run never met the criterion
            continue
        fits[name] = Row(
            "exponents", "greedy", {}, "exponent of tests against N", "1", *value, scale.seeds,
            law=law_value.value, expected=EXPECTED_EXPONENT.get(name), criterion=name,
        )  # fmt: skip

    with picture(7.2, 3.8) as figure:
        axes = figure.subplots()
        for name, colour, marker in zip(CRITERIA, PALETTE, "osD^vP"):
            mine = [row for row in rows if row.criterion == name]
            label = name + (f": {fits[name].measured:.2f}" if name in fits else "")
            points(axes, "neurons", mine, colour, marker, label)
            axes.plot(scale.sizes, laws(mine), "--", color=colour, linewidth=0.9)
        axes.plot([], [], "--", color=GREY, linewidth=0.9, label="law")
        axes.set(xscale="log", yscale="log", xlabel="neurons N", ylabel="tests to the criterion")
        _label_sizes(axes, scale)
        figure.legend(loc="outside right upper", title="criterion: exponent")
    return Made([*rows, *fits.values()], figure)


def _times(criterion: Any, tests: np.ndarray, errors: np.ndarray, last: np.ndarray) -> np.ndarray:
    return np.array([criterion(DescentRun(tests, e, int(k))) for e, k in zip(errors, last)])


def _label_sizes(axes: Any, scale: Scale) -> None:
    axes.set_xticks(scale.sizes, [str(n) for n in scale.sizes])
    axes.minorticks_off()
