"""The chaotic Mackey-Glass series."""

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from dither._errors import RequestError
from dither.tasks.scores import nmse
from dither.tasks.series import AbstractSeries, Series, make_series

MOST_STEPS = 10**8
"""The integration steps of a series, at most."""


class MackeyGlass(AbstractSeries):
    """Prediction of the Mackey-Glass series, t(n) = x((n + steps) · sampling).

    `dx/dt = production x(t − tau) / (1 + x(t − tau)^exponent) − decay x(t)`

    The series is chaotic for tau above about 16.8 with the other settings at their defaults.

    Arguments: `tau`, `production`, `decay`, `exponent` of the equation; `sampling`, the time
    between two values; `steps` ahead to predict; `initial`, the constant history before time 0
    (another value gives another part of the attractor); `skip`, the time skipped at the start;
    `step`, the largest integration step.
    Source: Mackey and Glass (1977) for the equation; its constants, recalled, are the usual ones;
    washout 100, 500 training and 500 test points as in the papers on the photonic reservoir
    (Andreoli2020, recalled).
    """

    kind: Literal["mackey-glass"] = "mackey-glass"
    tau: Annotated[float, Field(gt=0)] = 17.0
    production: Annotated[float, Field(gt=0)] = 0.2
    decay: Annotated[float, Field(gt=0)] = 0.1
    exponent: Annotated[float, Field(gt=0)] = 10.0
    sampling: Annotated[float, Field(gt=0)] = 1.0
    steps: Annotated[int, Field(ge=1)] = 1
    initial: Annotated[float, Field(gt=0)] = 1.2
    skip: Annotated[float, Field(ge=0)] = 1000.0
    step: Annotated[float, Field(gt=0)] = 0.1

    def load(self) -> Series:
        x = self.values(self.length + self.steps)
        return make_series(x[: self.length], x[self.steps :], self, nmse, "NMSE")

    def values(self, count: int) -> Float[np.ndarray, " count"]:
        """`count` values of x, `sampling` apart, after `skip`.

        Classical Runge-Kutta; x(t − tau) between grid points is the cubic Hermite interpolant of
        the values and slopes there, of the same fourth order.
        Errors: `RequestError` for a step longer than tau, since the delayed value is then unknown,
        or than 1/decay, which is then not resolved.
        """
        per_sample = int(np.ceil(self.sampling / self.step - 1e-9))
        h = self.sampling / per_sample
        if h > min(self.tau, 1 / self.decay):
            raise RequestError(
                f"The integration step {h:g} is longer than tau = {self.tau:g} or 1/decay = "
                f"{1 / self.decay:g}; set a smaller step."
            )
        dropped = int(np.ceil(self.skip / self.sampling))
        steps = (dropped + count) * per_sample
        if steps > MOST_STEPS:
            raise RequestError(
                f"The series needs {steps:.3g} integration steps, more than {MOST_STEPS:.0g}; set "
                "a larger step, or a shorter series."
            )
        x, slope = np.empty(steps + 1), np.empty(steps + 1)

        def rate(now: float, delayed: float) -> float:
            power: float = delayed**self.exponent
            return self.production * delayed / (1 + power) - self.decay * now

        def past(time: float) -> float:
            """x a number of integration steps in the past."""
            if time <= 0:
                return self.initial
            n = int(time)
            s = time - n
            if s == 0:
                return float(x[n])
            left = (1 + 2 * s) * x[n] + s * h * slope[n]
            right = (3 - 2 * s) * x[n + 1] - (1 - s) * h * slope[n + 1]
            return float((1 - s) ** 2 * left + s**2 * right)

        lag = self.tau / h
        x[0] = self.initial
        slope[0] = rate(x[0], past(-lag))
        for n in range(steps):
            middle, end = past(n + 0.5 - lag), past(n + 1 - lag)
            k1 = slope[n]
            k2 = rate(x[n] + h / 2 * k1, middle)
            k3 = rate(x[n] + h / 2 * k2, middle)
            k4 = rate(x[n] + h * k3, end)
            x[n + 1] = x[n] + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            slope[n + 1] = rate(x[n + 1], end)
        return x[dropped * per_sample : -1 : per_sample]
