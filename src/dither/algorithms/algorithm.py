"""What a training algorithm is."""

from abc import abstractmethod
from typing import Any, ClassVar, TypeAlias

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from dither._configuration import Configuration
from dither._errors import RequestError
from dither.contract import AccessLevel, Clock, Measurement, Probe, Problem, Reference

State: TypeAlias = Any
"""An algorithm's state: a pytree with a field `clock`, and all that is needed to go on."""


class Info(eqx.Module):
    """What there is to look at after a measurement.

    Attributes: `updated`, whether the parameters have just been updated; `estimate`, the gradient
    estimate at that moment, of which the update was made (in the unbiased convention),
    None for rules that make none.
    """

    updated: Bool[Array, ""]
    estimate: Float[Array, " P"] | None = None


class AbstractAlgorithm(Configuration):
    """A training algorithm: a frozen configuration and pure functions `init`, `ask`, `tell`.

    The loop asks for a probe, writes and measures it, and tells what came back. The state holds all
    that is needed to go on. A measurement that failed is not told; the loop goes on at `retry`.
    """

    kind: str
    access_level: ClassVar[AccessLevel] = AccessLevel.COST
    sparse: ClassVar[bool] = False
    """Whether its probes are sparse writes, for which the device must hold the parameters first."""

    def check(self, problem: Problem) -> None:
        """Check that it can be trained on a problem. Errors: `RequestError`.

        A rule that reads the layers' inputs perturbs no parameter: of a Boolean or ternary one it
        holds a real latent value, and the device is set to the nearest level.
        """
        if self.access_level >= AccessLevel.SITES:
            return
        for parameter in problem.space.parameters:
            if parameter.levels in (2, 3):
                raise RequestError(
                    f"The algorithm {self.kind} moves by small steps and parameter "
                    f"'{parameter.name}' has only {parameter.levels} levels; take "
                    "coordinate-descent or boolean-mgd."
                )

    @abstractmethod
    def init(self, key: Key[Array, ""], parameters: Float[Array, " P"], problem: Problem) -> State:
        """The state to start from: a key, the initial parameters, what the run is about."""

    @abstractmethod
    def ask(self, state: State) -> tuple[Probe, State]:
        """The next probe, and the state whose clock has moved on; nothing else in it changes."""

    @abstractmethod
    def tell(self, state: State, probe: Probe, measurement: Measurement) -> tuple[State, Info]:
        """The state after a probe's measurement, and what there is to look at."""

    def reference(self, state: State) -> Reference | None:
        """What the next probe shares with the pass that it is compared with; None for nothing.

        A simulation then computes the layers before the one that is perturbed once for many probes.
        Of what is read at the sites, such a rule looks at the inputs of that layer only. Where the
        z of several layers are added to, it computes z of the first one once.
        """
        del state
        return None

    @abstractmethod
    def parameters(self, state: State) -> Float[Array, " P"]:
        """The parameters that training has reached, as the device can be set to."""

    def rate_of(self, state: State) -> Float[Array, ""]:
        """The learning rate in use, that of `auto` too; NaN for an algorithm without one."""
        del state
        return jnp.asarray(jnp.nan)

    def lookahead(self, problem: Problem, clock: Clock) -> int:
        """How many probes from this moment on can be asked before the first of them is told."""
        del problem, clock
        return 1

    def retry(self, problem: Problem, clock: Clock) -> Clock:
        """Where to go on after the measurement at a moment has failed: there again.

        A rule of pairs begins the pair again, so that its two sides are measured next to each
        other; what it was told of the first side, it will be told anew.
        """
        del problem
        return clock

    def on_drift(self, state: State) -> State:
        """The state once the device has drifted: what is remembered of old costs is stale."""
        return state

    def check_budget(self, problem: Problem, measurements: int) -> None:
        """Check that it can begin with so many measurements. Errors: `RequestError`."""
        del problem, measurements

    def warnings(self, problem: Problem, measurements: int | None) -> list[str]:
        """What in the settings is likely a mistake, each with what to change.

        Arguments: the problem; the measurements that the run may take, None if unbounded.
        """
        del problem, measurements
        return []
