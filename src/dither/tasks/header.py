"""Recognition of a header in a bit stream."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from dither.tasks.scores import symbol_error_rate
from dither.tasks.series import AbstractSeries, Series, make_series


class HeaderRecognition(AbstractSeries):
    """Detect the end of an n-bit header in a stream of random bits.

    `t(k) = 1 if (b(k−n+1), ..., b(k)) = header, else 0`, u = b + noise

    The score is the symbol error rate; a constant output of 0 scores 2⁻ⁿ.

    Arguments: `header`, its n ≤ 16 bits, such as "101"; `noise`, the standard deviation of noise on
    the bits; `seed` of bits and noise.
    Source: Vandoorne et al. (2014), recalled.
    """

    kind: Literal["header"] = "header"
    header: Annotated[str, Field(pattern="^[01]{1,16}$")] = "101"
    noise: Annotated[float, Field(ge=0)] = 0.0
    seed: Annotated[int, Field(ge=0)] = 0

    def load(self) -> Series:
        rng = np.random.default_rng(self.seed)
        header = np.array([int(bit) for bit in self.header])
        bits = rng.integers(0, 2, self.length + len(header) - 1)
        windows = np.lib.stride_tricks.sliding_window_view(bits, len(header))
        found = np.all(windows == header, axis=1).astype(float)
        u = bits[len(header) - 1 :] + rng.normal(0, self.noise, self.length)
        return make_series(u, found, self, symbol_error_rate, "symbol error rate")
