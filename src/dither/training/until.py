"""When to stop."""

from typing import Annotated

from pydantic import Field, model_validator

from dither._configuration import Configuration


class Until(Configuration):
    """Stop rules; a run ends at the first that is met.

    Arguments:
        score: the score to reach, at an evaluation.
        confirm: evaluations in a row that must show it, ≥ 1. Of a noisy device's evaluations one
            may be lucky; the result is the last one's parameters, and its own score.
        measurements: the most measurements, per replica.
        device_seconds: the most time on the device, per replica.
        wall_seconds: the most time on the clock.
        plateau: measurements without a better score (or cost, where there is no score).
        failures: failed measurements in a row after which the device is given up.
    """

    score: float | None = None
    confirm: Annotated[int, Field(ge=1)] = 1
    measurements: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    device_seconds: Annotated[float, Field(gt=0)] | None = None
    wall_seconds: Annotated[float, Field(gt=0)] | None = None
    plateau: Annotated[int, Field(ge=1)] | None = None
    failures: Annotated[int, Field(ge=1)] = 10

    @model_validator(mode="after")
    def _ends(self) -> "Until":
        limits = (self.measurements, self.device_seconds, self.wall_seconds, self.plateau)
        if all(limit is None for limit in limits):
            raise ValueError(
                "a run needs an end: set measurements, device_seconds, wall_seconds or plateau"
            )
        return self
