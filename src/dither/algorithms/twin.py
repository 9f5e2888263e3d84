"""Rules that measure forward and compute their backward pass on a digital twin of the device."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dither._errors import RequestError
from dither.algorithms.descent_rule import AbstractDescentRule
from dither.contract import Measurement, Parameter, Problem, Space
from dither.networks import AnyNetwork


class AbstractTwinRule(AbstractDescentRule):
    """A rule whose backward pass is computed from the measured outputs on a network, the twin.

    Every step takes one measurement.

    Arguments: `twin`, a network as in `device.network`, or `FILE.py:NAME`; if not given, the
    network that a simulated device is made of. The others as for `AbstractDescentRule`.
    Errors: `RequestError` for a real device without a twin, a twin of another shape.
    """

    exact: ClassVar[bool] = True
    twin: AnyNetwork | None = None

    def network(self, problem: Problem) -> Any:
        """The twin, or the network that a simulated device is made of."""
        return problem.network if self.twin is None else self.twin

    def twin_space(self, problem: Problem) -> Space:
        """The twin's parameters, in the device's order."""
        arrays = jax.eval_shape(self.network(problem).init, jax.random.key(0))
        return Space(tuple(Parameter(name, array.shape) for name, array in arrays.items()))

    def check(self, problem: Problem) -> None:
        super().check(problem)
        if self.network(problem) is None:
            raise RequestError(
                f"The algorithm {self.kind} computes its backward pass on a network and this "
                "device tells none; give algorithm.twin."
            )
        twins, own = self.twin_space(problem), problem.space
        flat = [(own.size,)] == _shapes(own) and twins.size == own.size
        if _shapes(twins) != _shapes(own) and not flat:
            raise RequestError(
                f"The twin has parameters of shapes {_told(twins)} and the device of "
                f"{_told(own)}; give algorithm.twin the device's shape."
            )


def output_errors(problem: Problem, measurement: Measurement) -> Float[Array, "B K"]:
    """`∂C_b/∂y_b`, from the measured outputs and the cost's formula."""
    seen = measurement.outputs
    errors: Float[Array, "B K"] = jax.grad(lambda y: jnp.sum(problem.cost(y, seen.targets)))(seen.y)
    return errors


def _shapes(space: Space) -> list[tuple[int, ...]]:
    return [parameter.shape for parameter in space.parameters]


def _told(space: Space) -> str:
    return ", ".join(" × ".join(map(str, shape)) for shape in _shapes(space))
