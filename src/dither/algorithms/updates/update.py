"""The base class of updates: the use of an estimate, and the place of the next measurement."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

from jaxtyping import Array, Float, Int, Key

from dither._configuration import Configuration
from dither.contract import Problem

Descend: TypeAlias = Callable[
    [Float[Array, " P"], Float[Array, " P"], Any], tuple[Float[Array, " P"], Any]
]
"""A step of the rule's optimiser: from θ, a direction and Optax's state to the new θ and state."""


class AbstractUpdate(Configuration):
    """The second half of a gradient rule: from the averaged estimate to the next parameters."""

    kind: str

    @property
    def descends(self) -> bool:
        """Whether every step is plain descent, so that the rate `auto` is valid."""
        return True

    @property
    def estimates(self) -> int:
        """The estimates per step, each made at `point`."""
        return 1

    @property
    def shared(self) -> int:
        """The successive estimates that share a batch and perturbations."""
        return 1

    def check(self, problem: Problem, tau_x: int, tau_theta: int) -> None:
        """Check that the update suits a problem and a rule's periods. Errors: `RequestError`."""
        del problem, tau_x, tau_theta

    @abstractmethod
    def init(self, key: Key[Array, ""], theta: Float[Array, " P"], problem: Problem) -> Any:
        """The update's initial memory: a pytree."""

    def batch_index(self, memory: Any, number: Int[Array, ""]) -> Int[Array, ""]:
        """The batch index of the number-th batch."""
        del memory
        return number

    @abstractmethod
    def point(self, memory: Any, theta: Float[Array, " P"]) -> Float[Array, " P"]:
        """The point of the next measurements; the driver keeps it inside the bounds."""

    @abstractmethod
    def step(
        self,
        memory: Any,
        theta: Float[Array, " P"],
        direction: Float[Array, " P"],
        optimizer: Any,
        descend: Descend,
    ) -> tuple[Float[Array, " P"], Any, Any]:
        """θ after an estimate, Optax's state, and the update's memory.

        Arguments: its memory; θ; the preconditioned estimate; Optax's state; the step of the rule's
        optimiser, inside the bounds.
        """


class AbstractUpdateAtTheta(AbstractUpdate):
    """An update whose estimates are all made at θ."""

    def point(self, memory: Any, theta: Float[Array, " P"]) -> Float[Array, " P"]:
        del memory
        return theta
