"""An ask-and-tell interface to an algorithm, outside dither's own loops."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dither._errors import RequestError
from dither._threefry import key_for, random_key
from dither.algorithms.algorithm import AbstractAlgorithm, State
from dither.contract import AccessLevel, Clock, Measurement, Probe, Problem, Space
from dither.training.settings import vary

RATES = ("learning_rate", "a")
"""The names of the settings that are a learning rate."""


class ByCost:
    """A compiled algorithm with its state: `ask` and `tell` with NumPy arrays.

    Arguments: the algorithm; the space; the initial parameters; a seed.
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
                f"The algorithm {algorithm.kind} needs more than the cost of the parameters; use "
                "an algorithm such as weight-mgd or spsa."
            )
        self.algorithm, self.problem = algorithm, Problem(space)
        algorithm.check(self.problem)
        self._ask, self._tell = compiled(algorithm)
        theta = jnp.asarray(initial, jnp.result_type(float))
        self.state: State = algorithm.init(
            key_for(algorithm, random_key(seed)), theta, self.problem
        )

    def ask(self) -> Probe:
        """The next probe; the state's clock advances."""
        asked: tuple[Probe, State] = self._ask(self.state)
        probe, self.state = asked
        return probe

    @property
    def rate_name(self) -> str | None:
        """The name of the learning-rate setting; None if there is none, or if it is `auto`."""
        name = next((n for n in RATES if n in type(self.algorithm).model_fields), None)
        return None if name is None or isinstance(getattr(self.algorithm, name), str) else name

    @property
    def rate(self) -> float | None:
        """The learning rate."""
        return None if self.rate_name is None else float(getattr(self.algorithm, self.rate_name))

    def tell(
        self, probe: Probe, cost: float, rate: float | Float[np.ndarray, " P"] | None = None
    ) -> bool:
        """Tell the cost of a probe. Returns: whether the parameters were updated.

        `rate` is a learning rate other than the algorithm's, one for all parameters or for each.
        """
        other: dict[str, Any] = {}
        if rate is not None and self.rate_name is not None and np.any(rate != self.rate):
            other[f"algorithm.{self.rate_name}"] = jnp.asarray(rate, jnp.result_type(float))
        self.state, updated = self._tell(self.state, probe, cost, other)
        return bool(updated)

    def lookahead(self, first: Probe | None = None) -> int:
        """The number of probes that can be asked before the first of them is told.

        Counted from now, or from a probe that was asked and not yet told.
        """
        clock: Clock = jax.device_get(self.state.clock if first is None else first.clock)
        return self.algorithm.lookahead(self.problem, clock)

    def parameters(self) -> Float[np.ndarray, " P"]:
        """The present trained parameters."""
        return np.asarray(self.algorithm.parameters(self.state), float)


@cache
def compiled(algorithm: AbstractAlgorithm) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`ask` and `tell` of an algorithm, compiled."""
    return jax.jit(algorithm.ask), jax.jit(partial(_tell, algorithm))


def _tell(
    algorithm: AbstractAlgorithm, state: State, probe: Probe, cost: Any, other: dict[str, Any]
) -> tuple[State, Any]:
    measurement = Measurement(jnp.asarray(cost, jnp.result_type(float)))
    after, info = vary(algorithm, "algorithm", other).tell(state, probe, measurement)
    return after, info.updated
