"""An algorithm that is asked and told one cost after another, outside dither's own loops."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dither._errors import RequestError
from dither._threefry import random_key
from dither.algorithms.algorithm import AbstractAlgorithm, State
from dither.contract import AccessLevel, Clock, Measurement, Probe, Problem, Space


class ByCost:
    """An algorithm with its state, compiled: `ask` and `tell`, with NumPy outside.

    Arguments: the algorithm; the space; parameters to start from; a seed.
    Errors: `RequestError` for an algorithm that needs more than the cost of the parameters.
    """

    def __init__(
        self,
        algorithm: AbstractAlgorithm,
        space: Space,
        initial: Float[np.ndarray, " P"],
        seed: int,
    ) -> None:
        if algorithm.access_level > AccessLevel.COST or algorithm.sparse:
            raise RequestError(
                f"The algorithm {algorithm.kind} needs more than the cost of the parameters; take "
                "one such as weight-mgd or spsa."
            )
        self.algorithm, self.problem = algorithm, Problem(space)
        algorithm.check(self.problem)
        self._ask, self._tell = compiled(algorithm)
        theta = jnp.asarray(initial, jnp.result_type(float))
        self.state: State = algorithm.init(random_key(seed), theta, self.problem)

    def ask(self) -> Probe:
        """The next probe; the state's clock moves on."""
        asked: tuple[Probe, State] = self._ask(self.state)
        probe, self.state = asked
        return probe

    def tell(self, probe: Probe, cost: float) -> bool:
        """What a probe cost. Returns: whether the parameters have been updated by it."""
        self.state, updated = self._tell(self.state, probe, cost)
        return bool(updated)

    def lookahead(self, first: Probe | None = None) -> int:
        """How many probes can be asked before the first of them is told.

        From now on, or counted from one that was asked and is not told yet.
        """
        clock: Clock = jax.device_get(self.state.clock if first is None else first.clock)
        return self.algorithm.lookahead(self.problem, clock)

    def parameters(self) -> Float[np.ndarray, " P"]:
        """What training has reached."""
        return np.asarray(self.algorithm.parameters(self.state), float)


@cache
def compiled(algorithm: AbstractAlgorithm) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`ask` and `tell` of an algorithm, compiled."""
    return jax.jit(algorithm.ask), jax.jit(partial(_tell, algorithm))


def _tell(algorithm: AbstractAlgorithm, state: State, probe: Probe, cost: Any) -> tuple[State, Any]:
    measurement = Measurement(jnp.asarray(cost, jnp.result_type(float)))
    after, info = algorithm.tell(state, probe, measurement)
    return after, info.updated
