"""The methods that a plan compares, by the access they need."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dither.algorithms import (
    AbstractAlgorithm,
    AbstractGradientRule,
    Backpropagation,
    CoordinateDescent,
    FiniteDifferences,
    LayerwiseMGD,
    NodePerturbation,
    Optimizer,
    WeightMGD,
)
from dither.algorithms.selection import Cyclic, Greedy, Priority, Uniform
from dither.contract import AccessLevel, Problem

MOST_ONE_BY_ONE = 20_000
"""The number of parameters beyond which finite differences (2 P measurements) are skipped."""

THIN = 0.05
"""The share of mirrors that are on at the start with the priority rule."""

OPTIMIZERS = ("adam", "sgd")
"""The optimisers considered; only the file's own if it names one of them."""


@dataclass(frozen=True)
class Method:
    """A method with its open settings.

    Attributes: `label`; `variants`, the algorithm with each optimiser, of which the best is used;
    `own`, whether it is the file's algorithm, whose rate and δ are kept.
    """

    label: str
    variants: tuple[Any, ...] = field(repr=False)
    own: bool = False

    @property
    def kind(self) -> str:
        """The algorithm's kind."""
        kind: str = self.variants[0].kind
        return kind

    @property
    def access(self) -> AccessLevel:
        """The access level that the method needs."""
        level: AccessLevel = self.variants[0].access_level
        return level


def methods(problem: Problem, own: AbstractAlgorithm | None) -> Iterator[Method]:
    """The methods, the file's own first, then ordered by access level."""
    if own is not None:
        yield Method(f"{own.kind}, as in the file", (own,), own=True)
    named = own.optimizer.name if isinstance(own, AbstractGradientRule) else None
    optimizers = (named,) if named in OPTIMIZERS else OPTIMIZERS
    for label, cls, settings in _known(problem):
        yield Method(
            label,
            tuple(
                cls(learning_rate=0.01, optimizer=Optimizer(name=name), **settings)
                for name in optimizers
            ),
        )


def _known(
    problem: Problem,
) -> Iterator[tuple[str, Callable[..., AbstractGradientRule], dict[str, Any]]]:
    yield "all weights at once", WeightMGD, {"pairs": "central"}
    layers = {p.name.rpartition("/")[0] for p in problem.space.parameters}
    if len(layers) > 1:
        yield "weights, layer by layer", LayerwiseMGD, {"pairs": "central"}
    if problem.space.size <= MOST_ONE_BY_ONE:
        yield "weights, one by one", FiniteDifferences, {"pairs": "central"}
    yield "neurons", NodePerturbation, {"pairs": "central"}
    if problem.batch > 1:
        each = {"pairs": "central", "per_example": True}
        yield "neurons, own signs for each example", NodePerturbation, each
    yield "backpropagation", Backpropagation, {}


def mirror_methods(own: AbstractAlgorithm | None) -> Iterator[Method]:
    """The methods for Boolean mirrors, the file's own first."""
    if own is not None:
        yield Method(f"{own.kind}, as in the file", (own,), own=True)
    for label, selection, on in (
        ("mirrors drawn at random", Uniform(), None),
        ("mirrors in sweeps", Cyclic(), None),
        ("mirrors greedily", Greedy(), None),
        ("mirrors by priority", Priority(), THIN),
    ):
        yield Method(label, (CoordinateDescent(selection=selection, on=on),))


def next_level(device: AccessLevel, found: list[Method]) -> AccessLevel | None:
    """The lowest access level above the device's that adds a method; None if there is none."""
    return min((m.access for m in found if m.access > device), default=None)
