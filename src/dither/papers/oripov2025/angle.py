"""Figure 3: the time until the summed estimate points along the gradient."""

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from dither._files import is_file, write_atomically
from dither._seal import DamagedFileError, read_json, sealed_json
from dither.contract import Parameters
from dither.laws import AngleTime, node_angle_time, weight_angle_time
from dither.laws.angle import exact_gradient
from dither.networks import CNN
from dither.papers.drawing import PALETTE, from_paper, laws, picture, points
from dither.papers.oripov2025.rows import LAYERS, MEASURED, rows_of
from dither.papers.paper import Made, Observe, Row, mean
from dither.papers.scale import Scale, device_of
from dither.studies.study import Cell
from dither.tasks import FashionMNIST, Task
from dither.tasks.scores import smoothed_cross_entropy
from dither.training.angle import measurements_to_angle
from dither.training.fit import check_fit

DEGREES = 15.0

LIMIT = 5
"""The length at which a simulation stops, as a multiple of the law."""


@lru_cache(1)
def first_batch() -> Task:
    """A task with only the first training images, the same for all seeds."""
    task = FashionMNIST(cost="smoothed_cross_entropy").load()
    n, parts = task.batch, (task.inputs, task.targets)
    cut: Task = eqx.tree_at(lambda t: (t.inputs, t.targets), task, [part[:n] for part in parts])
    return cut


def network_of(cell: Cell) -> CNN:
    """The network of a study's cell."""
    network = getattr(device_of(cell), "network", None)
    assert isinstance(network, CNN)
    return network


def _costs(outputs: Float[Array, "B K"]) -> Float[Array, " B"]:
    return smoothed_cross_entropy(outputs, first_batch().targets)


@lru_cache(None)
def exactly(network: CNN, seed: int) -> tuple[Parameters, Parameters]:
    """The initial weights of a network, and the gradient there on the first batch."""
    parameters = network.init(jax.random.key(seed))
    return parameters, exact_gradient(network, parameters, first_batch().inputs, _costs)


@lru_cache(None)
def angle_law(method: str, network: CNN, seed: int, probes: int) -> AngleTime:
    """The law at the initial weights of a seed: exact for weights, from probes for nodes."""
    parameters, gradient = exactly(network, seed)
    if method == "weight":
        return weight_angle_time(gradient, DEGREES)
    return node_angle_time(
        jax.random.key(seed), network, parameters, first_batch().inputs, _costs, DEGREES,
        probes=probes,
    )  # fmt: skip


def kept_iterations(
    cell: Cell, seed: int, limit: float, folder: Path | None, tell: Callable[[str], None]
) -> float:
    """`simulated_iterations`, cached in the folder."""
    name = "{method}-d{d}".format(**cell.labels)
    file = None if folder is None else folder / "angles" / f"{name}-seed{seed}.json"
    kept = None if file is None or not is_file(file) else _kept(file)
    # a result with an earlier limit than now is not used
    if kept is not None and (kept["iterations"] is not None or kept["limit"] >= limit):
        return math.inf if kept["iterations"] is None else float(kept["iterations"])
    found = simulated_iterations(cell, seed, limit, tell)
    if file is not None:
        iterations = None if math.isinf(found) else found
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, sealed_json({"iterations": iterations, "limit": limit}))
    return found


def _kept(file: Path) -> dict[str, Any] | None:
    """The content of a file; None if it is damaged, so that the simulation is repeated."""
    try:
        return read_json(file)
    except DamagedFileError:
        return None


def simulated_iterations(cell: Cell, seed: int, limit: float, tell: Callable[[str], None]) -> float:
    """Iterations until the angle is under 15°, from measured costs; infinite beyond a limit.

    The baseline is measured once, since neither batch nor parameters change.
    """
    run, device, task = cell.specification, device_of(cell), first_batch()
    algorithm = run.algorithm
    check_fit(device, task, algorithm, run.until)
    what = "{method}, d = {d}".format(**cell.labels)
    measured = measurements_to_angle(
        algorithm, device, task, *map(device.space.ravel, exactly(network_of(cell), seed)),
        degrees=DEGREES, most=1 + LAYERS * limit, seed=seed,
        observe=lambda n, angle: tell(f"{what}, seed {seed}: {angle:.0f}° after {n // LAYERS}"),
    )  # fmt: skip
    return float(np.ceil((measured - 1) / LAYERS))


def angles(scale: Scale, observe: Observe) -> Made:
    """Iterations and measurements until the estimate is within 15° of the gradient."""
    study, rows, done = scale.study("angles"), list[Row](), 0.0
    seeds = {int(d): number for d, number in scale["simulated"].items()}
    work = [c.labels["d"] ** 2 * (1 + 20 * seeds.get(c.labels["d"], 0)) for c in study.cells]
    for cell, mine in zip(study.cells, work):
        method, d, network = cell.labels["method"], cell.labels["d"], network_of(cell)
        observe(f"{method} perturbation, d = {d}", done / sum(work))
        law = float(np.mean([
            angle_law(method, network, seed, scale["probes"]).iterations
            for seed in range(scale["laws"])
        ]))  # fmt: skip
        found = []
        for seed in range(seeds.get(d, 0)):
            share = (done + mine * seed / seeds[d]) / sum(work)

            def tell(what: str, share: float = share) -> None:
                observe(what, share)

            found.append(kept_iterations(cell, seed, LIMIT * law, scale.folder, tell))
        done += mine
        point = {"d": d, "parameters": device_of(cell).space.size}
        rows += rows_of(
            "3", method, point, f"to a gradient angle of {DEGREES:.0f} degrees",
            mean(np.array(found)) if found else None, len(found), "mean", law,
        )  # fmt: skip
    return Made(rows, _draw(rows))


def _draw(rows: list[Row]) -> Any:
    with picture(5.2, 3.8) as figure:
        axes = figure.subplots()
        for method, colour, marker in zip(dict.fromkeys(r.method for r in rows), PALETTE, "os"):
            mine = [r for r in rows if r.method == method and r.unit == "iterations"]
            points(axes, "d", [r for r in mine if r.measured is not None], colour, marker,
                   f"{method}, simulated")  # fmt: skip
            from_paper(axes, "d", mine, colour, marker, f"{method}, published", aside=1.08)
            axes.plot([r.point["d"] for r in mine], laws(mine), "--", color=colour, linewidth=1,
                      label=f"{method}, law", zorder=3)  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="size d of the network",
                 ylabel=f"iterations to {DEGREES:.0f}°")  # fmt: skip
        sizes = sorted({r.point["d"] for r in rows})
        axes.set_xticks(sizes, [str(d) for d in sizes])
        axes.minorticks_off()
        axes.set_title(f"one iteration is {MEASURED * LAYERS} measurements", loc="right",
                       fontsize="small")  # fmt: skip
        axes.legend(loc="upper left")
    return figure
