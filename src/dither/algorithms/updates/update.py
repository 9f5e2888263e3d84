"""What is done with a gradient estimate, and where the next measurement is made."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

from jaxtyping import Array, Float

from dither._configuration import Configuration

Descend: TypeAlias = Callable[
    [Float[Array, " P"], Float[Array, " P"], Any], tuple[Float[Array, " P"], Any]
]
"""From θ, a direction and Optax's state: θ after a step of the rule's optimiser, and its state."""


class AbstractUpdate(Configuration):
    """The second half of a gradient rule: from the averaged estimate to the next parameters."""

    kind: str

    @abstractmethod
    def init(self, theta: Float[Array, " P"]) -> Any:
        """What the update remembers at the start: a pytree."""

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
        """θ after an update, Optax's state, and what the update remembers.

        Arguments: what it remembers; θ; the preconditioned estimate; Optax's state; the step of the
        rule's optimiser, inside the bounds.
        """
