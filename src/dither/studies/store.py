"""A study's folder: its specification, one immutable Parquet file for each finished run."""

import contextlib
import json
import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import tomlkit

from dither._errors import RequestError
from dither.studies.study import Study, read_study
from dither.training.checkpoint import write_atomically
from dither.training.lease import abandoned
from dither.training.settings import without_none

SPECIFICATION = "study.toml"
RUNS = "runs"
LEASES = "leases"
WORK = "work"
DAMAGED = "damaged"

ROW = b"row"
"""The footer of a run's file repeats, under this key, the line without its curves as JSON: it is
read ten times faster than thirty columns of one value are."""

CURVES = ("measurements", "cost", "test_cost", "score")
"""What a run's file keeps of its history, as lists in columns `curve_…`."""


TYPES = {"score": "double", "test_cost": "double", "target": "double", "budget": "int64"}
"""Columns that have one type in all files, also where a run has nothing to put there."""


class DamagedFileWarning(UserWarning):
    """A run's file that cannot be read."""


def open_study(folder: Path, study: Study) -> Study:
    """Make a folder this study's, or find that it is already.

    Returns: the study with its base written out, what is set for all runs in it, as it stands in
    the folder.
    Errors: `RequestError` where the folder holds another study, or other files.
    """
    whole = study.model_copy(update={"base": study.base_table(), "set": {}})
    text = tomlkit.dumps(without_none(whole.model_dump(mode="json", exclude_none=True)))
    file = folder / SPECIFICATION
    if file.is_file():
        there = read_study(file)
        different = [
            name
            for name in ("base", "axes", "seeds", "at_once", "search")
            if getattr(there, name) != getattr(whole, name)
        ]
        if different:
            raise RequestError(
                f"The folder {folder} holds another study (its {' and '.join(different)} "
                "differ); give another --out."
            )
    elif folder.exists() and (not folder.is_dir() or _others(folder)):
        raise RequestError(f"The folder {folder} holds other files; give another --out.")
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        write_atomically(file, text.encode())
    return whole


def _others(folder: Path) -> bool:
    """Whether a folder holds more than what a killed start has left there."""
    return any(not path.name.startswith(f".{SPECIFICATION}-") for path in folder.iterdir())


def done(folder: Path) -> set[str]:
    """The names of the finished runs."""
    return {file.stem for file in (folder / RUNS).glob("*.parquet")}


def row_bytes(row: Mapping[str, Any]) -> bytes:
    """A run as the content of its file: a table of one line."""
    types = {name: pa.type_for_alias(alias) for name, alias in TYPES.items()}
    types |= {name: pa.list_(pa.float64()) for name in row if name.startswith("curve_")}
    arrays = {name: pa.array([value], types.get(name)) for name, value in row.items()}
    table = pa.table(arrays)
    line = table.select(_without_curves(table.column_names)).to_pylist()[0]
    buffer = BytesIO()
    with pq.ParquetWriter(
        buffer, table.schema, compression="zstd", use_dictionary=False, write_statistics=False,
        store_schema=False,
    ) as writer:  # fmt: skip
        writer.write_table(table)
        writer.add_key_value_metadata({ROW.decode(): json.dumps(line)})
    return buffer.getvalue()


def _without_curves(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith("curve_")]


def write_run(folder: Path, name: str, content: bytes) -> bool:
    """Keep a finished run, unless it is kept already; whether it was new."""
    file = folder / RUNS / f"{name}.parquet"
    if file.exists():
        return False
    write_atomically(file, content)
    return True


def read_run(folder: Path, name: str) -> dict[str, Any] | None:
    """The row of a finished run; None where there is none, or none that can be read."""
    file = folder / RUNS / f"{name}.parquet"
    try:
        row: dict[str, Any] = pq.ParquetFile(file).read().to_pylist()[0]
    except (OSError, pa.ArrowException, IndexError):
        return None
    return row


def set_damaged_aside(folder: Path) -> list[str]:
    """Move away the runs' files that cannot be read, so that those runs are done again."""
    found = []
    for file in sorted((folder / RUNS).glob("*.parquet")):
        try:
            pq.read_metadata(file)
        except (OSError, pa.ArrowException):
            (folder / DAMAGED).mkdir(exist_ok=True)
            file.replace(folder / DAMAGED / file.name)
            found.append(file.name)
    return found


def tidy(folder: Path) -> None:
    """Remove what nobody needs any more, once nobody is at work: what kills have left, leases."""
    if any(not abandoned(lease) for lease in (folder / LEASES).glob("*.json")):
        return
    for left in (*folder.glob(f".{SPECIFICATION}-*"), *(folder / RUNS).glob(".*.parquet-*")):
        left.unlink(missing_ok=True)
    for name in (LEASES, WORK):
        with contextlib.suppress(OSError):  # what is in there is still wanted
            (folder / name).rmdir()


def forget(folder: Path, new: Iterable[Path]) -> None:
    """Remove a study that was refused, unless a run of it is finished or under way.

    Arguments: its folder; which folders were made for it, the deepest first.
    """
    if done(folder) or any(not abandoned(lease) for lease in (folder / LEASES).glob("*.json")):
        return
    (folder / SPECIFICATION).unlink(missing_ok=True)
    shutil.rmtree(folder / WORK, ignore_errors=True)
    with contextlib.suppress(OSError):  # what else is in there is another's
        for made in (*(folder / name for name in (LEASES, RUNS)), *new):
            if made.is_dir():
                made.rmdir()


def load_study(folder: str | Path, curves: bool = False) -> pd.DataFrame:
    """The finished runs of a study as one tidy table.

    Arguments: the study's folder; `curves`, whether to have a line for each evaluation of a run
    (`measurements`, `cost`, `test_cost`, `score` are then those of the evaluation).
    Returns: a line a run: `run` (its name), `role` (`run`, or `trial` of a search), the axes, the
    settings that they change, `seed`, `score`, `stop_reason`, `reached` (the target), the ledger.
    Errors: `RequestError` where there is no study. Warns of files that cannot be read.
    """
    folder = Path(folder)
    if not (folder / SPECIFICATION).is_file():
        raise RequestError(f"There is no study in {folder}: it has no {SPECIFICATION}.")
    study = read_study(folder)
    table = _read(sorted((folder / RUNS).glob("*.parquet")), curves)
    frame: pd.DataFrame = table.to_pandas()
    if not len(frame):
        return frame
    order = [*study.axes, "seed"]
    frame = _in_grid_order(frame, study, [name for name in order if name in frame.columns])
    if not curves:
        return frame
    names = [f"curve_{name}" for name in CURVES]
    frame = frame.drop(columns=[name for name in CURVES if name in frame.columns])
    return frame.explode(names, ignore_index=True).rename(
        columns=lambda name: name.removeprefix("curve_")
    )


def _in_grid_order(frame: pd.DataFrame, study: Study, by: list[str]) -> pd.DataFrame:
    places = {}
    for axis in study.axes:
        place = {label: index for index, label in enumerate(study.labels(axis))}
        places[axis] = frame[axis].map(place)
    keys = frame[by].assign(**places).assign(role=frame["role"])
    order = keys.sort_values(["role", *by], kind="stable").index
    return frame.loc[order].reset_index(drop=True)


def _read(files: Sequence[Path], curves: bool) -> pa.Table:
    """The runs' files as one table; those that cannot be read are warned of."""
    if not files:
        return pa.table({})
    try:
        if not curves and (lines := _lines(files)) is not None:
            return lines
        schema = pq.read_schema(files[0])
        names = schema.names if curves else _without_curves(schema.names)
        every = pyarrow.dataset.dataset([str(f) for f in files], format="parquet", schema=schema)
        return every.to_table(columns=names)
    except (OSError, pa.ArrowException):
        pass
    tables = []
    for file in files:
        try:
            table = pq.read_table(file)
        except (OSError, pa.ArrowException) as error:
            warnings.warn(
                f"{file} cannot be read ({error}) and is left out; run the study again to set it "
                "aside and do that run once more.",
                DamagedFileWarning,
                stacklevel=3,
            )
            continue
        names = table.column_names
        tables.append(table.select(names if curves else _without_curves(names)))
    return pa.concat_tables(tables, promote_options="default")


def _lines(files: Sequence[Path]) -> pa.Table | None:
    """The runs as their footers tell; None where one of them does not."""
    lines: list[dict[str, Any]] = []
    for file in files:
        with file.open("rb") as content:
            kept = pq.read_metadata(content).metadata
        if kept is None or ROW not in kept:
            return None
        lines.append(json.loads(kept[ROW]))
    names = dict.fromkeys(name for line in lines for name in line)
    return pa.table(
        {name: pa.array([line.get(name) for line in lines], TYPES.get(name)) for name in names}
    )


def read_curves(folder: Path, runs: Iterable[str], y: str) -> dict[str, "pd.Series[float]"]:
    """Of some runs what was found at their evaluations, by the measurements until then.

    Arguments: the study's folder; the runs' names; one of `CURVES`.
    Returns: by name, those of the runs whose files can be read.
    """
    names = ["curve_measurements", f"curve_{y}"]
    curves = {}
    for run in runs:
        with contextlib.suppress(OSError, pa.ArrowException):
            file = pq.ParquetFile(folder / RUNS / f"{run}.parquet")
            table = file.read(columns=names, use_threads=False)
            x, values = (table[name][0].as_py() for name in names)
            curves[run] = pd.Series(values, x, dtype=float)
    return curves
