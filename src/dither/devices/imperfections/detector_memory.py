"""A detector with memory (image lag)."""

from typing import Annotated, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from pydantic import Field

from dither.devices.imperfections.imperfection import AbstractImperfection, Blueprint


class DetectorMemory(AbstractImperfection):
    """Add to every reading a share of an exponentially fading memory of earlier readings.

    ```
    y ← x + share r        x the signal at the detector, r its memory, initially 0
    r ← r + (1 − exp(−1/over)) (x̄ − r)       after every measurement
    ```

    x̄ is the mean of x over the samples of the measurement (over the steps of a series, for a
    readout), so that r is a running mean over about the last `over` measurements. Reading the
    outputs for display does not change the memory.

    Arguments: `share` of the memory, negative for a detector that fatigues; `over` > 0, the time
    constant, in measurements.
    Source: the one-pole model of image lag; checked against its closed form by the tests.
    """

    kind: Literal["detector-memory"] = "detector-memory"
    share: Annotated[float, Field(examples=[0.1])]
    over: Annotated[float, Field(gt=0, examples=[20.0])]

    def fabricate(self, key: Key[Array, ""], blueprint: Blueprint) -> Float[Array, " K"]:
        del key
        return jnp.zeros(blueprint.outputs)

    def outputs(
        self, instance: Float[Array, " K"], key: Key[Array, ""], outputs: Float[Array, "B ..."]
    ) -> Float[Array, "B ..."]:
        del key
        return outputs + self.share * instance

    def measured(
        self, instance: Float[Array, " K"], key: Key[Array, ""], outputs: Float[Array, "B ..."]
    ) -> Float[Array, " K"]:
        del key
        mean = jnp.mean(outputs.reshape(-1, instance.size), axis=0)
        return instance - jnp.expm1(-1 / self.over) * (mean - instance)
