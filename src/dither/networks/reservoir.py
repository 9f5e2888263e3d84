"""The base class of reservoirs: fixed recurrent networks with a trained readout."""

import warnings
from abc import abstractmethod
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither._configuration import Configuration

TOLERANCE = 0.01
"""The relative distance above which a reservoir counts as inconsistent."""


class ConsistencyWarning(UserWarning):
    """The reservoir depends on its initial state: its states are not a function of its input."""


class Consistency(NamedTuple):
    """How well a reservoir forgets its initial state, from two runs on the same input.

    Of the measured states X and X' over the last tenth of the steps: `distance`, |X − X'| / |X|;
    `correlation` of the two, over all these steps and neurons (NaN if X is constant).
    """

    distance: float
    correlation: float


class AbstractReservoir(Configuration):
    """A driven map with internal state E, of which x is measured.

    `E(n+1) = F(E(n), u(n+1))`, `x(n) = G(E(n))`; all in single precision.

    Arguments: `neurons`, N.
    """

    kind: str
    neurons: Annotated[int, Field(ge=1)]

    @abstractmethod
    def fabricate(self, key: Key[Array, ""]) -> Any:
        """The couplings of one instance: a pytree, drawn once."""

    @abstractmethod
    def step(self, instance: Any, E: Float[Array, " N"], u: Float[Array, ""]) -> Float[Array, " N"]:
        """The next internal state from the present one and an input."""

    @abstractmethod
    def measured(self, E: Float[Array, "*T N"]) -> Float[Array, "*T N"]:
        """The measured values of internal states."""

    def states(
        self,
        instance: Any,
        inputs: Float[Array, " T"],
        initial: Float[Array, " N"] | None = None,
    ) -> Float[Array, "T N"]:
        """The measured states x; row n is the state after input n.

        Arguments: an instance from `fabricate`; T inputs; the internal state before the first of
        them, by default 0.
        """
        return self.measured(self.internal_states(instance, inputs, initial))

    def internal_states(
        self,
        instance: Any,
        inputs: Float[Array, " T"],
        initial: Float[Array, " N"] | None = None,
    ) -> Float[Array, "T N"]:
        """The internal states E, such as optical fields. Arguments as for `states`."""
        start = jnp.zeros(self.neurons) if initial is None else initial
        series = jnp.asarray(inputs, jnp.float32)
        fields: Float[Array, "T N"] = _fields(self, instance, series, start.astype(jnp.float32))
        return fields

    def consistency(
        self, instance: Any, inputs: Float[Array, " T"], key: Key[Array, ""]
    ) -> Consistency:
        """The agreement of two runs on the same input, one from 0 and one from U(−1, 1).

        Arguments: an instance; T inputs, enough for the memory to fade; a key for the other initial
        state.
        """
        other = jax.random.uniform(key, (self.neurons,), jnp.float32, -1.0, 1.0)
        end = max(1, len(inputs) // 10)
        first = self.states(instance, inputs)[-end:]
        second = self.states(instance, inputs, other)[-end:]
        distance = jnp.linalg.norm(first - second) / jnp.linalg.norm(first)
        correlation = jnp.corrcoef(_fluctuation(first), _fluctuation(second))[0, 1]
        return Consistency(float(distance), float(correlation))


@partial(jax.jit, static_argnums=0)
def _fields(
    reservoir: AbstractReservoir,
    instance: Any,
    inputs: Float[Array, " T"],
    initial: Float[Array, " N"],
) -> Float[Array, "T N"]:
    # the previous state is stored: a state both stored and passed on would be computed twice
    def advance(
        E: Float[Array, " N"], u: Float[Array, ""]
    ) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
        return reservoir.step(instance, E, u), E

    last, before = jax.lax.scan(advance, initial, inputs)
    return jnp.concatenate([before, last[None]])[1:]


def _fluctuation(x: Float[Array, "T N"]) -> Float[Array, " TN"]:
    """The states minus each neuron's mean over time."""
    return (x - x.mean(axis=0)).ravel()


def check_consistency(
    reservoir: AbstractReservoir, instance: Any, inputs: Float[Array, " T"], key: Key[Array, ""]
) -> Consistency:
    """The consistency of a reservoir, with a `ConsistencyWarning` if it has no fading memory.

    Arguments: a reservoir, an instance of it, T inputs, a key for the other initial state.
    """
    found = reservoir.consistency(instance, inputs, key)
    if not found.distance < TOLERANCE:
        warnings.warn(
            f"The {reservoir.kind} reservoir has no fading memory at this operating point: started "
            f"from two initial states, its states still differ by {found.distance:.0%} after "
            f"{len(inputs)} steps; use a weaker coupling or a longer series.",
            ConsistencyWarning,
            stacklevel=2,
        )
    return found
