"""n-bit parity, including XOR."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from dither.tasks.task import AbstractSampledTask, Task


class Parity(AbstractSampledTask):
    """All 2ⁿ patterns of n bits; the target is 1 for an odd number of ones.

    Arguments: `bits`, n, 2 to 16. The test set is the training set: the whole truth table.
    Source: McCaughan2023.
    """

    kind: Literal["parity"] = "parity"
    bits: Annotated[int, Field(ge=2, le=16)] = 4

    def load(self) -> Task:
        patterns = (np.arange(2**self.bits)[:, None] >> np.arange(self.bits)[::-1]) & 1
        odd = patterns.sum(axis=1) % 2
        return self.task_of(patterns, odd, patterns, odd, classes=("even", "odd"))


class XOR(AbstractSampledTask):
    """Exclusive or: the four patterns of two bits, with target 1 if they differ.

    Source: McCaughan2023.
    """

    kind: Literal["xor"] = "xor"

    def load(self) -> Task:
        return Parity(bits=2, **dict(self, kind="parity")).load()
