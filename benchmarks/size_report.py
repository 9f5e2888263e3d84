"""Write the table and the figure of the results of size_study.py."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from dither._words import estimate
from dither.studies.fits import Fit, fit, median_with_interval
from dither.training import time_to_accuracy
from dither.training.drawing import STYLE, save_figure
from size_laws import FORETOLD
from size_study import DOCS, METHODS, NETWORKS, TARGET, Network, Row, read, same

FAMILIES = {
    "digits, wider": [n for n in NETWORKS if n[0] == "digits"],
    "Fashion-MNIST, wider": [n for n in NETWORKS if n[0] != "digits" and n[1] == 784],
    "Fashion-MNIST, more pixels": [n for n in NETWORKS if n[0] != "digits" and n[2] == 64],
}
"""Families of networks of growing size: wider hidden layers, or more inputs at 74 nodes."""
ENOUGH = 16
"""The fewest hidden neurons of a network in the second fit. With fewer neurons, even
backpropagation takes several times longer, because the target is close to the highest accuracy
that the network can reach."""

PERTURBING = [method for method in METHODS if method != "backpropagation"]

RULERS = {
    "nodes": lambda law: law["nodes"],
    "effective rank r, start": lambda law: first(law["effective rank"]),
    "tr H / lambda_max, start": lambda law: first(law["trace"]) / first(law["largest"]),
    "tr H / lambda_max, path": lambda law: rank(law),
    "tr H, path (cost per weight²)": lambda law: mean(law["trace"]),
    "time of the flow τ (rate × updates)": lambda law: float(np.median(law["flow"])),
}
"""Quantities known before training with which the number of measurements may scale."""


def first(values: list[list[float]]) -> float:
    """The value at the start of the path; the median over seeds."""
    return float(np.median([path[0] for path in values]))


def mean(values: list[list[float]]) -> float:
    """The mean along the path; the median over seeds."""
    return float(np.median(np.mean(values, axis=1)))


def rank(law: Row) -> float:
    """tr H / lambda_max along the path."""
    return mean(law["trace"]) / mean(law["largest"])


def runs(row: Row) -> tuple[np.ndarray, np.ndarray]:
    """The measurements of each run, and whether it was stopped before it reached the target."""
    stopped = np.array([x is None for x in row["runs"]])
    return np.array([x or row["stopped"] for x in row["runs"]], float), stopped


def of(rows: list[Row], networks: list[Network], method: str) -> list[Row]:
    """The results of a method on a family of networks, smallest network first."""
    mine = [r for r in rows if r["method"] == method and any(same(r, n) for n in networks)]
    return sorted(mine, key=lambda row: row["parameters"])


def within(laws: list[Row], networks: list[Network]) -> list[Row]:
    """The predictors of a family of networks, smallest network first."""
    mine = [law for law in laws if any(same(law, n) for n in networks)]
    return sorted(mine, key=lambda law: law["parameters"])


def exponent(rows: list[Row]) -> Fit | None:
    """Fit measurements against parameters over all runs; None if there is only one size."""
    rows = [row for row in rows if any(row["runs"])]
    if len(rows) < 2:
        return None
    y, stopped = map(np.concatenate, zip(*map(runs, rows)))
    x = np.repeat([row["parameters"] for row in rows], [len(row["runs"]) for row in rows])
    return fit(x, y, stopped, "power law", "measurements", "parameters")


def slope(laws: list[Row], ruler: str) -> float | None:
    """The scaling exponent of a predictor against parameters, fitted to its medians."""
    if len(laws) < 2:
        return None
    values = [RULERS[ruler](law) for law in laws]
    return float(np.polyfit(np.log([law["parameters"] for law in laws]), np.log(values), 1)[0])


def law_of(law: Row, method: str) -> float:
    """The predicted measurements at the rate 1/h, where h is the curvature along an estimate.

    At this rate the scatter of the estimates loses half of the decrease of a quadratic cost. The
    prediction is √2 times the time of the flow, the geometric mean of no delay and a factor of 2.
    """
    flow = float(np.median(law["flow"]))
    return 2**0.5 * time_to_accuracy(flow, 1 / mean(law["met"][method]), per_update=2)


def grid(heads: list[str], lines: list[list[str]]) -> str:
    """A table in Markdown."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def named(network: Network) -> str:
    """The label of a network in the tables."""
    return f"{network[0]}, {network[1]}-{network[2]}-10"


def tables(rows: list[Row], laws: list[Row]) -> str:
    """The tables of measurements, of predictors, of their comparison and of the exponents."""
    networks = sorted(NETWORKS, key=lambda n: (n[0], n[1] * n[2], n[2]))
    known = [(n, law) for n in networks for law in laws if same(law, n)]
    found = {n: {r["method"]: r for r in rows if same(r, n)} for n in networks}
    slower = {
        n: {m: median(row) / median(found[n]["backpropagation"]) for m, row in found[n].items()}
        for n, _ in known
    }
    widened = [
        f"{named(n)}, {method} ({row['rounds']} rounds)"
        for n in networks
        for method, row in found[n].items()
        if row["rounds"] > 2
    ]

    def by_method(
        head: str, methods: Sequence[str], text: Callable[[Network, Row, str], str]
    ) -> str:
        lines = [
            [named(n), *(text(n, law, m) if m in found[n] else "–" for m in methods)]
            for n, law in known
        ]
        return grid([head, *methods], lines)

    return "\n".join(
        [
            grid(
                ["network, accuracy", "P", "nodes", *METHODS],
                [
                    [
                        f"{named(n)}, {TARGET[n[0]]:.0%}",
                        count((n[1] + 11) * n[2] + 10),
                        str(n[2] + 10),
                        *(cell(found[n].get(method)) for method in METHODS),
                    ]
                    for n in networks
                ],
            ),
            f"Searches with more than two rounds: {'; '.join(widened) or 'none'}.\n",
            grid(
                ["network", *RULERS],
                [[named(n), *(count(ruler(law)) for ruler in RULERS.values())] for n, law in known],
            ),
            by_method(
                "measurements by the law, measured", FORETOLD,
                lambda n, law, m: f"{count(law_of(law, m))}, {count(median(found[n][m]))}",
            ),
            by_method(
                "best rate × tr H", PERTURBING,
                lambda n, law, m: f"{found[n][m]['rate'] * mean(law['trace']):.2g}",
            ),
            by_method(
                "(measurements / backpropagation's) / (tr H / lambda_max)", PERTURBING,
                lambda n, law, m: f"{slower[n][m] / rank(law):.2g}",
            ),
            exponents(rows, laws),
        ]
    )  # fmt: skip


def exponents(rows: list[Row], laws: list[Row]) -> str:
    """The table of the exponents of all plotted quantities, one column per family."""
    columns = dict(FAMILIES)
    for name in list(FAMILIES)[:2]:
        wide = [n for n in FAMILIES[name] if n[2] >= ENOUGH]
        columns[f"{name}, {min(n[2] for n in wide)} hidden or more"] = wide
    lines = []
    for method in METHODS:
        fits = [exponent(of(rows, networks, method)) for networks in columns.values()]
        words = [estimate(*one.parameters["exponent"]) if one else "–" for one in fits]
        lines.append([f"measurements, {method}", *words])
    for ruler in RULERS:
        slopes = [slope(within(laws, networks), ruler) for networks in columns.values()]
        words = ["–" if one is None else f"{one:.2f}".replace("-", "−") for one in slopes]
        lines.append([ruler, *words])
    return grid(["exponent against P", *columns], lines)


def median(row: Row) -> float:
    """The median over the runs of a method."""
    return median_with_interval(*runs(row)).value


def cell(row: Row | None) -> str:
    """The table cell of a method: its median and interval."""
    if row is None:
        return "not run"
    if row["about"] is None:
        return f"not reached in {count(row['stopped'])}"
    value, low, high = (count(x) for x in median_with_interval(*runs(row)))
    late = sum(x is None for x in row["runs"])
    return f"{value} ({low} – {high})" + (f", {late} unfinished" if late else "")


def count(x: float) -> str:
    """Format a number with three significant digits."""
    if not np.isfinite(x):
        return "∞"
    return f"{x:.3g}" if x < 100 else f"{float(f'{x:.3g}'):,.0f}".replace(",", "\u202f")


LOOKS = {
    "backpropagation": ("#6b6b6b", "s"),
    "node, per example": ("#d55e00", "*"),
    "node": ("#cc79a7", "P"),
    "weight": ("#0072b2", "o"),
    "optimal split": ("#e69f00", "D"),
    "layer by layer": ("#009e73", "^"),
    "weight, Walsh": ("#56b4e9", "v"),
}
"""Colours of the Okabe–Ito palette, with markers that distinguish the methods without colour."""


def draw(rows: list[Row], laws: list[Row]) -> None:
    """Draw one column of panels per family.

    The upper panel shows measurements against parameters. The lower panel shows the predictors.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 6.4), layout="constrained")
        panels = figure.subplots(2, 3, sharex=True, sharey="row", height_ratios=(1.5, 1))
        for (above, below), (family, networks) in zip(panels.T, FAMILIES.items()):
            mine = within(laws, networks)
            measured(above, rows, networks, mine)
            above.set(xscale="log", yscale="log")
            above.set_title(f"{family}, to {TARGET[networks[0][0]]:.0%}", fontsize=9)
            rulers(below, mine)
            below.set(xscale="log", yscale="log", xlabel="parameters P")
        panels[0, 0].set_ylabel("measurements to the accuracy")
        panels[1, 0].set_ylabel("value, no unit if none is named")
        for row in panels:
            labels = {}
            for axes in row:
                axes.xaxis.set_minor_formatter(NullFormatter())
                handles, names = axes.get_legend_handles_labels()
                labels |= dict(zip(names, handles))
            labels = dict(sorted(labels.items(), key=lambda item: item[0].startswith("law")))
            row[-1].legend(
                labels.values(), labels.keys(), fontsize=7, loc="center left",
                bbox_to_anchor=(1.0, 0.5),
            )  # fmt: skip
        save_figure(figure, DOCS / "figures" / "size")


def measured(axes: Axes, rows: list[Row], networks: list[Network], laws: list[Row]) -> None:
    """Draw the medians of each method with intervals, their power-law fit and the prediction."""
    for number, (method, (colour, marker)) in enumerate(LOOKS.items()):
        mine = [row for row in of(rows, networks, method) if any(row["runs"])]
        if not mine:
            continue
        P = np.array([row["parameters"] for row in mine], float)
        middle, low, high = np.array([median_with_interval(*runs(row)) for row in mine]).T
        high = np.where(np.isfinite(high), high, [row["stopped"] for row in mine])
        axes.errorbar(
            P * 1.04 ** (number - 3), middle, [middle - low, np.maximum(high - middle, 0)],
            fmt=marker, color=colour, markersize=5, capsize=2, linewidth=0.9, label=method,
        )  # fmt: skip
        wide = [row for row in mine if row["hidden"] >= ENOUGH]
        line = exponent(wide)
        if line is not None:
            ends = np.array([wide[0]["parameters"], wide[-1]["parameters"]], float)
            axes.plot(ends, line.curve(ends).value, color=colour, linewidth=1)
        if method in FORETOLD and laws:
            axes.plot(
                [law["parameters"] for law in laws], [law_of(law, method) for law in laws],
                color=colour, linewidth=1.2, linestyle=(0, (4, 2)), label=f"law, {method}",
            )  # fmt: skip


def rulers(axes: Axes, laws: list[Row]) -> None:
    """Draw the number of nodes, the effective ranks and the time of the flow."""
    styles = zip(
        RULERS.items(), ("#6b6b6b", "#009e73", "#e69f00", "#d55e00", "#0072b2", "#cc79a7"), "sov^DP"
    )
    for (name, ruler), colour, marker in styles:
        axes.plot(
            [law["parameters"] for law in laws], [ruler(law) for law in laws], marker=marker,
            color=colour, linewidth=1, markersize=4, label=name,
        )  # fmt: skip


def main() -> None:
    """Write the table and the figure."""
    found = read()
    trainings = [r for r in found["trainings"] if any(same(r, n) for n in NETWORKS)]
    laws = [r for r in found["laws"] if any(same(r, n) for n in NETWORKS)]
    (DOCS / "results" / "size_study.md").write_text(tables(trainings, laws))
    draw(trainings, laws)


if __name__ == "__main__":
    main()
