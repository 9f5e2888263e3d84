"""Slow drift of the parameters."""

from typing import Literal

from jaxtyping import Array, Float, Key

from dither.devices.imperfections.imperfection import Blueprint
from dither.devices.imperfections.wander import AbstractWander, Wandering


class Drift(AbstractWander):
    """Let the parameters drift with every measurement, unknown to the algorithm.

    gains `theta_i ← (1 + d_i) theta_i`, offsets `theta_i ← theta_i + d_i`
    ```
    random-walk   d ← d + amount s / √over         at every measurement, s = ±1
    relaxation    d = amount n (1 − exp(−t/over))
    sinusoid      d = amount n sin(2π (t/over + phase))     one phase, U(0, 1), as for a temperature
    jumps         d ← d + amount s                 at random, on average once in `over`
    ```

    with n ~ N(0, 1) drawn once per parameter, and signs s drawn per parameter and time.

    Arguments: `of`, `gains` or `offsets`; `form`; `amount` ≥ 0, the standard deviation after `over`
    measurements (random-walk), in the limit (relaxation), of the amplitude (sinusoid), or the size
    of a jump: relative for gains, in units of the parameters for offsets; `over` ≥ 1, in
    measurements; `common`, whether all parameters drift together, with n = 1.
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
