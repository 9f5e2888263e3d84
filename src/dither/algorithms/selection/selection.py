"""What a selection rule is: which mirror of a Boolean readout to test next."""

from abc import abstractmethod
from typing import Any, TypeAlias

from jaxtyping import Array, Bool, Float, Int, Key

from dither._configuration import Configuration

Memory: TypeAlias = Any
"""What a selection rule remembers of the tests so far: a pytree of arrays."""


class AbstractSelection(Configuration):
    """A selection rule: a frozen configuration and pure functions `init`, `choose`, `learn`.

    It sees which mirror was tested, by how much the measured error fell, and whether the flip was
    kept; never the output or the states.
    """

    kind: str

    @abstractmethod
    def init(self, size: int) -> Memory:
        """The memory before the first test of N = `size` mirrors."""

    @abstractmethod
    def choose(self, memory: Memory, key: Key[Array, ""]) -> Int[Array, ""]:
        """The mirror to test next; the key is a fresh one for every test."""

    @abstractmethod
    def learn(
        self,
        memory: Memory,
        key: Key[Array, ""],
        place: Int[Array, ""],
        fall: Float[Array, ""],
        kept: Bool[Array, ""],
    ) -> Memory:
        """The memory after a test.

        Arguments: the memory and the key that the mirror was chosen with; `place`, the mirror;
        `fall`, the measured error before the flip minus that after it; `kept`, whether the flip
        was kept.
        """
