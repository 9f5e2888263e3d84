"""The base class of samplers."""

from abc import abstractmethod
from typing import Any, ClassVar

from jaxtyping import Array, Float, Int, Key

from dither._configuration import Configuration
from dither.contract import AccessLevel


class AbstractSampler(Configuration):
    """The choice of a batch's samples: a pure function of key, draw and earlier measurements.

    Its state is a pytree that the loop carries and saves; () for a sampler without memory.
    """

    kind: str
    access_level: ClassVar[AccessLevel] = AccessLevel.COST
    """The required access level: outputs, if the sampler uses the cost of each sample."""

    @property
    def learns(self) -> bool:
        """Whether the sampler uses measured costs."""
        return self.access_level > AccessLevel.COST

    @abstractmethod
    def check(self, grid: tuple[int, ...]) -> None:
        """Check that the sampler can draw from samples on a grid. Errors: `RequestError`."""

    @abstractmethod
    def init(self, grid: tuple[int, ...]) -> Any:
        """The initial state, for samples on a grid; (N,) for N unordered samples."""

    @abstractmethod
    def begin(self, state: Any, draw: Int[Array, ""]) -> Any:
        """The state that determines the draw-th batch; the same for the same batch."""

    @abstractmethod
    def draw(self, state: Any, key: Key[Array, ""], n: int, samples: int) -> Int[Array, " n"]:
        """n of the samples."""

    @abstractmethod
    def weights(self, state: Any, chosen: Int[Array, " n"]) -> Float[Array, " n"] | None:
        """Factors on the costs of chosen samples; None if all are 1."""

    @abstractmethod
    def tell(self, state: Any, chosen: Int[Array, " n"], costs: Float[Array, " n"]) -> Any:
        """The state after the costs of chosen samples were measured."""
