"""The figure: best test accuracy against measurements, with equal tuning of every method."""

import tempfile
import tomllib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from dither.papers.drawing import PALETTE, picture
from dither.papers.paper import Made, Observe, Row, known, median, table
from dither.papers.scale import STUDIES, Scale, read
from dither.studies.change import changed
from dither.studies.compare import Compared, compare
from dither.studies.comparison import Comparison
from dither.studies.local import StudyProgress
from dither.studies.store import load_study
from dither.training.drawing import band
from dither.training.history import quartiles

if TYPE_CHECKING:
    import pandas as pd

PAPER = "skalli2025"


def comparison(scale: Scale) -> Comparison:
    """The comparison at a scale."""
    whole = tomllib.loads(read(PAPER, "comparison.toml"))
    return Comparison.model_validate(changed(whole, scale.table.get("comparison", {})))


def best(runs: "pd.DataFrame", budget: int) -> Float[np.ndarray, " runs"]:
    """The best test accuracy of each run within a budget; 0 without evaluations.

    Arguments: a table with one line per evaluation; the budget of measurements.
    """
    scores = runs["score"].where(runs["measurements"] <= budget)
    return scores.groupby(runs["seed"]).max().fillna(0.0).to_numpy()


def accuracies(scale: Scale, observe: Observe) -> Made:
    """The best test accuracy within each budget; None beyond a method's budget."""

    def watch(now: StudyProgress) -> None:
        observe(now.doing, now.done / now.runs)

    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about settings that tuning tries
        folder = (scale.folder or Path(scratch)) / STUDIES
        done = compare(comparison(scale), folder, observers=[watch])
        curves = {one.pairing.method: _curves(one) for one in done}
    ends = {one.pairing.method: one.pairing.specification.until.measurements or 0 for one in done}
    methods = dict.fromkeys([*table(PAPER)["method"], *curves])
    rows = [
        _row(method, budget, budget == max(scale["budgets"]),
             best(curves[method], budget) if budget <= ends.get(method, 0) else None)
        for method in methods
        for budget in scale["budgets"]
    ]  # fmt: skip
    return Made(rows, _draw(curves, max(ends.values())))


def _curves(one: Compared) -> "pd.DataFrame":
    assert one.folder is not None
    return load_study(one.folder, curves=True).astype({"measurements": float, "score": float})


def _row(method: str, budget: int, last: bool, found: Float[np.ndarray, " runs"] | None) -> Row:
    row = Row(
        "accuracy", method, {}, f"best test accuracy within {budget} measurements", "1",
        published=known(PAPER, "published", method=method) if last else None,
        criterion="not run" if found is None else None,
    )  # fmt: skip
    return row if found is None else row.with_measured(median(found), len(found))


def _draw(curves: Mapping[str, "pd.DataFrame"], end: int) -> Any:
    with picture(6.4, 3.8) as figure:
        axes = figure.subplots()
        for (method, runs), colour in zip(curves.items(), PALETTE):
            scores = runs.pivot_table(index="measurements", columns="seed", values="score")
            so_far = scores.cummax()
            band(axes, so_far.index, quartiles(so_far), colour, linewidth=1.3)
            axes.plot([], [], color=colour, label=method)
            published = np.array([known(PAPER, "published", method=method)], float)
            axes.plot([2 * end], published, "D", color=colour, markersize=5, markerfacecolor="none")
        axes.plot([], [], "D", color="black", markersize=5, markerfacecolor="none",
                  label="published: MNIST, by epochs")  # fmt: skip
        axes.set(xscale="log", xlabel="measurements", ylabel="best test accuracy so far",
                 ylim=(0, 1))  # fmt: skip
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    return figure
