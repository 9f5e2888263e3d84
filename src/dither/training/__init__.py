"""Training: the loop, its stop rules, ledger, checkpoints and figures."""

from dither.training.fit import check_fit
from dither.training.flow import (
    Flow,
    Scatter,
    follow_flow,
    measurements_per_update,
    time_to_accuracy,
)
from dither.training.ledger import Ledger
from dither.training.result import Replica, Result
from dither.training.run import Observer, Progress
from dither.training.specification import (
    Bench,
    Specification,
    preset_names,
    read_bench,
    read_specification,
    to_toml,
)
from dither.training.stop import StopReason
from dither.training.train import TrapWarning, train
from dither.training.until import Until

__all__ = [
    "Bench",
    "Flow",
    "Ledger",
    "Observer",
    "Progress",
    "Replica",
    "Result",
    "Scatter",
    "Specification",
    "StopReason",
    "TrapWarning",
    "Until",
    "check_fit",
    "follow_flow",
    "measurements_per_update",
    "preset_names",
    "read_bench",
    "read_specification",
    "time_to_accuracy",
    "to_toml",
    "train",
]
