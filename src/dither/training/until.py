"""Stop rules."""

from typing import Annotated

from pydantic import Field, model_validator

from dither._configuration import Configuration


class Until(Configuration):
    """Stop rules; a run ends when the first one is met.

    Arguments:
        score: the target score at an evaluation.
        confirm: evaluations in a row that must reach it, ≥ 1, since a single evaluation of a noisy
            device may be lucky; the result has the parameters and score of the last evaluation.
        measurements: the maximum number of measurements per replica.
        device_seconds: the maximum time on the device per replica, s.
        wall_seconds: the maximum wall time, s.
        plateau: measurements without a better score (or cost, if there is no score).
        failures: failed measurements in a row that end the run.
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
