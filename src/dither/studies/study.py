"""Specifications of studies: grids of runs."""

import copy
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from dither._configuration import Configuration
from dither._errors import RequestError
from dither._explain import explain
from dither._files import is_file
from dither._places import DATA, IN_A_FILE, absolute
from dither._words import Plain
from dither.studies.search import Search
from dither.training.settings import change_setting
from dither.training.specification import Specification, read_table, read_toml

PARAMETERS = "parameters"
"""The column of P, which a fit can use like an axis."""

MOST_RUNS = 100_000
"""A larger grid needs confirmation."""


class FitOf(Configuration):
    """A fit to the study's table.

    Arguments: `x`, an axis or `parameters`; `y`, a column that counts up to the target, such as
    `measurements`, or `score`; `form`; `by`, an axis with a separate fit for each value.
    """

    x: str
    y: str = "measurements"
    form: Literal["power law", "exponential", "saturating"] = "power law"
    by: str | None = None


class Study(Configuration):
    """A grid of runs: axes over any setting of a run, times seeds.

    Arguments:
        name, about: the name, and a description in one line.
        base: the run that the axes change: a preset, a TOML file, or a table.
        set: settings for every run, by key path, which override the base.
        axes: the values of each axis: a list for one key path or, under a free name, a table of
            lists of equal length whose keys change together (`label`, a list of names of the
            points, is not a setting).
        seeds: the number of seeds, from 0, or a list of seeds.
        at_once: runs in one compiled program, at most.
        search: a setting to search for in each cell of the grid before its runs.
        fits: fits to the table.
        law: `prediction`, to draw the results of `dither.planning.predict_run` for each cell with
            the runs; `boolean-coordinate-descent` is its older name.
    """

    name: str = "study"
    about: str = ""
    base: str | dict[str, Any]
    set: dict[str, Any] = Field(default_factory=dict)
    axes: dict[str, list[Any] | dict[str, list[Any]]] = Field(default_factory=dict)
    seeds: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = 1
    at_once: Annotated[int, Field(ge=1)] = 64
    search: Search | None = None
    fits: tuple[FitOf, ...] = ()
    law: Literal["prediction", "boolean-coordinate-descent"] | None = None

    @field_validator("base", "set", "axes", mode="before")
    @classmethod
    def _from_any_folder(cls, table: Any) -> Any:
        return absolute(table)

    @field_validator("axes", mode="before")
    @classmethod
    def _lists(cls, axes: Any) -> Any:
        for name, axis in axes.items() if isinstance(axes, dict) else ():
            if isinstance(axis, dict):
                if any(isinstance(values, dict) for values in axis.values()):
                    raise ValueError(
                        f"axis '{name}' has nested tables; write its key path in quotes, "
                        f'as in "{name}.{next(iter(axis))}"'
                    )
                lengths = {len(v) if isinstance(v, list) else 0 for v in axis.values()}
                if len(lengths) > 1:
                    raise ValueError(f"the lists of axis '{name}' are of different lengths")
                empty = lengths in ({0}, set()) or not axis.keys() - {"label"}
            else:
                empty = not isinstance(axis, list) or not axis
            if empty:
                raise ValueError(f"axis '{name}' has no values; give a list of values")
        return axes

    @model_validator(mode="after")
    def _some_seeds(self) -> "Study":
        seeds = self.seed_list
        if not seeds or len(set(seeds)) != len(seeds):
            raise ValueError("seeds must be a number of seeds or a list of different seeds")
        for fit in self.fits:
            for axis in (fit.x, fit.by):
                if axis is not None and axis not in (*self.axes, PARAMETERS):
                    raise ValueError(f"a fit names the axis '{axis}', which does not exist")
        if self.search is not None and self.search.key in self.keys:
            raise ValueError(
                f"{self.search.key} is both an axis and searched; remove one of the two"
            )
        return self

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds of each cell."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def keys(self) -> list[str]:
        """All key paths that axes change."""
        keys = []
        for name, axis in self.axes.items():
            keys += [name] if isinstance(axis, list) else [k for k in axis if k != "label"]
        return keys

    @property
    def runs(self) -> int:
        """The number of runs of the grid."""
        return math.prod(self._lengths()) * len(self.seed_list)

    def labels(self, axis: str) -> list[Plain]:
        """The labels of an axis in the table: all numbers, or all text."""
        values = self.axes[axis]
        if isinstance(values, dict):
            values = values.get("label") or next(iter(values.values()))
        cells = [plain(value) for value in values]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in cells):
            whole = all(isinstance(value, int) for value in cells)
            return cells if whole else [float(value) for value in cells]
        if all(isinstance(value, bool) for value in cells):
            return cells
        return [value if isinstance(value, str) else json.dumps(value) for value in cells]

    def _lengths(self) -> Iterator[int]:
        for axis in self.axes.values():
            yield len(axis if isinstance(axis, list) else next(iter(axis.values())))

    @cached_property
    def cells(self) -> tuple["Cell", ...]:
        """Every combination of the axes' values, validated as a run's specification.

        Errors: `RequestError` with the key path of the first invalid combination.
        """
        base = self.base_table()
        names = {axis: self.labels(axis) for axis in self.axes}
        found: dict[str, Cell] = {}
        for indices in itertools.product(*(range(n) for n in self._lengths())):
            labels: dict[str, Plain] = {}
            settings: dict[str, Any] = {}
            for (name, axis), index in zip(self.axes.items(), indices):
                labels[name] = names[name][index]
                settings |= _settings(name, axis, index)
            cell = Cell.of(base, labels, settings)
            same = found.setdefault(cell.specification.model_dump_json(), cell)
            if same is not cell:
                raise RequestError(
                    f"The runs at {same.where} and at {cell.where} are the same; remove one "
                    "of them "
                    "from the axes."
                )
        return tuple(found.values())

    def base_table(self) -> dict[str, Any]:
        """The run that the axes change, as a table. Errors: `RequestError`."""
        table = copy.deepcopy(self.base)
        if isinstance(table, str):
            table = read_table(table)[0]
        for path, value in self.set.items():
            change_setting(table, path, value)
        for name in ("name", "about", "replicas", "seed"):
            table.pop(name, None)
        return table


class Cell(Configuration):
    """One combination of the axes' values.

    Attributes: `labels`, its place on each axis; `specification`, of its runs without the seed.
    """

    labels: dict[str, Any]
    settings: dict[str, Any]
    specification: Specification

    @property
    def where(self) -> str:
        """The cell's place in words."""
        return _where(self.labels)

    @staticmethod
    def of(
        base: Mapping[str, Any], labels: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> "Cell":
        """A cell from the base's table and the settings of the axes."""
        table = copy.deepcopy(dict(base))
        for path, value in settings.items():
            change_setting(table, path, copy.deepcopy(value))
        try:
            specification = Specification.model_validate(table)
        except ValidationError as error:
            place = f"The runs at {_where(labels)}"
            raise RequestError(explain(error, place, Specification, table)) from None
        return Cell(labels=dict(labels), settings=dict(settings), specification=specification)

    def at(self, path: str, value: Any) -> "Cell":
        """This cell with one more setting changed."""
        table = self.specification.model_dump(mode="json", exclude_none=True)
        return Cell.of(table, self.labels, {**self.settings, path: value})


def _where(labels: Mapping[str, Any]) -> str:
    return ", ".join(f"{axis} = {label}" for axis, label in labels.items()) or "the base"


def _settings(name: str, axis: Any, index: int) -> dict[str, Any]:
    if isinstance(axis, list):
        return {name: axis[index]}
    return {key: values[index] for key, values in axis.items() if key != "label"}


def plain(value: Any) -> Plain:
    """A value as a table cell: itself, its kind, or JSON; a place without its folder."""
    if isinstance(value, str) and (IN_A_FILE.fullmatch(value) or DATA.fullmatch(value)):
        return Path(value).name
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict) and len(value) == 1 and "kind" in value:
        return plain(str(value["kind"]))
    return json.dumps(value)


def read_study(file: str | Path) -> Study:
    """The study in a TOML file.

    Errors: `RequestError` for an error in the file or in any of its runs.
    """
    path = Path(file)
    if is_file(path / "study.toml"):
        path = path / "study.toml"
    table, _ = read_toml(path)
    table = absolute(table, path.parent)
    base = table.get("base")
    if isinstance(base, str) and base.endswith(".toml"):
        table["base"] = str(path.parent / base)
    try:
        return Study.model_validate(table)
    except ValidationError as error:
        raise RequestError(explain(error, str(path), Study, table)) from None
