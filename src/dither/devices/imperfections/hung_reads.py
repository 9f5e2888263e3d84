"""Measurements that hang."""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key
from pydantic import Field

from dither.contract import Status
from dither.devices.imperfections.imperfection import AbstractImperfection


class HungReads(AbstractImperfection):
    """Let a measurement hang with a probability until a time-out.

    It counts as failed, and its time is added to the device time.

    Arguments: `probability` in [0, 1); `seconds_hung` ≥ 0, the time-out; of several on one device
    the longest applies.
    """

    kind: Literal["hung-reads"] = "hung-reads"
    probability: Annotated[float, Field(ge=0, lt=1, examples=[0.1])]
    seconds_hung: Annotated[float, Field(ge=0, examples=[2.0])] = 1.0

    @property
    def fails(self) -> bool:
        return self.probability > 0

    @property
    def time_out(self) -> float:
        return self.seconds_hung

    def status(self, instance: tuple[()], key: Key[Array, ""]) -> Int[Array, ""]:
        del instance
        return jnp.where(jax.random.bernoulli(key, self.probability), Status.TIMED_OUT, Status.DONE)
