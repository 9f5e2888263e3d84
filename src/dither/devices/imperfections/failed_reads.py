"""Measurements that fail."""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key
from pydantic import Field

from dither.contract import Status
from dither.devices.imperfections.imperfection import AbstractImperfection


class FailedReads(AbstractImperfection):
    """Let each measurement fail with a probability, independently.

    Arguments: `probability` in [0, 1).
    """

    kind: Literal["failed-reads"] = "failed-reads"
    probability: Annotated[float, Field(ge=0, lt=1, examples=[0.1])]

    @property
    def fails(self) -> bool:
        return self.probability > 0

    def status(self, instance: tuple[()], key: Key[Array, ""]) -> Int[Array, ""]:
        del instance
        return jnp.where(jax.random.bernoulli(key, self.probability), Status.FAILED, Status.DONE)
