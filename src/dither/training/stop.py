"""Why a run ended."""

from enum import StrEnum


class StopReason(StrEnum):
    """Why a run, or one of its replicas, ended; the value is what files and the shell say.

    Attributes: `advice`, a sentence on how to go on.
    """

    advice: str

    SCORE = "score", "The score was reached; set a higher until.score to go on."
    MEASUREMENTS = "measurements", "The budget is used up; set more until.measurements to go on."
    DEVICE_SECONDS = (
        "device_seconds",
        "The time on the device is used up; set more until.device_seconds to go on.",
    )
    WALL_SECONDS = "wall_seconds", "The time is used up; set more until.wall_seconds to go on."
    PLATEAU = (
        "plateau",
        "Nothing got better for until.plateau measurements; try another learning rate or delta.",
    )
    INTERRUPTED = "interrupted", "The run was asked to stop; go on with --resume."
    DIVERGED = "diverged", "The parameters diverged; set a smaller learning rate."
    FAILURES = "failures", "The device failed too many times in a row; mend it and --resume."

    def __new__(cls, value: str, advice: str = "") -> "StopReason":
        """A member from its value and its advice."""
        member = str.__new__(cls, value)
        member._value_, member.advice = value, advice
        return member

    @property
    def failed(self) -> bool:
        """Whether the run broke down, rather than met a stop rule."""
        return self in FAILED

    @property
    def of_replica(self) -> bool:
        """Whether it ends a single replica, while the others go on."""
        return self in (StopReason.SCORE, StopReason.PLATEAU, StopReason.DIVERGED)


FAILED = (StopReason.DIVERGED, StopReason.FAILURES)
"""The reasons of runs that broke down."""
