"""Calls in a child process that is forked after compilation.

The fork starts without delay, since it need not compile anything.
"""

import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

# a fork does not inherit its parent's threads, so all computation must stay in the calling thread
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_cpu_enable_async_dispatch", False)
warnings.simplefilter("ignore")

import dither  # noqa: E402
from dither import MLP, SimulatedDevice, Until, WeightMGD  # noqa: E402
from dither.tasks import XOR  # noqa: E402
from dither.training import Result  # noqa: E402

DEVICE = SimulatedDevice(network=MLP(widths=(2, 2, 1), gain=2.0))
RULE = WeightMGD(learning_rate=0.05, delta=0.01)
MEASUREMENTS = 2000


def train(out: Path | None, measurements: int = MEASUREMENTS, **more: Any) -> Result:
    """Train a small network with a checkpoint after every evaluation."""
    settings = {"key": 1, "score_every": 20, "checkpoint_seconds": 0.0, "replicas": 2, **more}
    return dither.train(
        DEVICE, XOR(batch=2), RULE, until=Until(measurements=measurements), out=out, **settings
    )


def same(one: Result, two: Result) -> bool:
    """Return whether the results of two runs are bitwise identical, except for wall times."""
    histories = [run.history.drop(columns="wall_seconds") for run in (one, two)]
    return bool(
        (one.parameters == two.parameters).all()
        and histories[0].equals(histories[1])
        and [vars(end) for end in one.replicas] == [vars(end) for end in two.replicas]
    )


def child(call: Callable[[], Any], kill_after: float | None = None, wait: float = 60.0) -> int:
    """Run a call in a fork of this process.

    Arguments: `call`, the function; `kill_after`, the seconds after which the fork is killed, or
    None; `wait`, the seconds after which the fork counts as hung and is killed, used if
    `kill_after` is None.
    Returns: 0 on success, 1 after an exception, whose traceback is printed, or the negative number
    of the signal that ended the fork.
    """
    pid = os.fork()
    if not pid:
        status = 0
        try:
            call()
        except BaseException:
            traceback.print_exc(file=sys.stderr)
            status = 1
        os._exit(status)
    begun, limit = time.monotonic(), wait if kill_after is None else kill_after
    while time.monotonic() - begun < limit:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
