"""Results of the single devices of a fleet."""

from operator import itemgetter
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from dither._errors import RequestError
from dither._threefry import key_for, random_key
from dither.devices.device import AbstractDevice
from dither.tasks.task import AbstractTask, Task
from dither.training.fused import FusedLoop
from dither.training.hosted import HostedLoop
from dither.training.loop import AbstractLoop
from dither.training.outputs import scored
from dither.training.result import Result

if TYPE_CHECKING:
    import pandas as pd


def devices_of(loop: AbstractLoop, result: Result) -> "pd.DataFrame | None":
    """The ledger, score and cost of each device of a fleet; None for a single device.

    For a replica that ended early, failures are counted to the end of the run.
    """
    if isinstance(loop, HostedLoop):
        return _real(loop) if loop.device.count > 1 else None
    if not isinstance(loop, FusedLoop) or loop.device.count == 1:
        return None
    device, task, rows = loop.device, loop.task, []
    for r, (replica, theta) in enumerate(zip(result.replicas, result.parameters)):
        state = jax.tree.map(itemgetter(r), loop.carry.device)
        accounts = device.accounts(state, replica.ledger)
        outputs = device.outputs(
            device.write(state, jnp.asarray(theta), jnp.bool_(False)), task.test_inputs
        )
        for n, account in enumerate(accounts):
            score, cost = _scored(task, np.asarray(outputs), n, device.count)
            rows.append({"replica": r, "device": n, **account, "score": score, "test_cost": cost})
    return table_of(rows)


def _real(loop: HostedLoop) -> "pd.DataFrame":
    count, counts = loop.device.count, loop.device.counts
    rows = []
    for n in range(count):
        score = cost = np.nan
        if loop.seen is not None:
            score, cost = scored(loop.task, loop.seen[n::count], loop.tests[1][n::count])
        account = {what: each[n].item() for what, each in counts.items()}
        rows.append({"replica": 0, "device": n, **account, "score": score, "test_cost": cost})
    return table_of(rows)


def _scored(task: Task, outputs: np.ndarray, n: int, count: int) -> tuple[float, float]:
    return scored(task, outputs[n::count], np.asarray(task.test_targets))


def further_of(result: Result, number: int, replica: int) -> "pd.DataFrame":
    """The score of the trained parameters on devices not used in training; see `Result.further`."""
    device = result.device
    task = result.task.load() if isinstance(result.task, AbstractTask) else result.task
    if not isinstance(device, AbstractDevice) or task is None:
        raise RequestError(
            "Further devices need a run of a simulated device on a task of a known kind, "
            "which this run is not."
        )
    *_, key = jax.random.split(random_key(result.replicas[replica].seed), 4)
    theta = jnp.asarray(result.parameters[replica], jnp.result_type(float))
    rows: list[dict[str, Any]] = []
    for n in range(device.count, device.count + number):
        make, state = device.specimen(key_for(device, key), n)
        state = jax.tree.map(
            lambda a: a[0], make.prepare(jax.tree.map(lambda a: a[None], state), task)
        )
        chip = make.write(state, theta, jnp.bool_(False))
        outputs = np.asarray(make.outputs(chip, task.test_inputs))
        score, cost = scored(task, outputs, np.asarray(task.test_targets))
        rows.append({"device": n, "score": score, "test_cost": cost})
    return table_of(rows)


def table_of(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    """A table with one line per row."""
    import pandas as pd

    return pd.DataFrame(rows)
