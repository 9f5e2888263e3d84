"""NARMA10: a nonlinear moving average with ten steps of memory."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from dither._errors import RequestError
from dither.tasks.scores import nmse
from dither.tasks.series import AbstractSeries, Series, make_series

ORDER = 10


class NARMA10(AbstractSeries):
    """Predict the output of a nonlinear autoregressive moving average of order 10 from its input.

    `y(n+1) = 0.3 y(n) + 0.05 y(n) Σ_{i=0}^{9} y(n−i) + 1.5 u(n−9) u(n) + 0.1`, u ~ U(0, 0.5)

    The target at step n is y(n+1); y and u are 0 before the start.

    Arguments: `seed` of the input.
    Errors: `RequestError` for one of the rare inputs whose series diverges.
    Source: Atiya and Parlos (2000), recalled.
    """

    kind: Literal["narma10"] = "narma10"
    seed: Annotated[int, Field(ge=0)] = 0

    def load(self) -> Series:
        u = np.random.default_rng(self.seed).uniform(0, 0.5, self.length)
        before = np.concatenate([np.zeros(ORDER - 1), u])
        y = np.zeros(self.length + ORDER)
        for n in range(self.length):
            last = y[n : n + ORDER]
            now = last[-1]
            y[n + ORDER] = 0.3 * now + 0.05 * now * last.sum() + 1.5 * before[n] * u[n] + 0.1
            if y[n + ORDER] > 10:
                raise RequestError(
                    f"The NARMA10 series of seed {self.seed} diverges at step {n}; set another "
                    "seed."
                )
        return make_series(u, y[ORDER:], self, nmse, "NMSE")
