"""Equalisation of a nonlinear channel."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from dither.tasks.scores import symbol_error_rate
from dither.tasks.series import AbstractSeries, Series, make_series

TAPS = np.array([0.08, -0.12, 1.0, 0.18, -0.1, 0.091, -0.05, 0.04, 0.03, 0.01])
"""The weights of d(n+2), d(n+1), ..., d(n−7)."""


class ChannelEqualisation(AbstractSeries):
    """Recover the transmitted symbol from the output of a noisy nonlinear multipath channel.

    `q(n) = 0.08 d(n+2) − 0.12 d(n+1) + d(n) + 0.18 d(n−1) − 0.1 d(n−2) + 0.091 d(n−3)
    − 0.05 d(n−4) + 0.04 d(n−5) + 0.03 d(n−6) + 0.01 d(n−7)`,
    `u(n) = q(n) + 0.036 q(n)² − 0.011 q(n)³ + noise`, d ∈ {−3, −1, 1, 3}

    The target at step n is d(n − delay); the score is the symbol error rate.

    Arguments: `snr`, the signal-to-noise ratio of u in dB; `delay`, at least 0; `seed` of symbols
    and noise.
    Source: Mathews and Lee (1994), Jaeger and Haas (2004); taps, cubic and delay 2 are recalled.
    """

    kind: Literal["channel"] = "channel"
    snr: float = 28.0
    delay: Annotated[int, Field(ge=0)] = 2
    seed: Annotated[int, Field(ge=0)] = 0

    def load(self) -> Series:
        rng = np.random.default_rng(self.seed)
        before = max(7, self.delay)
        d = rng.choice([-3.0, -1.0, 1.0, 3.0], before + self.length + 2)
        q = np.convolve(d, TAPS)[before + 2 :][: self.length]
        u = q + 0.036 * q**2 - 0.011 * q**3
        u = u + rng.normal(0, u.std() * 10 ** (-self.snr / 20), self.length)
        sent = d[before - self.delay :][: self.length]
        return make_series(u, sent, self, symbol_error_rate, "symbol error rate")
