"""Slow drift of the outputs."""

from typing import Literal

from jaxtyping import Array, Float, Key

from dither.devices.imperfections.imperfection import Blueprint
from dither.devices.imperfections.wander import AbstractWander, Wandering


class OutputDrift(AbstractWander):
    """The gain of every output drifts with every measurement: a laser, an amplifier.

    `y_k ← (1 + d_k) y_k`
    ```
    random-walk   d ← d + amount s / √over         at every measurement, s = ±1
    relaxation    d = amount n (1 − exp(−t/over))
    sinusoid      d = amount n sin(2π (t/over + phase))     one phase, U(0, 1), as of a temperature
    jumps         d ← d + amount s                 at a measurement in `over`, at random
    ```

    with n ~ N(0, 1) drawn once for each output, and signs s for each and each time.

    Arguments: `form`; `amount` ≥ 0, relative, the standard deviation that it comes to after `over`
    measurements (random-walk), at last (relaxation), that of its swing's size (sinusoid), or the
    size of a jump; `over` ≥ 1, in measurements; `common`, whether all outputs drift alike, then
    with n = 1.
    Source: derived here, checked by the tests.
    """

    kind: Literal["output-drift"] = "output-drift"

    def fabricate(self, key: Key[Array, ""], blueprint: Blueprint) -> Wandering:
        return self.start(key, blueprint.outputs)

    def outputs(
        self, instance: Wandering, key: Key[Array, ""], outputs: Float[Array, "B K"]
    ) -> Float[Array, "B K"]:
        del key
        return (1 + instance.d) * outputs
