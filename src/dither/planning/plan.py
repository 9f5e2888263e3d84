"""Plans: the cost and the requirements of each method, and the recommended one."""

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dither._threefry import key_for, random_key
from dither._words import number
from dither.algorithms.algorithm import AbstractAlgorithm
from dither.devices.readout import ReadoutDevice
from dither.instruments.connection import AbstractConnection
from dither.planning.boolean import readout_floor
from dither.planning.chip import Acts, Wiring, acts, cost, wiring
from dither.planning.floor import Floor, floor
from dither.planning.methods import Method, methods, mirror_methods, next_level
from dither.planning.predict import Prediction
from dither.planning.question import Question, modelled
from dither.planning.rates import UNSURE
from dither.planning.tried import at_its_best, mirrors
from dither.studies.study import Cell
from dither.tasks.task import Task
from dither.training.fit import check_aim, problem_of
from dither.training.specification import Specification

WORKERS = 2
"""The number of methods planned in parallel."""

PATIENCE = 60.0
"""The default computing time per method and point, s."""

SPARE = 3.0
"""The budget of the recommended training, in units of the prediction."""

Observer = Callable[[str, int, int], None]
"""A function called with the current part, the finished parts and all parts."""


@dataclass(frozen=True)
class Row:
    """A method at a point of the axes.

    Attributes: `point`, by axis; `method`, the algorithm's kind; `label`, in words; `access`, the
    level it needs; `to_build`, whether the device lacks that access; `own`, whether it is the
    file's algorithm; `feasible`; `reason`, why it is not, or why there is no prediction;
    `measurements` with a 90 % interval, None if unknown; `device_seconds`, `joules`;
    `learning_rate`, `delta`; `floor`, the best score found for bits and noise, with its `margin`,
    and `floor_at_least`, whether the search ended early; `wiring`; `acts`; `curve`, measurements
    and scores during training; `run`, the specification to train.
    """

    point: dict[str, Any]
    method: str
    label: str
    access: str
    to_build: bool
    own: bool
    feasible: bool
    reason: str
    measurements: float | None
    low: float | None
    high: float | None
    device_seconds: float | None
    joules: float | None
    learning_rate: float | None
    delta: float | None
    optimizer: str | None
    floor: float | None
    margin: float | None
    floor_at_least: bool
    wiring: Wiring
    acts: Acts
    cost_of_prediction: float
    curve: tuple[tuple[float, float], ...] = field(repr=False)
    run: Specification = field(repr=False)

    @cached_property
    def price(self) -> float:
        """The quantity for comparison: device time or, if unknown, measurements.

        It counts `UNSURE` times if a predicted trajectory misses the target.
        """
        if not self.feasible or self.measurements is None:
            return math.inf
        cost = self.measurements if self.device_seconds is None else self.device_seconds
        return cost * (UNSURE if self.high is None else 1.0)

    @property
    def settings(self) -> tuple[float, str] | None:
        """The rate and the optimiser, from which a neighbour begins."""
        if not self.feasible or self.learning_rate is None or self.optimizer is None:
            return None
        return self.learning_rate, self.optimizer

    def facts(self) -> dict[str, Any]:
        """The row as plain values."""
        plain = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("point", "wiring", "acts", "run")
        }
        built = {**self.wiring._asdict(), **self.acts._asdict()}
        return {**self.point, **plain, **built, "advice": advice(self)}


@dataclass(frozen=True)
class Plan:
    """The rows of a plan and its target score.

    Attributes: `name`; `target`; `score_name`; `rows`, by point and method; `real`, the real
    device that the model represents, None for a simulation.
    """

    name: str
    target: float
    score_name: str
    rows: tuple[Row, ...]
    real: AbstractConnection | None = None

    @property
    def best(self) -> Row | None:
        """The cheapest feasible row with the device's present access; None if there is none."""
        can = [r for r in self.rows if not r.to_build and r.access != "gradients"]
        can = [r for r in can if math.isfinite(r.price)]
        return min(can, key=lambda r: r.price, default=None)


def advice(row: Row) -> str:
    """The advice in one line."""
    if not row.feasible:
        return "Do not use it: " + row.reason + "."
    if row.measurements is None:
        return f"Try it in a simulation first: {row.reason}."
    if row.access == "gradients":
        return "A reference only: exact gradients need a model of the chip."
    if row.to_build:
        return f"Needs access to {row.access}: {_built(row)}."
    return f"Needs {_built(row)}."


def _built(row: Row) -> str:
    sources, words, read = row.wiring
    what = f"{number(sources)} perturbation sources, {number(words)} words per weight"
    if row.access == "sites" and read is not None:
        what += f", {number(read)} activations read per sample"
    return what


def make_plan(
    question: Question, observe: Observer = lambda *_: None, patience: float = PATIENCE
) -> Plan:
    """Plan a training for each method that the device allows, and for those with more access.

    Arguments: the question; `observe`, called when parts are finished; `patience`, the computing
    time per method and point, s.
    Errors: `RequestError` if task and device do not fit.
    """
    first = question.cells[0].specification
    loaded: dict[str, Task] = {}

    def task_of(run: Specification) -> Task:
        key = run.task.model_dump_json()
        if key not in loaded:
            loaded[key] = run.task.load()
        return loaded[key]

    works: list[tuple[Cell, Task, Method]] = []
    for cell in question.cells:
        run = cell.specification
        task = task_of(run)
        modelled(run).check_task(task)
        works += [(cell, task, method) for method in _considered(run, task, question.decided)]
    parts = len(works) + len(question.cells)
    done = itertools.count(1)

    def told(what: str) -> None:
        observe(what, next(done), parts)

    observe("compiling", 0, parts)
    with ThreadPoolExecutor(WORKERS) as pool:
        floors = {
            id(cell): pool.submit(_floor, cell.specification, task_of(cell.specification), told)
            for cell in question.cells
        }
        rows: list[Future[Row]] = []
        latest: dict[str, Future[Row]] = {}  # a point begins with the rate of the previous one
        for cell, task, method in works:
            near = latest.get(method.label)
            allowed = floors[id(cell)].result
            rows.append(pool.submit(_row, cell, task, method, allowed, near, told, patience))
            latest[method.label] = rows[-1]
        try:
            found = tuple(row.result() for row in rows)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    assert first.until.score is not None
    name, score_name = question.name, task_of(first).score_name
    return Plan(name, first.until.score, score_name, found, question.real)


def _considered(run: Specification, task: Task, decided: bool) -> Sequence[Method]:
    """The methods at the device's access level and at the next one."""
    check_aim(task, run.until)
    own = run.algorithm if decided else None
    problem = problem_of(_open(run.device), task)
    if isinstance(run.device, ReadoutDevice):
        found = list(mirror_methods(own))
    else:
        found = list(methods(problem, own))
    level = modelled(run).access_level
    most = max(level, next_level(level, found) or level)
    return [method for method in found if method.access <= most]


def _open(device: Any) -> Any:
    """The device with full access, as in a simulation."""
    if isinstance(device, ReadoutDevice):
        return device
    return device.model_copy(update={"access": "gradients"})


def _floor(run: Specification, task: Task, told: Callable[[str], None]) -> Floor:
    device = modelled(run)
    if isinstance(device, ReadoutDevice):
        found = readout_floor(device, task, run.seed)
    else:
        found = floor(device, task, run.until.score, run.seed)
    told("limit of bits and noise")
    return found


def _row(
    cell: Cell,
    task: Task,
    method: Method,
    floor_of: Callable[[], Floor],
    near: Future[Row] | None,
    told: Callable[[str], None],
    patience: float,
) -> Row:
    run = cell.specification
    device = _open(run.device)
    problem = problem_of(device, task)
    if isinstance(device, ReadoutDevice):
        tried = mirrors(run, device, task, method)
    else:
        beside = None if near is None else near.result().settings
        tried = at_its_best(run, device, task, method, beside, patience)
    algorithm, prediction = tried.algorithm, tried.prediction
    allowed = floor_of()
    target = run.until.score
    assert target is not None
    impossible = allowed.excludes(target)
    n = prediction.measurements
    known, never = math.isfinite(n), math.isinf(n)
    reason = prediction.reason
    if impossible:
        reason = (
            f"{target:g} is above {allowed.score:.4g} ± {allowed.margin:.2g}, the highest "
            "score of exact gradients with this network, these bits and this noise"
        )
    done = acts(algorithm, problem, device.initial(key_for(device, random_key(run.seed))))
    spent = cost(device, done, n, task.batch)
    show, settled = known and not impossible, known or method.own
    told(method.label)
    return Row(
        point=cell.labels,
        method=method.kind,
        label=method.label,
        access=method.access.name.lower(),
        to_build=method.access > modelled(run).access_level,
        own=method.own,
        feasible=not impossible and not never,
        reason=reason,
        measurements=n if show else None,
        low=prediction.low if show and math.isfinite(prediction.low) else None,
        high=prediction.high if show and math.isfinite(prediction.high) else None,
        device_seconds=spent.seconds if show else None,
        joules=spent.joules if show else None,
        learning_rate=getattr(algorithm, "learning_rate", None) if settled else None,
        delta=getattr(algorithm, "delta", None) if settled else None,
        optimizer=algorithm.optimizer.name if hasattr(algorithm, "optimizer") else None,
        floor=allowed.score,
        margin=allowed.margin if math.isfinite(allowed.margin) else None,
        floor_at_least=allowed.at_least,
        wiring=wiring(algorithm, device, problem),
        acts=done,
        curve=prediction.curve if show else (),
        cost_of_prediction=prediction.cost_of_prediction,
        run=_run(run, algorithm, prediction, method),
    )


def _run(
    run: Specification, algorithm: AbstractAlgorithm, prediction: Prediction, method: Method
) -> Specification:
    """The run for `dither train`: the file's run with the method and a sufficient budget."""
    device, until = modelled(run), run.until
    if method.access > device.access_level:
        device = device.model_copy(update={"access": method.access.name.lower()})
    if math.isfinite(prediction.measurements) and not method.own:
        top = max(prediction.measurements, prediction.high if math.isfinite(prediction.high) else 0)
        until = until.model_copy(update={"measurements": min(2**31 - 1, math.ceil(SPARE * top))})
    return run.model_copy(update={"algorithm": algorithm, "device": device, "until": until})
