"""The rows of trainings with a tuned learning rate."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import binomtest

from dither.papers.mccaughan2023.runs import LASTING, Problem, Tuned
from dither.papers.paper import Row, median

TO_SOLVE = "measurements to solve"
SHARE = "share solved"
RATE = "best learning rate"


def criterion(problem: Problem) -> str:
    """When a training counts as solved."""
    return f"accuracy {problem.score:g} in {LASTING} evaluations in a row"


def rows(
    figure: str, name: str, problem: Problem, point: Mapping[str, float | int], found: Tuned
) -> list[Row]:
    """Measurements to solve, the share solved (Wilson's interval), the learning rate taken."""
    times, end = found.measurements, f", {problem.name}"
    seeds, solved = len(times), int(np.isfinite(times).sum())
    share = binomtest(solved, seeds).proportion_ci(method="wilson")
    return [
        Row(figure, name, point, TO_SOLVE + end, "measurements", *median(times), seeds,
            criterion=criterion(problem)),
        Row(figure, name, point, SHARE + end, "1", solved / seeds, share.low, share.high, seeds,
            criterion=criterion(problem)),
        Row(figure, name, point, RATE + end, "1", found.rate),
    ]  # fmt: skip
