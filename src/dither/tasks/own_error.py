"""The task of a device that measures its own error."""

from typing import Literal

import numpy as np

from dither.tasks.task import AbstractTask, Task, make_task


class OwnError(AbstractTask):
    """Nothing is fed in from outside: the device drives itself and says how wrong it is.

    For an object with `error()`, such as a bench whose own software plays the series and compares.
    It holds one sample of no meaning.
    """

    kind: Literal["own-error"] = "own-error"

    def load(self) -> Task:
        nothing = np.zeros((1, 1))
        return make_task(nothing, nothing, nothing, nothing)
