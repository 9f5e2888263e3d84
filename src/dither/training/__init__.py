"""Training: the loop, its stop rules, ledger, checkpoints and figures."""

from dither.training.fit import check_fit as check_fit
from dither.training.flow import Flow as Flow
from dither.training.flow import Scatter as Scatter
from dither.training.flow import follow_flow as follow_flow
from dither.training.flow import measurements_per_update as measurements_per_update
from dither.training.flow import time_to_accuracy as time_to_accuracy
from dither.training.ledger import Ledger as Ledger
from dither.training.load import load_run as load_run
from dither.training.result import Replica as Replica
from dither.training.result import Result as Result
from dither.training.run import Observer as Observer
from dither.training.run import Progress as Progress
from dither.training.specification import Bench as Bench
from dither.training.specification import Specification as Specification
from dither.training.specification import preset_names as preset_names
from dither.training.specification import read_bench as read_bench
from dither.training.specification import read_specification as read_specification
from dither.training.specification import to_toml as to_toml
from dither.training.stop import StopReason as StopReason
from dither.training.train import TrapWarning as TrapWarning
from dither.training.train import train as train
from dither.training.until import Until as Until
