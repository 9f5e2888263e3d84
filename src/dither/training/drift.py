"""Drift detection by repeated measurements of a reference point."""

import math

import numpy as np
from jaxtyping import Float

AGAIN = 5
"""Readings of the reference point at each visit."""


class DriftWarning(UserWarning):
    """A device has drifted by more than its noise."""


class Reference:
    """The baseline cost of a reference point, its noise, and its alarm.

    ```
    alarm:  |mean of the new readings − baseline| > alarm · σ √(2/5)
    ```

    σ is pooled over all visits. After an alarm the new mean is the baseline.

    Arguments: `alarm`, in standard errors.
    """

    def __init__(self, alarm: float) -> None:
        self.alarm = alarm
        self.baseline = math.nan
        self._variances: list[float] = []

    def told(self, costs: Float[np.ndarray, " N"]) -> tuple[float, bool]:
        """The change of the cost from the baseline, and whether it raises an alarm."""
        mean = float(costs.mean())
        self._variances.append(float(costs.var(ddof=1)))
        if math.isnan(self.baseline):
            self.baseline = mean
        moved = mean - self.baseline
        error = math.sqrt(2 / len(costs) * float(np.mean(self._variances)))
        single = np.array_equal(costs, costs.astype(np.float32))
        # rounding is not drift
        rounding = (1e-6 if single else 1e-12) * abs(self.baseline)
        alarmed = abs(moved) > max(self.alarm * error, rounding)
        if alarmed:
            self.baseline = mean
        return moved, alarmed
