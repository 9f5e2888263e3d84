"""Rules with a forward pass on the device and a backward pass on its digital twin."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dither._errors import RequestError
from dither.algorithms.descent_rule import AbstractDescentRule
from dither.contract import Measurement, Parameter, Problem, Space
from dither.networks import AnyNetwork


class AbstractTwinRule(AbstractDescentRule):
    """A rule that computes the backward pass from measured outputs on a network, the twin.

    Every step takes one measurement.

    Arguments: `twin`, a network as in `device.network`, or `FILE.py:NAME`; if not given, the
    network of a simulated device. The others as for `AbstractDescentRule`.
    Errors: `RequestError` for a real device without a twin, or a twin of another shape.
    """

    exact: ClassVar[bool] = True
    twin: AnyNetwork | None = None

    def network(self, problem: Problem) -> Any:
        """The twin, or the network of a simulated device."""
        return problem.network if self.twin is None else self.twin

    def twin_space(self, problem: Problem) -> Space:
        """The twin's parameters, in the device's order."""
        arrays = jax.eval_shape(self.network(problem).init, jax.random.key(0))
        return Space(tuple(Parameter(name, array.shape) for name, array in arrays.items()))

    def check(self, problem: Problem) -> None:
        super().check(problem)
        if self.network(problem) is None:
            raise RequestError(
                f"The algorithm {self.kind} computes its backward pass on a network, but this "
                "device has none; give algorithm.twin."
            )
        twins, own = self.twin_space(problem), problem.space
        flat = [(own.size,)] == _shapes(own) and twins.size == own.size
        if _shapes(twins) != _shapes(own) and not flat:
            raise RequestError(
                f"The twin has parameters of shapes {_told(twins)}, but the device has "
                f"{_told(own)}; give algorithm.twin the device's shapes."
            )


def output_errors(problem: Problem, measurement: Measurement) -> Float[Array, "B K"]:
    """`∂C_b/∂y_b`, from the measured outputs and the cost function."""
    seen = measurement.outputs
    errors: Float[Array, "B K"] = jax.grad(lambda y: jnp.sum(problem.cost(y, seen.targets)))(seen.y)
    return errors


def _shapes(space: Space) -> list[tuple[int, ...]]:
    return [parameter.shape for parameter in space.parameters]


def _told(space: Space) -> str:
    return ", ".join(" × ".join(map(str, shape)) for shape in _shapes(space))
