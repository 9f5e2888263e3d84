"""The data that the driver of the gradient rules passes to a rule."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from dither.algorithms.calibration import Calibration
from dither.algorithms.optimizer import Optimizer
from dither.algorithms.outliers import Size
from dither.contract import Clock, Measurement, Probe, Problem


class GradientState(eqx.Module):
    """The state of a gradient rule.

    Attributes: `theta`, the parameters; `gradient`, G, the sum of the estimates since the last
    update; `reference`, the costs that the next ones are compared with, due in the tick `referred`;
    `optimizer`, Optax's state; `calibration`, of the rate `auto`, and `size`, of the outlier
    clipping, () if unused; `memory`, of the rule; `update`, the memory of its update; `problem`.
    """

    clock: Clock
    key: Key[Array, ""]
    theta: Float[Array, " P"]
    gradient: Float[Array, " P"]
    reference: Float[Array, "..."]
    referred: Int[Array, ""]
    optimizer: Any
    calibration: Calibration | tuple[()]
    size: Size | tuple[()]
    memory: Any
    update: Any
    problem: Problem = eqx.field(static=True)

    def rate(
        self, asked: float | Float[Array, "..."] | str, optimizer: Optimizer, ticks: int
    ) -> Float[Array, ""]:
        """The learning rate in use, for updates some ticks apart; 0 during trial updates."""
        if isinstance(self.calibration, Calibration):
            return self.calibration.step()
        return jnp.asarray(asked, self.theta.dtype) * optimizer.factor(self.clock.tick // ticks)


class At(NamedTuple):
    """The place of a perturbation: θ on the device's grid, the turn, the side.

    The side is +1, −1 for the second of a pair, 0 for the reference.
    """

    theta: Float[Array, " P"]
    turn: Int[Array, ""]
    side: Int[Array, ""]


class Told(NamedTuple):
    """The result of a probe.

    Attributes: `theta`, as in `At`; the `probe`; its `measurement`; `change`, of the costs,
    `C(θ + p) − C(θ)` or `(C(θ ± p) − C(θ ∓ p)) / 2`; `refers`, whether the probe is the reference,
    for which `change` is meaningless; `again`, whether it was told before, for instance because its
    partner failed.
    """

    theta: Float[Array, " P"]
    probe: Probe
    measurement: Measurement
    change: Float[Array, "..."]
    refers: Bool[Array, ""]
    again: Bool[Array, ""]
