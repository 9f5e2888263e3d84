"""The scale of a paper's runs: its studies, and the changes that make them smaller.

A paper's folder holds a TOML file for each study, as for `dither study`, and `scales.toml`. The
latter has, for each scale, a table of the numbers used by the paper's script and, under `studies`,
the changes of a study, where `only` names the points of the axes that are kept.
"""

import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from pydantic import ValidationError

from dither._errors import RequestError
from dither._explain import explain
from dither.devices.simulation import AbstractSimulation
from dither.studies.change import changed
from dither.studies.run import run_study
from dither.studies.study import Cell, Study

if TYPE_CHECKING:
    import pandas as pd

STUDIES = "trainings"
"""The folder of the studies in a run's folder."""

Table = Mapping[str, Any]


def device_of(cell: Cell) -> AbstractSimulation:
    """The simulated device of a study's cell."""
    device = cell.specification.device
    assert isinstance(device, AbstractSimulation)
    return device


@cache
def read(paper: str, name: str) -> str:
    """The text of a file in a paper's folder."""
    return (files("dither.papers") / paper / name).read_text(encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Scale:
    """The scale of a paper's figures, and the folder of its trainings.

    Attributes: `paper`, its name; `table`, one of those in `scales.toml`; `folder` of the run, None
    if nothing is saved.
    """

    paper: str
    table: Table
    folder: Path | None = None

    @staticmethod
    def of(paper: str, quick: bool) -> "Scale":
        """The scale: `quick`, or `gpu` if both a GPU and that scale exist, or `full`."""
        scales = tomllib.loads(read(paper, "scales.toml"))
        full = "gpu" if "gpu" in scales and jax.default_backend() == "gpu" else "full"
        return Scale(paper, scales["quick" if quick else full])

    def __getitem__(self, name: str) -> Any:
        """A number used by the paper's script."""
        return self.table[name]

    def study(self, name: str, changes: Table | None = None) -> Study:
        """A study of the paper at this scale, with further changes.

        Errors: `RequestError` for a study that does not fit its schema.
        """
        table = tomllib.loads(read(self.paper, f"{name}.toml")) | {"name": name}
        for change in (self.table.get("studies", {}).get(name, {}), changes or {}):
            table = changed(table, change)
        try:
            return Study.model_validate(table)
        except ValidationError as error:
            raise RequestError(explain(error, f"{self.paper}/{name}.toml", Study, table)) from None

    def run(
        self, study: Study, observe: Callable[[str, float], None], curves: bool = False
    ) -> "pd.DataFrame":
        """The runs of a study as one table, after running the missing ones.

        Arguments: the study; an observer of the present work and the finished share; `curves`, as
        for `load_study`. Errors: those of `run_study`.
        """
        from dither.studies.store import load_study

        with tempfile.TemporaryDirectory() as scratch:
            folder = (self.folder or Path(scratch)) / STUDIES / study.name
            run_study(
                study, folder,
                observers=[lambda now: observe(now.doing or study.name, now.done / now.runs)],
            )  # fmt: skip
            table = load_study(folder, curves)
        return table[table["role"] == "run"]
