"""How large the figures are run."""

from dataclasses import dataclass, replace
from pathlib import Path

import jax

from dither.papers.oripov2025.simulation import Method


@dataclass(frozen=True)
class Cell:
    """Trainings of figure 4: a method and a size, how many seeds, to which test accuracy."""

    method: Method
    d: int
    seeds: int
    accuracy: float


@dataclass(frozen=True)
class Scale:
    """Sizes and lengths.

    Attributes: of figure 3: `angle_sizes`, all d; `angle_laws`, the initial weights that the law is
    averaged over; `probes` of the law of node perturbation; `angle_simulated`, pairs of d and
    seeds; of figure 4: `trainings`; of figures 5 and 6: `sweeps`, whether they are run;
    `folder` that trainings are kept in.
    """

    angle_sizes: tuple[int, ...]
    angle_laws: int
    probes: int
    angle_simulated: tuple[tuple[int, int], ...]
    trainings: tuple[Cell, ...]
    sweeps: bool
    folder: Path | None = None


METHODS: tuple[Method, ...] = ("backprop", "node", "weight")

SIZES = (1, 2, 4, 8, 16, 32, 64)

FULL = Scale(
    angle_sizes=SIZES,
    angle_laws=10,
    probes=256,
    angle_simulated=((1, 10), (2, 10), (4, 3)),
    trainings=(
        Cell("backprop", 2, 3, 0.6),
        Cell("node", 2, 3, 0.6),
        Cell("weight", 2, 3, 0.6),
    ),
    sweeps=False,
)

GPU_TRAININGS = tuple(Cell(method, d, 10, 0.8) for d in (1, 2, 4, 8) for method in METHODS)
"""Figure 4 in full where there is a GPU."""

QUICK = Scale(
    angle_sizes=SIZES,
    angle_laws=1,
    probes=16,
    angle_simulated=((1, 1), (2, 1)),
    trainings=(Cell("backprop", 2, 1, 0.2),),
    sweeps=False,
)
"""The law at every size, simulations of the small ones."""


def what_fits(scale: Scale, folder: Path) -> Scale:
    """A scale with its trainings kept in a folder; the full one has more of them on a GPU."""
    scale = replace(scale, folder=folder)
    if scale.trainings == FULL.trainings and jax.default_backend() == "gpu":
        return replace(scale, trainings=GPU_TRAININGS, sweeps=True)
    return scale
