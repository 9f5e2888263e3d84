"""How large a paper is run: its studies as they stand in their files, and what makes them smaller.

A paper's folder holds a TOML file for each of its studies, such as `dither study` takes, and
`scales.toml`: for each scale a table of the numbers that the paper's script asks for, and under
`studies` what that scale changes in a study. There `only` names the points of the axes that stay.
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
"""Where a run's folder keeps the studies."""

Table = Mapping[str, Any]


def device_of(cell: Cell) -> AbstractSimulation:
    """The device of a study's cell, which is simulated."""
    device = cell.specification.device
    assert isinstance(device, AbstractSimulation)
    return device


@cache
def read(paper: str, name: str) -> str:
    """The text of a file in a paper's folder."""
    return (files("dither.papers") / paper / name).read_text(encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Scale:
    """How large the figures of a paper are run, and where its trainings are kept.

    Attributes: `paper`, its name; `table`, one of those in `scales.toml`; `folder` of the run,
    None where nothing is kept.
    """

    paper: str
    table: Table
    folder: Path | None = None

    @staticmethod
    def of(paper: str, quick: bool) -> "Scale":
        """The scale `quick`, or else `gpu` where there is one in both senses, or `full`."""
        scales = tomllib.loads(read(paper, "scales.toml"))
        full = "gpu" if "gpu" in scales and jax.default_backend() == "gpu" else "full"
        return Scale(paper, scales["quick" if quick else full])

    def __getitem__(self, name: str) -> Any:
        """A number that the paper's script asks for."""
        return self.table[name]

    def study(self, name: str, changes: Table | None = None) -> Study:
        """A study of the paper at this scale, with more changes.

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
        """The runs of a study as one table, those done that are not kept yet.

        Arguments: the study; what to call with what is being done and the share that is; `curves`,
        as for `load_study`. Errors: as of `run_study`.
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
