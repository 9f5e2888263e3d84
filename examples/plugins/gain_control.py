"""An imperfection with memory: automatic gain control."""

from typing import Annotated

import jax.numpy as jnp
from pydantic import Field

from dither.devices import AbstractImperfection


class GainControl(AbstractImperfection):
    """An amplifier that turns its gain so that what it puts out keeps its size.

    ```
    y ← x / r                              r = 1 at first
    r ← r + rate (√mean(x²) + floor − r)   after every measurement
    ```

    Arguments: `rate` in (0, 1], of the control, per measurement; `floor` > 0, what keeps the gain
    below its inverse.
    """

    rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    floor: Annotated[float, Field(gt=0)] = 0.1

    def fabricate(self, key, blueprint):
        return jnp.ones(())

    def outputs(self, instance, key, outputs):
        return outputs / instance

    def measured(self, instance, key, outputs):
        size = jnp.sqrt(jnp.mean(outputs**2)) + self.floor
        return instance + self.rate * (size - instance)
