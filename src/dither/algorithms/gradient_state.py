"""What the driver of the gradient rules hands to a rule."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from dither.algorithms.calibration import Calibration
from dither.algorithms.optimizer import Optimizer
from dither.algorithms.outliers import Size
from dither.contract import Clock, Measurement, Probe, Problem


class GradientState(eqx.Module):
    """Where a gradient rule stands.

    Attributes: `theta`, the parameters; `gradient`, G, the sum of the estimates since the last
    update; `reference`, the costs that the next ones are compared with, which fell due in
    the tick `referred`; `optimizer`, Optax's state;
    `calibration`, of the rate `auto`, and `size`, of the outliers, () without; `memory`, what the
    rule itself remembers; `update`, what its update remembers; `problem`.
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
        """The learning rate in use, of updates that are some ticks apart; 0 while only tried."""
        if isinstance(self.calibration, Calibration):
            return self.calibration.step()
        return jnp.asarray(asked, self.theta.dtype) * optimizer.factor(self.clock.tick // ticks)


class At(NamedTuple):
    """Where a perturbation is made: θ as the device can be set to, the turn, the side.

    The side is +1, −1 for the other one of a pair, 0 for the reference.
    """

    theta: Float[Array, " P"]
    turn: Int[Array, ""]
    side: Int[Array, ""]


class Told(NamedTuple):
    """What a probe has brought.

    Attributes: `theta`, as in `At`; the `probe`; its `measurement`; `change`, of the costs,
    `C(θ + p) − C(θ)` or `(C(θ ± p) − C(θ ∓ p)) / 2`; `refers`, whether the probe is the reference,
    of which `change` says nothing; `again`, whether it has been told before, as where its
    partner failed.
    """

    theta: Float[Array, " P"]
    probe: Probe
    measurement: Measurement
    change: Float[Array, "..."]
    refers: Bool[Array, ""]
    again: Bool[Array, ""]
