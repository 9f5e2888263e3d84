"""Specifications of comparisons: methods, devices, tasks and tuned settings."""

import copy
import itertools
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError, field_validator, model_validator

from dither._configuration import Configuration
from dither._errors import RequestError, nearest
from dither._explain import explain
from dither._places import absolute
from dither._words import rounded
from dither.training.settings import change_setting, setting
from dither.training.specification import Specification, read_table, read_toml

Table = dict[str, Any]


class Method(Configuration):
    """A method of a comparison.

    Arguments: `algorithm`, its table; `tune`, the range of each tuned setting: two real numbers,
    the ends of a logarithmic range, or whole numbers, the values; `only`, the devices that it is
    for, by default all; `set`, settings of the run by key path, such as the task's batch.
    """

    algorithm: Table
    tune: dict[str, list[int] | list[float]] = Field(default_factory=dict)
    only: tuple[str, ...] = ()
    set: Table = Field(default_factory=dict)

    @field_validator("tune")
    @classmethod
    def _positive(cls, tune: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for name, values in tune.items():
            if not values or min(values) <= 0:
                raise ValueError(f"{name} needs values above 0")
            if _is_range(values) and (len(values) != 2 or values[0] >= values[1]):
                raise ValueError(f"{name} needs two ends, low < high, or whole numbers")
        return tune

    def candidates(self, number: int) -> list[dict[str, Any]]:
        """The settings to try, by key path; fewer than requested only if there are no more.

        A single range is divided evenly; for several, the points are a Halton sequence.
        """
        if not self.tune:
            return [{}]
        if len(self.tune) == 1:
            places = ((np.arange(number) + 0.5) / number)[:, None]
            if _is_range(next(iter(self.tune.values()))):
                places = np.linspace(0, 1, number)[:, None]
        else:
            from scipy.stats import qmc

            places = qmc.Halton(len(self.tune), seed=0).random(number)
        found = [
            {f"algorithm.{name}": _at(values, place) for (name, values), place in
             zip(self.tune.items(), row)}
            for row in places
        ]  # fmt: skip
        return [one for k, one in enumerate(found) if one not in found[:k]]


class Tuning(Configuration):
    """The tuning of each method on each device and task, with the same budget for all.

    Arguments: `trials`, the number of settings tried; `seeds`, runs of each, with seeds that the
    comparison does not use; `measurements` of each run, by default those of the comparison.
    """

    trials: Annotated[int, Field(ge=1)] = 8
    seeds: Annotated[int, Field(ge=1)] = 3
    measurements: Annotated[int, Field(ge=1)] | None = None


class Comparison(Configuration):
    """Methods on devices and tasks, at equal measurements.

    A run has the task, the network and the stop rules of one of `tasks`, one of `devices`, and one
    of `methods`.

    Arguments:
        name, about: the name, and a description in one line.
        tasks, devices: by name, each a preset, a run's TOML file, or a run's table.
        set: settings for every run, by key path.
        methods: the methods, by name.
        seeds: the number of seeds per cell, from 0.
        tuning: the budget for tuning each method.
        at_once: runs in one compiled program, at most.
    """

    name: str = "compare"
    about: str = ""
    tasks: dict[str, str | Table]
    devices: dict[str, str | Table]
    set: Table = Field(default_factory=dict)
    methods: dict[str, Method]
    seeds: Annotated[int, Field(ge=1)] = 9
    tuning: Tuning = Tuning()
    at_once: Annotated[int, Field(ge=1)] = 64

    @field_validator("tasks", "devices", "methods")
    @classmethod
    def _some(cls, table: dict[str, Any]) -> dict[str, Any]:
        for name in table or {"": None}:
            if not name or not all(c.isalnum() or c in "-_+., " for c in name):
                raise ValueError(
                    "give at least one a name, of letters, digits, spaces and any of - _ + . ,"
                )
        return table

    @model_validator(mode="after")
    def _known(self) -> "Comparison":
        for method in self.methods.values():
            for name in method.only:
                if name not in self.devices:
                    raise ValueError(
                        f"the device '{name}' is unknown; {nearest(name, self.devices)}"
                    )
        return self

    def quick(self) -> "Comparison":
        """The comparison with three seeds and half the trials, each with one seed."""
        tuning = self.tuning.model_copy(update={"trials": -(-self.tuning.trials // 2), "seeds": 1})
        return self.model_copy(update={"seeds": min(self.seeds, 3), "tuning": tuning})

    def written_out(self) -> "Comparison":
        """The comparison with tables in place of presets and files."""
        tables = {part: {name: _table(of) for name, of in getattr(self, part).items()}
                  for part in ("tasks", "devices")}  # fmt: skip
        return self.model_copy(update=tables)

    def pairings(self) -> list["Pairing"]:
        """Every method on every device and task, validated. Errors: `RequestError`."""
        grid = itertools.product(self.tasks, self.devices, self.methods)
        return [
            Pairing.of(self, task, device, method)
            for task, device, method in grid
            if not self.methods[method].only or device in self.methods[method].only
        ]


class Pairing(Configuration):
    """A method on a device and a task: their names, and the run without seed and tuned settings."""

    task: str
    device: str
    method: str
    specification: Specification

    @property
    def where(self) -> str:
        """The pairing in words."""
        return f"{self.method} on {self.device}, {self.task}"

    @property
    def table(self) -> Table:
        """The run as a table."""
        return self.specification.model_dump(mode="json", exclude_none=True)

    @staticmethod
    def of(asked: Comparison, task: str, device: str, method: str) -> "Pairing":
        """One pairing of a comparison. Errors: `RequestError`."""
        how = asked.methods[method]
        table = _table(asked.tasks[task])
        network = setting(table, "device.network")
        table["device"] = _table(asked.devices[device])["device"]
        if network is not None and isinstance(table["device"], dict):
            table["device"]["network"] = network
        table["algorithm"] = copy.deepcopy(how.algorithm)
        for path, value in {**asked.set, **how.set}.items():
            change_setting(table, path, value)
        for name in ("name", "about", "replicas", "seed"):
            table.pop(name, None)
        place = f"{method} on {device}, {task}"
        try:
            run = Specification.model_validate(table)
        except ValidationError as error:
            raise RequestError(explain(error, place, Specification, table)) from None
        if run.until.measurements is None:
            raise RequestError(f"{place} has no until.measurements, the budget of all methods.")
        return Pairing(task=task, device=device, method=method, specification=run)


def read_comparison(file: str | Path) -> Comparison:
    """The comparison in a TOML file. Errors: `RequestError`."""
    path = Path(file)
    table = absolute(read_toml(path)[0], path.parent)
    for part in ("tasks", "devices"):
        named = table.get(part)
        for name, of in named.items() if isinstance(named, dict) else ():
            if isinstance(of, str) and of.endswith(".toml"):
                named[name] = str((path.parent / of).resolve())
    try:
        return Comparison.model_validate(table)
    except ValidationError as error:
        raise RequestError(explain(error, str(path), Comparison, table)) from None


def _table(of: str | Table) -> Table:
    return read_table(of)[0] if isinstance(of, str) else copy.deepcopy(of)


def _is_range(values: list[Any]) -> bool:
    return not all(isinstance(value, int) for value in values)


def _at(values: list[Any], place: float) -> int | float:
    """The value at a position from 0 to 1, along a logarithmic range or in a list."""
    if _is_range(values):
        low, high = values
        return rounded(low * (high / low) ** place, 3)
    chosen: int = values[min(int(place * len(values)), len(values) - 1)]
    return chosen
