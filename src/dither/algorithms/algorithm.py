"""The base class of training algorithms."""

from abc import abstractmethod
from typing import Any, ClassVar, TypeAlias

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from dither._configuration import Configuration
from dither._errors import RequestError
from dither.contract import AccessLevel, Clock, Measurement, Probe, Problem, Reference

State: TypeAlias = Any
"""The complete state of an algorithm: a pytree with a field `clock`."""


class Info(eqx.Module):
    """Diagnostics after a measurement.

    Attributes: `updated`, whether the parameters were updated; `estimate`, the unbiased gradient
    estimate used for the update, None for rules without one.
    """

    updated: Bool[Array, ""]
    estimate: Float[Array, " P"] | None = None


class AbstractAlgorithm(Configuration):
    """A training algorithm: a frozen configuration and pure functions `init`, `ask`, `tell`.

    The loop asks for a probe, writes and measures it, and tells the result. The state is complete.
    A failed measurement is not told; the loop continues at `retry`.
    """

    kind: str
    access_level: ClassVar[AccessLevel] = AccessLevel.COST
    sparse: ClassVar[bool] = False
    """Whether its probes are sparse writes, so that the device must hold the parameters first."""

    def check(self, problem: Problem) -> None:
        """Check that the algorithm suits a problem. Errors: `RequestError`.

        A rule that reads the layers' inputs perturbs no parameters. For a Boolean or ternary
        parameter it keeps a real latent value, and the device is set to the nearest level.
        """
        if self.access_level >= AccessLevel.SITES:
            return
        for parameter in problem.space.parameters:
            if parameter.levels in (2, 3):
                raise RequestError(
                    f"The algorithm {self.kind} takes small steps, but parameter "
                    f"'{parameter.name}' has only {parameter.levels} levels; use "
                    "coordinate-descent or boolean-mgd."
                )

    @abstractmethod
    def init(self, key: Key[Array, ""], parameters: Float[Array, " P"], problem: Problem) -> State:
        """The initial state from a key, the initial parameters and the problem."""

    @abstractmethod
    def ask(self, state: State) -> tuple[Probe, State]:
        """The next probe, and the state with an advanced clock; nothing else changes."""

    @abstractmethod
    def tell(self, state: State, probe: Probe, measurement: Measurement) -> tuple[State, Info]:
        """The state after a probe's measurement, and diagnostics."""

    def reference(self, state: State) -> Reference | None:
        """What the next probe shares with its reference pass; None for nothing.

        A simulation then computes the layers before the perturbed one once for many probes. Such a
        rule uses only that layer's inputs among the readings at the sites. If the z of several
        layers are perturbed, the simulation computes the z of the first one once.
        """
        del state
        return None

    @abstractmethod
    def parameters(self, state: State) -> Float[Array, " P"]:
        """The present trained parameters, on the device's grid."""

    def rate_of(self, state: State) -> Float[Array, ""]:
        """The learning rate in use, including that of `auto`; NaN for an algorithm without one."""
        del state
        return jnp.asarray(jnp.nan)

    def lookahead(self, problem: Problem, clock: Clock) -> int:
        """The number of probes that can be asked before the first of them is told."""
        del problem, clock
        return 1

    def retry(self, problem: Problem, clock: Clock) -> Clock:
        """The clock at which to continue after a failed measurement; by default the same.

        A rule with pairs repeats the whole pair, so that both sides are measured in direct
        succession; the first side is then told again.
        """
        del problem
        return clock

    def on_drift(self, state: State) -> State:
        """The state after a drift alarm: remembered costs are outdated."""
        return state

    def check_budget(self, problem: Problem, measurements: int) -> None:
        """Check that the budget of measurements suffices to begin. Errors: `RequestError`."""
        del problem, measurements

    def warnings(self, problem: Problem, measurements: int | None) -> list[str]:
        """Warnings about settings that are probably mistakes, each with what to change.

        Arguments: the problem; the run's budget of measurements, None if unbounded.
        """
        del problem, measurements
        return []
