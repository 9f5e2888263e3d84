"""A gradient rule with a learning rate."""

from typing import Annotated

from jaxtyping import Array, Float, Int
from pydantic import Field

from dither._errors import RequestError
from dither.algorithms.calibration import LearningRate
from dither.algorithms.gradient import AbstractGradientRule
from dither.algorithms.gradient_state import GradientState
from dither.contract import Problem, Reference


class AbstractDescentRule(AbstractGradientRule):
    """A gradient rule with a learning rate.

    Arguments: `learning_rate`, eta ≥ 0, or `auto` for plain descent
    (`dither.algorithms.calibration`).
    """

    learning_rate: Annotated[LearningRate, Field(examples=[0.02])]

    def check(self, problem: Problem) -> None:
        super().check(problem)
        few = [one.name for one in problem.space.parameters if one.levels in (2, 3)]
        if few and isinstance(self.learning_rate, str):
            raise RequestError(
                f"learning_rate auto tries small steps, but parameter '{few[0]}' has only 2 or 3 "
                "levels; give a number."
            )

    @property
    def rate(self) -> float | Float[Array, "..."] | str:
        return self.learning_rate

    def rate_of(self, state: GradientState) -> Float[Array, ""]:
        ticks = self.times(state.problem).tau_theta * self.update.estimates
        return state.rate(self.learning_rate, self.optimizer, ticks)

    def layer(self, state: GradientState) -> tuple[Int[Array, ""] | None, tuple[str, ...]] | None:
        """The number of the only perturbed layer, and the names of all layers.

        The number is None if the z of several layers are perturbed; the result is None if their
        parameters are.
        """
        del state
        return None

    def reference(self, state: GradientState) -> Reference | None:
        times, layer = self.times(state.problem), self.layer(state)
        if layer is None or times.shared > 1:  # the update chooses the batches
            return None
        if layer[0] is None and times.tries:  # trials are made at other parameters
            return None
        return times.departure(state.clock, self._point(state), *layer)
