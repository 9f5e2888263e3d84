"""How long training takes on hardware of three speeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from dither.algorithms import WeightMGD
from dither.papers.drawing import PALETTE, picture, points
from dither.papers.mccaughan2023.rows import criterion
from dither.papers.mccaughan2023.runs import PROBLEMS, Cell, Problem, lasting, method, tuned
from dither.papers.mccaughan2023.scale import Scale
from dither.papers.paper import Made, Observe, Row, median, part_of
from dither.training import Until, train

TAU_P = {"1 ms": 1e-3, "10 ns": 1e-8, "200 ps": 2e-10}
"""The times of one measurement, in seconds."""

PUBLISHED_CIFAR10 = {"1 ms": 5.6 * 3600, "10 ns": 0.2, "200 ps": 4e-3}
"""Time to train CIFAR-10, in seconds: 2e7 tau_p each."""

NOT_RUN = "not run"

LARGE = (
    ("Fashion-MNIST CNN", 14_378, "accuracy", None),
    ("CIFAR-10 CNN", 26_154, "accuracy", 0.607),
    ("CIFAR-10 CNN, backpropagation", 26_154, "accuracy", 0.68),
)
"""What is too long for two cores, with the published accuracy."""


def hardware(scale: Scale, observe: Observe) -> Made:
    """Device time to solve the problems by the ledger of each training, at three speeds."""
    found: list[Row] = []
    todo = [name for name, _ in scale.budgets]
    for number, name in enumerate(todo):
        problem = PROBLEMS[name]
        share = part_of(observe, name, number / len(todo), 1 / len(todo))
        (one,) = tuned(
            problem, Cell(method("weight-mgd"), problem.device()), (0.0,), scale.rates,
            scale.tuning_seeds, scale.budget(name), share,
        )  # fmt: skip
        times = device_times(problem, one.rate, scale)
        found += [
            Row("hardware", f"weight-mgd, {name}", {"tau_p": tau_p}, "time to train", "s",
                *median(tau_p * times), len(times), criterion=criterion(problem))
            for tau_p in TAU_P.values()
        ]  # fmt: skip
    for speed, seconds in TAU_P.items():
        found.append(
            Row("hardware", "CIFAR-10 CNN", {"tau_p": seconds}, "time to train", "s", None,
                published=PUBLISHED_CIFAR10[speed], criterion=NOT_RUN)
        )  # fmt: skip
    for name, size, quantity, published in LARGE:
        found.append(
            Row("hardware", name, {"parameters": size}, quantity, "1", None, published=published,
                criterion=NOT_RUN)
        )  # fmt: skip
    return Made(found, _draw(found))


def device_times(problem: Problem, rate: float, scale: Scale) -> Float[np.ndarray, " seeds"]:
    """What each replica's ledger says at its first lasting solution, in units of tau_p.

    Infinite where there is none. Both measurements of a pair take tau_p.
    """
    algorithm = method("weight-mgd")
    assert isinstance(algorithm, WeightMGD)
    device = problem.device().model_copy(update={"seconds_per_measurement": 1.0})
    result = train(
        device,
        problem.task,
        algorithm.model_copy(update={"learning_rate": rate}),
        until=Until(measurements=scale.budget(problem.name)),
        replicas=scale.seeds,
        score_every=problem.every,
    )
    table = result.history.pivot(index="measurements", columns="replica")
    first = lasting(table["score"].to_numpy(), problem.score, problem.every)
    spent = table["device_seconds"]
    return np.array([spent.loc[at, n] if np.isfinite(at) else np.inf for n, at in enumerate(first)])


def _draw(found: Sequence[Row]) -> Any:
    with picture(5.4, 3.6) as figure:
        axes = figure.subplots()
        methods = list(dict.fromkeys(row.method for row in found if "tau_p" in row.point))
        for name, colour, marker in zip(methods, PALETTE, "osD^"):
            mine = [row for row in found if row.method == name and "tau_p" in row.point]
            if mine[0].measured is None:
                known = np.array([row.published for row in mine], float)
                axes.plot(
                    [row.point["tau_p"] for row in mine], known, marker,
                    color=colour, markerfacecolor="none", label=f"{name}, published",
                )  # fmt: skip
            else:
                points(axes, "tau_p", mine, colour, marker, name)
        axes.set(xscale="log", yscale="log", xlabel="tau_p: time of one measurement (s)",
                 ylabel="time to train (s, median)")  # fmt: skip
        axes.legend()
    return figure
