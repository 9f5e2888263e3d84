"""The base class of perturbation codes."""

from abc import abstractmethod

from jaxtyping import Array, Float, Int, Key

from dither._configuration import Configuration


class AbstractCode(Configuration):
    """A perturbation code: from (key, tick) to one value for every parameter.

    `p_i(t)`, of zero mean and with `<p_i p_j> = power · [i = j]` over time; a parameter is
    perturbed by `delta · p_i(t)`. A code is a pure function and needs no storage: a run can be
    replayed from its key and the measured costs.

    Source: McCaughan2023, section on perturbation types.
    """

    kind: str

    @abstractmethod
    def __call__(self, key: Key[Array, ""], tick: Int[Array, ""], size: int) -> Float[Array, " P"]:
        """The code's value for each of `size` parameters at a tick.

        Arguments: a JAX key (the same for the whole run); the tick, counted from 0; P.
        Returns: P values, of order one.
        """

    @abstractmethod
    def power(self, size: int) -> float:
        """`<p_i²>` over time: the divisor that makes the correlation unbiased."""

    @abstractmethod
    def kappa(self, size: int) -> float:
        """`E|G|²/|g|² − 1` of the estimate from one tick; P − 1 for signs."""

    def peak(self) -> float:
        """The largest `|p_i|`, in units of delta."""
        return 1.0

    def cycle(self, size: int) -> int | None:
        """The ticks after which the estimate is exact to first order in delta; None if never."""
        del size
        return None
