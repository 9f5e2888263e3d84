"""The input of a plan: a run to be planned, and axes along which its device varies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dither._errors import RequestError, nearest
from dither._explain import explain
from dither.devices.readout import ReadoutDevice
from dither.devices.simulated import SimulatedDevice
from dither.instruments.connection import AbstractConnection
from dither.planning.lab import Probe, probed
from dither.studies.study import Cell, Study
from dither.training.safety import made_safe
from dither.training.specification import Specification, read_table, validated

HORIZON = 1_000_000_000
"""The budget of measurements if the file sets none."""

UNDECIDED = {"kind": "weight-mgd", "learning_rate": 0.01}
"""The placeholder if the file names no algorithm."""

MOST_CELLS = 64


@dataclass(frozen=True)
class Question:
    """The question that a plan answers.

    Attributes: `name`; `cells`, the points of the axes, a single one without labels if there are no
    axes; `decided`, whether the file names an algorithm, which is then planned unchanged; `real`,
    the connection to a real device, whose model the cells hold; `probe`, what was measured of it.
    """

    name: str
    cells: tuple[Cell, ...]
    decided: bool
    real: AbstractConnection | None = None
    probe: Probe | None = None


def read_question(what: str, changes: Sequence[str] = (), model: str | None = None) -> Question:
    """The question in a preset, a TOML file, a run's folder or a study's file.

    The file is one for `dither train`, may lack the algorithm and the budget, and may have `[axes]`
    as in a study. The last name of a setting, such as `bits`, stands for its key path if it is
    unique. A real device is measured a few times and represented by a model (`probed`).

    Arguments: the file; `changes`, each `key.path=value`; `model`, the preset or file of a run
    whose simulated device is like the real one.
    Errors: `RequestError` for a missing target, a device without a model, or wrong settings.
    """
    table, lines, where = read_table(what, changes)
    axes = table.pop("axes", {})
    if "base" in table:
        if str(table["base"]).endswith(".toml"):
            table["base"] = str(Path(where).parent / table["base"])
        known: dict[str, Any] = {key: table[key] for key in ("name", "base", "set") if key in table}
        table = validated(Study, known, lines, where, changes).base_table() | {
            "name": table["name"]
        }
        axes = _of_the_device(axes)
    decided = "algorithm" in table
    table.setdefault("algorithm", UNDECIDED)
    _check_target(table, where)
    table["until"] = {"measurements": HORIZON, **table["until"]}
    run = validated(Specification, table, lines, where, changes)
    if run.start_from is not None:
        raise RequestError(
            f"{where}: start_from is set, but a plan trains from initial parameters; remove it, or "
            "predict this one run with dither.planning.predict_run."
        )
    if isinstance(run.device, AbstractConnection) and model is not None:
        return _of_real(run, run.device, model, decided, axes, where)
    _check_device(run, where)
    asked = {axis: _whole(axis, values, table) for axis, values in axes.items()}
    cells = _cells(table, asked, run, where)
    return Question(run.name, cells, decided)


def _of_real(
    run: Specification,
    device: AbstractConnection,
    model: str,
    decided: bool,
    axes: Mapping[str, Any],
    where: str,
) -> Question:
    """The question for a real device, which is represented by its model."""
    table, lines, its = read_table(model, ())
    given = {"algorithm": UNDECIDED, "until": {"measurements": HORIZON}, **table}
    like = validated(Specification, given, lines, its).device
    if not isinstance(like, SimulatedDevice):
        raise RequestError(
            f"The model {model} is not a simulated device with a network; choose another."
        )
    if axes:
        raise RequestError(f"{where}: axes change a model; remove [axes] to plan a real device.")
    chip = device.connect()
    with made_safe(chip):
        probe = probed(chip, like, run.task.load())
    planned = run.model_copy(update={"device": probe.model})
    cell = Cell(labels={}, settings={}, specification=planned)
    return Question(run.name, (cell,), decided, device, probe)


def _cells(
    table: dict[str, Any], axes: dict[str, Any], run: Specification, where: str
) -> tuple[Cell, ...]:
    if not axes:
        return (Cell(labels={}, settings={}, specification=run),)
    given = {"name": table.get("name", run.name), "base": table, "axes": axes}
    try:
        cells = Study.model_validate(given).cells
    except ValidationError as error:
        raise RequestError(explain(error, where, Study, given)) from None
    if len(cells) > MOST_CELLS:
        raise RequestError(
            f"{where}: the axes have {len(cells)} points, but a plan can have at most "
            f"{MOST_CELLS}; "
            "take fewer."
        )
    for cell in cells:
        _check_device(cell.specification, where)
    kept = {"name": run.name, "seed": run.seed, "replicas": run.replicas}
    return tuple(
        Cell(
            labels=cell.labels,
            settings=cell.settings,
            specification=cell.specification.model_copy(update=kept),
        )
        for cell in cells
    )


def _of_the_device(axes: Mapping[str, Any]) -> dict[str, Any]:
    """The axes of a study that do not select algorithms, because a plan compares them itself."""

    def chooses(name: str, axis: Any) -> bool:
        keys = [name] if isinstance(axis, list) else axis
        return any(key.split(".")[0] == "algorithm" for key in keys)

    return {name: axis for name, axis in axes.items() if not chooses(name, axis)}


def _check_target(table: Mapping[str, Any], where: str) -> None:
    until = table.get("until")
    if not isinstance(until, Mapping) or until.get("score") is None:
        raise RequestError(
            f"{where}: until.score is missing, but a plan needs a target; add --set "
            "until.score=0.9."
        )


def _check_device(run: Specification, where: str) -> None:
    if not isinstance(run.device, SimulatedDevice | ReadoutDevice):
        raise RequestError(
            f"{where}: a plan needs a model, but the device is of the kind "
            f"{getattr(run.device, 'kind', 'real')}; add --model PRESET|FILE.toml"
            ", a run with a simulated device like it."
        )


def modelled(run: Specification) -> SimulatedDevice | ReadoutDevice:
    """The device of a run, which has a model."""
    assert isinstance(run.device, SimulatedDevice | ReadoutDevice)
    return run.device


def _whole(axis: str, values: Any, table: Mapping[str, Any]) -> Any:
    """An axis as in a study, given by a full key path or by its last name."""
    if not isinstance(values, list) or "." in axis or axis in Specification.model_fields:
        return values
    paths = [path for path in _leaves(table) if path.split(".")[-1] == axis]
    if len(paths) > 1:
        raise RequestError(
            f"The axis '{axis}' may mean {' or '.join(paths)}; give the full key path."
        )
    if not paths:
        known = {path.split(".")[-1] for path in _leaves(table.get("device", {}))}
        raise RequestError(f"The axis '{axis}' is not a setting of the run; {nearest(axis, known)}")
    return {paths[0]: values}


def _leaves(table: Any, above: str = "") -> Iterator[str]:
    """The key path of every value in a table."""
    items = table.items() if isinstance(table, Mapping) else enumerate(table)
    for key, value in items:
        path = f"{above}{key}"
        if isinstance(value, Mapping) or (
            isinstance(value, list) and any(isinstance(one, Mapping) for one in value)
        ):
            yield from _leaves(value, f"{path}.")
        else:
            yield path
