"""The runs of a study, and their grouping into compiled programs."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from dither.devices import SimulatedDevice
from dither.devices.device import AbstractDevice
from dither.studies.search import FIRST_SEED, Search
from dither.studies.study import Cell, Study
from dither.training.settings import change_setting, setting

Role: TypeAlias = Literal["run", "trial"]

NAME_LENGTH = 20


@dataclass(frozen=True)
class Planned:
    """One run of a study: its cell, its seed, and its name, derived from its specification.

    `role` is `trial` for a run of the search and `run` for one of the grid; `value`, the setting
    found by the search.
    """

    name: str
    cell: Cell
    seed: int
    role: Role = "run"
    value: float | None = None

    def at(self, key: str, value: float) -> "Planned":
        """This run with the value found by the search, under the same name."""
        return Planned(self.name, self.cell.at(key, value), self.seed, self.role, value)


@dataclass(frozen=True)
class Job:
    """Runs that belong together: one program for all of them, or a search and its runs.

    A job always computes the same, wherever and however often it is started, so that its scores are
    identical to the last bit.

    Attributes: `runs`; `varied`, the settings in which they differ inside one program; `search`.
    """

    name: str
    runs: tuple[Planned, ...]
    varied: tuple[str, ...]
    search: Search | None = None


def plan(study: Study) -> tuple[Job, ...]:
    """The study's jobs, in the order of its grid.

    A job combines runs whose specifications differ only in their seed and in real-valued settings
    of the algorithm or of a simulated device's imperfections.
    """
    if study.search is not None:
        found = [search_job(study, cell, study.search) for cell in study.cells]
        return tuple(found)
    groups: dict[str, list[Planned]] = {}
    varied: dict[str, tuple[str, ...]] = {}
    for cell in study.cells:
        asked = asked_of(cell)
        numbers = tuple(key for key in study.keys if _varies(cell, asked, key))
        for key in numbers:
            change_setting(asked, key, "varied")
        group = json.dumps(asked, sort_keys=True)
        varied[group] = numbers
        groups.setdefault(group, []).extend(planned(cell, seed) for seed in study.seed_list)
    jobs = []
    for group, runs in groups.items():
        size = study.at_once if isinstance(runs[0].cell.specification.device, AbstractDevice) else 1
        for start in range(0, len(runs), size):
            together = tuple(runs[start : start + size])
            jobs.append(Job(_digest([run.name for run in together]), together, varied[group]))
    return tuple(jobs)


def search_job(study: Study, cell: Cell, search: Search) -> Job:
    """A cell's search and its runs."""
    runs = tuple(planned(cell, seed, search=search) for seed in study.seed_list)
    numbers = (search.key,) if search.key.startswith("algorithm.") else ()
    return Job(_digest([run.name for run in runs]), runs, numbers, search)


def planned(
    cell: Cell,
    seed: int,
    role: Role = "run",
    value: float | None = None,
    search: Search | None = None,
) -> Planned:
    """A run with its name, a digest of everything that determines its result."""
    how = None if search is None else search.asked()
    name = _digest([asked_of(cell), seed, role, how])
    return Planned(name, cell, seed, role, value)


def trials(cell: Cell, search: Search, values: Iterable[float]) -> list[Planned]:
    """The runs of a round of trials, grouped by value."""
    return [
        planned(cell.at(search.key, value), FIRST_SEED + seed, "trial", value, search)
        for value in values
        for seed in range(search.seeds)
    ]


def asked_of(cell: Cell) -> dict[str, Any]:
    """A cell's specification of a run, as a table."""
    names = {"name", "about", "seed", "replicas"}  # they do not affect the result
    return cell.specification.model_dump(mode="json", exclude_none=True, exclude=names)


def _varies(cell: Cell, asked: dict[str, Any], key: str) -> bool:
    first, second, *_ = [*key.split("."), ""]
    simulated = isinstance(cell.specification.device, SimulatedDevice)
    within = first == "algorithm" or (simulated and (first, second) == ("device", "imperfections"))
    return within and isinstance(setting(asked, key), float)


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:NAME_LENGTH]
