"""What is done with a gradient estimate, and where the next measurement is made."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

from jaxtyping import Array, Float, Int, Key

from dither._configuration import Configuration
from dither.contract import Problem

Descend: TypeAlias = Callable[
    [Float[Array, " P"], Float[Array, " P"], Any], tuple[Float[Array, " P"], Any]
]
"""From θ, a direction and Optax's state: θ after a step of the rule's optimiser, and its state."""


class AbstractUpdate(Configuration):
    """The second half of a gradient rule: from the averaged estimate to the next parameters."""

    kind: str

    @property
    def descends(self) -> bool:
        """Whether every step is one of plain descent, so that the rate `auto` holds for it."""
        return True

    @property
    def estimates(self) -> int:
        """How many estimates a step takes, each made where `point` then says."""
        return 1

    @property
    def shared(self) -> int:
        """How many estimates in a row are made with one batch and the same perturbations."""
        return 1

    def check(self, problem: Problem, tau_x: int, tau_theta: int) -> None:
        """Check that it goes with a problem and a rule's periods. Errors: `RequestError`."""
        del problem, tau_x, tau_theta

    @abstractmethod
    def init(self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem) -> Any:
        """What the update remembers at the start: a pytree."""

    def batch_index(self, memory: Any, number: Int[Array, ""]) -> Int[Array, ""]:
        """Which batch is the number-th to be measured."""
        del memory
        return number

    @abstractmethod
    def point(self, memory: Any, theta: Float[Array, " P"]) -> Float[Array, " P"]:
        """Where the next measurements are made; the driver keeps it inside the bounds."""

    @abstractmethod
    def step(
        self,
        memory: Any,
        theta: Float[Array, " P"],
        direction: Float[Array, " P"],
        optimizer: Any,
        descend: Descend,
    ) -> tuple[Float[Array, " P"], Any, Any]:
        """θ after an estimate, Optax's state, and what the update remembers.

        Arguments: what it remembers; θ; the preconditioned estimate; Optax's state; the step of the
        rule's optimiser, inside the bounds.
        """


class AbstractUpdateAtTheta(AbstractUpdate):
    """An update whose estimates are all made at θ."""

    def point(self, memory: Any, theta: Float[Array, " P"]) -> Float[Array, " P"]:
        del memory
        return theta
