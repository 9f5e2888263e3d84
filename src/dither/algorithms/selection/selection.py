"""The base class of selection rules, which choose the next mirror of a Boolean readout to test."""

from abc import abstractmethod
from typing import Any, TypeAlias

from jaxtyping import Array, Bool, Float, Int, Key

from dither._configuration import Configuration

Memory: TypeAlias = Any
"""The memory of a selection rule: a pytree of arrays."""


class AbstractSelection(Configuration):
    """A selection rule: a frozen configuration and pure functions `init`, `choose`, `learn`.

    It knows which mirror was tested, the decrease of the measured error, and whether the flip was
    kept; it never sees the output or the states.
    """

    kind: str

    @abstractmethod
    def init(self, size: int) -> Memory:
        """The memory before the first test of N = `size` mirrors."""

    @abstractmethod
    def choose(self, memory: Memory, key: Key[Array, ""]) -> Int[Array, ""]:
        """The mirror to test next; the key is new for every test."""

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

        Arguments: the memory and the key used for the choice; `place`, the mirror; `fall`, the
        measured error before the flip minus that after it; `kept`, whether the flip was kept.
        """
