"""What a sampler is."""

from abc import abstractmethod
from typing import Any, ClassVar

from jaxtyping import Array, Float, Int, Key

from dither._configuration import Configuration
from dither.contract import AccessLevel


class AbstractSampler(Configuration):
    """Which samples a batch holds: a pure function of key, draw and what was measured before.

    Its state is a pytree that the loop carries and saves; () for a sampler that learns nothing.
    """

    kind: str
    access_level: ClassVar[AccessLevel] = AccessLevel.COST
    """What it must see of the device: its outputs, where it learns from the cost of each sample."""

    @property
    def learns(self) -> bool:
        """Whether it looks at measured costs."""
        return self.access_level > AccessLevel.COST

    @abstractmethod
    def check(self, grid: tuple[int, ...]) -> None:
        """Check that it can draw from samples on a grid. Errors: `RequestError`."""

    @abstractmethod
    def init(self, grid: tuple[int, ...]) -> Any:
        """The state to start from, for samples on a grid; (N,) for N samples without an order."""

    @abstractmethod
    def begin(self, state: Any, draw: Int[Array, ""]) -> Any:
        """The state by which the draw-th batch is drawn; the same again for the same batch."""

    @abstractmethod
    def draw(self, state: Any, key: Key[Array, ""], n: int, samples: int) -> Int[Array, " n"]:
        """n of the samples."""

    @abstractmethod
    def weights(self, state: Any, chosen: Int[Array, " n"]) -> Float[Array, " n"] | None:
        """Factors on the costs of chosen samples; None where all are 1."""

    @abstractmethod
    def tell(self, state: Any, chosen: Int[Array, " n"], costs: Float[Array, " n"]) -> Any:
        """The state after the costs of chosen samples were measured."""
