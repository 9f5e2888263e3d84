"""Training: the loop, its stop rules, ledger, checkpoints and figures."""

from dither.training.fit import check_fit
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
from dither.training.train import TrapWarning, train
from dither.training.until import Until

__all__ = [
    "Bench",
    "Ledger",
    "Observer",
    "Progress",
    "Replica",
    "Result",
    "Specification",
    "TrapWarning",
    "Until",
    "check_fit",
    "preset_names",
    "read_bench",
    "read_specification",
    "to_toml",
    "train",
]
