"""Why a run ended."""

from enum import StrEnum


class StopReason(StrEnum):
    """Why a run or one of its replicas ended; the value is used in files and on the command line.

    Attributes: `advice`, a sentence on how to continue.
    """

    advice: str

    SCORE = "score", "The target score was reached; set a higher until.score to continue."
    MEASUREMENTS = (
        "measurements",
        "The measurements are used up; increase until.measurements to continue.",
    )
    DEVICE_SECONDS = (
        "device_seconds",
        "The device time is used up; increase until.device_seconds to continue.",
    )
    WALL_SECONDS = (
        "wall_seconds",
        "The wall time is used up; increase until.wall_seconds to continue.",
    )
    PLATEAU = (
        "plateau",
        "No improvement for until.plateau measurements; try another learning rate or delta.",
    )
    INTERRUPTED = "interrupted", "The run was interrupted; continue with --resume."
    DIVERGED = "diverged", "The parameters diverged; set a smaller learning rate."
    FAILURES = "failures", "The device failed too many times in a row; repair it and use --resume."

    def __new__(cls, value: str, advice: str = "") -> "StopReason":
        """A member from its value and its advice."""
        member = str.__new__(cls, value)
        member._value_, member.advice = value, advice
        return member

    @property
    def failed(self) -> bool:
        """Whether the run failed instead of meeting a stop rule."""
        return self in FAILED

    @property
    def of_replica(self) -> bool:
        """Whether it ends a single replica while the others continue."""
        return self in (StopReason.SCORE, StopReason.PLATEAU, StopReason.DIVERGED)


FAILED = (StopReason.DIVERGED, StopReason.FAILURES)
"""The reasons of failed runs."""
