"""A task for devices that measure their own error."""

from typing import Literal

import numpy as np

from dither.tasks.task import AbstractTask, Task, make_task


class OwnError(AbstractTask):
    """No data: the device generates its inputs and measures its own error.

    For an object with `error()`, such as a bench whose software plays the series and compares the
    output. The task holds one dummy sample.
    """

    kind: Literal["own-error"] = "own-error"

    def load(self) -> Task:
        nothing = np.zeros((1, 1))
        return make_task(nothing, nothing, nothing, nothing)
