"""Slow drift of the parameters."""

from typing import Literal

from jaxtyping import Array, Float, Key

from dither.devices.imperfections.imperfection import Blueprint
from dither.devices.imperfections.wander import AbstractWander, Wandering


class Drift(AbstractWander):
    """The parameters drift with every measurement, unseen by the trainer.

    gains `theta_i ← (1 + d_i) theta_i`, offsets `theta_i ← theta_i + d_i`
    ```
    random-walk   d ← d + amount s / √over         at every measurement, s = ±1
    relaxation    d = amount n (1 − exp(−t/over))
    sinusoid      d = amount n sin(2π (t/over + phase))     one phase, U(0, 1), as of a temperature
    jumps         d ← d + amount s                 at a measurement in `over`, at random
    ```

    with n ~ N(0, 1) drawn once for each parameter, and signs s for each and each time.

    Arguments: `of`, `gains` or `offsets`; `form`; `amount` ≥ 0, the standard deviation that it
    comes to after `over` measurements (random-walk), at last (relaxation), that of its swing's size
    (sinusoid), or the size of a jump: relative for gains, in units of the parameters for offsets;
    `over` ≥ 1, in measurements; `common`, whether all parameters drift alike, then with n = 1.
    Source: derived here, checked by the tests.
    """

    kind: Literal["drift"] = "drift"
    of: Literal["gains", "offsets"] = "gains"

    def fabricate(self, key: Key[Array, ""], blueprint: Blueprint) -> Wandering:
        return self.start(key, blueprint.size)

    def parameters(self, instance: Wandering, theta: Float[Array, " P"]) -> Float[Array, " P"]:
        if self.of == "gains":
            return (1 + instance.d) * theta
        return theta + instance.d
