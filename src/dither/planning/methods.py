"""Which methods a plan compares, by what they must see of the device."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from dither.algorithms import (
    AbstractAlgorithm,
    Backpropagation,
    FiniteDifferences,
    LayerwiseMGD,
    NodePerturbation,
    Optimizer,
    WeightMGD,
)
from dither.contract import AccessLevel, Problem

MOST_ONE_BY_ONE = 20_000
"""Parameters beyond which finite differences, 2 P measurements an update, are not considered."""

OPTIMIZERS = ("sgd", "adam")


@dataclass(frozen=True)
class Method:
    """A method with what is left open in it.

    Attributes: `label`; `variants`, the algorithm with each optimiser, of which the best is taken;
    `own`, whether it is the file's own algorithm, whose rate and δ stand.
    """

    label: str
    variants: tuple[AbstractAlgorithm, ...] = field(repr=False)
    own: bool = False

    @property
    def kind(self) -> str:
        """The algorithm's kind."""
        return self.variants[0].kind

    @property
    def access(self) -> AccessLevel:
        """What it must see."""
        return type(self.variants[0]).access_level


def methods(problem: Problem, own: AbstractAlgorithm | None) -> Iterator[Method]:
    """The methods, the file's own first, then by what they must see."""
    if own is not None:
        yield Method(f"{own.kind}, as in the file", (own,), own=True)
    for label, cls, settings in _known(problem):
        yield Method(
            label,
            tuple(
                cls(learning_rate=0.01, optimizer=Optimizer(name=name), **settings)
                for name in OPTIMIZERS
            ),
        )


def _known(problem: Problem) -> Iterator[tuple[str, type[AbstractAlgorithm], dict[str, object]]]:
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


def next_level(device: AccessLevel, found: list[Method]) -> AccessLevel | None:
    """The lowest level above the device's at which a method is added; None where there is none."""
    return min((m.access for m in found if m.access > device), default=None)
