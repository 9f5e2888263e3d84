"""Slow drift of the outputs."""

from typing import Literal

from jaxtyping import Array, Float, Key

from dither.devices.imperfections.imperfection import Blueprint
from dither.devices.imperfections.wander import AbstractWander, Wandering


class OutputDrift(AbstractWander):
    """Let the gain of every output drift with every measurement, as in a laser or an amplifier.

    `y_k ← (1 + d_k) y_k`
    ```
    random-walk   d ← d + amount s / √over         at every measurement, s = ±1
    relaxation    d = amount n (1 − exp(−t/over))
    sinusoid      d = amount n sin(2π (t/over + phase))     one phase, U(0, 1), as for a temperature
    jumps         d ← d + amount s                 at random, on average once in `over`
    ```

    with n ~ N(0, 1) drawn once per output, and signs s drawn per output and time.

    Arguments: `form`; `amount` ≥ 0, relative, the standard deviation after `over` measurements
    (random-walk), in the limit (relaxation), of the amplitude (sinusoid), or the size of a jump;
    `over` ≥ 1, in measurements; `common`, whether all outputs drift together, with n = 1.
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
