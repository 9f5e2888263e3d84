"""Backpropagation, a reference for simulations only."""

from typing import ClassVar, Literal

from jaxtyping import Array, Float

from dither.algorithms.descent_rule import AbstractDescentRule
from dither.algorithms.gradient_state import At, GradientState, Told
from dither.contract import AccessLevel, Problem


class Backpropagation(AbstractDescentRule):
    """The exact gradient of a batch, then an update: `θ ← θ − eta ∂C/∂θ` (or an Optax update).

    The ledger counts one measurement per step, the forward pass; the backward pass is not counted.

    Arguments: as for `AbstractDescentRule`.
    Errors: `RequestError` for a device that does not show gradients.
    """

    kind: Literal["backpropagation"] = "backpropagation"
    access_level: ClassVar[AccessLevel] = AccessLevel.GRADIENTS
    exact: ClassVar[bool] = True

    def perturb(self, state: GradientState, at: At) -> tuple[Float[Array, " P"], None]:
        del state
        return at.theta, None

    def estimate(self, state: GradientState, told: Told) -> Float[Array, " P"]:
        del state
        return told.measurement.gradient

    def spread(self, problem: Problem) -> float:
        del problem
        return 1.0
